"""Placing labels near their points so that they cover neither each other nor the points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib.patheffects as effects
import numpy as np

from interp.figures.look import CHARACTER_WIDTH, INK, canvas_scale, lay_out

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ANGLES = np.deg2rad([0, 180, 90, 270, 45, 135, 315, 225, 22, 158, 338, 202, 68, 112, 292, 248])
RADII = (5.0, 8.0, 12.0, 17.0, 23.0, 30.0, 38.0)
"""Distances in points at which a label is tried, near ones first."""
OVERLAP_COST, POINT_COST, LINE_COST, EDGE_COST, FAR_COST = 6.0, 0.35, 0.25, 8.0, 0.05
"""Costs: per label covered, per point or line sample covered, per label outside the axes, per point of length."""
LEADER = 9.0
"""A label further than this from its point gets a thin line to it."""


def label_points(
    ax: Axes,
    texts: Sequence[str],
    xy: np.ndarray,
    *,
    avoid: np.ndarray,
    lines: np.ndarray | None = None,
    size: float,
) -> None:
    """Write one label beside each point, where the least is covered.

    Parameters
    ----------
    ax
        Axes whose limits and layout are settled.
    texts
        The labels.
    xy
        float (label, 2), data coordinates.
    avoid
        float (point, 2), data coordinates of points not to cover.
    lines
        float (sample, 2), data coordinates of samples along lines not to cover.
    size
        Font size in points.
    """
    if not len(texts):
        return
    lay_out(ax)
    scale = canvas_scale(ax)

    def to_points(values: np.ndarray) -> np.ndarray:
        return ax.transData.transform(values) * scale

    centres, dots = to_points(np.asarray(xy)), to_points(np.asarray(avoid))
    samples = to_points(lines) if lines is not None and len(lines) else np.empty((0, 2))
    frame = ax.get_window_extent().extents * scale
    boxes: list[np.ndarray] = []
    crowding = [-np.sum(np.hypot(*(centres - centre).T) < 25) for centre in centres]
    for i in np.argsort(crowding, kind="stable"):
        half = np.array([max(len(texts[i]), 2) * CHARACTER_WIDTH * size / 2, 0.55 * size])
        box, offset = _best_box(centres, i, half, boxes, dots, samples, frame)
        boxes.append(box)
        _write(ax, texts[i], xy[i], offset, size)


def _best_box(
    centres: np.ndarray,
    i: int,
    half: np.ndarray,
    boxes: list[np.ndarray],
    dots: np.ndarray,
    samples: np.ndarray,
    frame: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    centre, best = centres[i], np.inf
    kept = (np.concatenate([centre - half, centre + half]), np.zeros(2))
    placed, others = np.array(boxes).reshape(-1, 4), np.delete(centres, i, axis=0)
    for radius in RADII:
        for angle in ANGLES:
            direction = np.array([np.cos(angle), np.sin(angle)])
            middle = centre + direction * (radius + half * np.abs(direction))
            box = np.concatenate([middle - half, middle + half])
            cost = FAR_COST * radius + POINT_COST * _inside(box, dots) + LINE_COST * _inside(box, samples)
            cost += OVERLAP_COST * (_covered(box, placed) + (_inside(box, others) > 0))
            cost += EDGE_COST * float(np.any(box[:2] < frame[:2]) or np.any(box[2:] > frame[2:]))
            if cost < best:
                best, kept = cost, (box, middle - centre)
    return kept


def _inside(box: np.ndarray, points: np.ndarray) -> int:
    if not len(points):
        return 0
    return int(np.sum(np.all((points > box[:2] - 1) & (points < box[2:] + 1), axis=1)))


def _covered(box: np.ndarray, placed: np.ndarray) -> float:
    if not len(placed):
        return 0.0
    sides = np.minimum(box[2:], placed[:, 2:]) - np.maximum(box[:2], placed[:, :2])
    shared = np.prod(np.clip(sides + 1, 0, None), axis=1)
    return float(np.sum(shared > 0) + shared.sum() / np.prod(box[2:] - box[:2]))


def _write(ax: Axes, text: str, point: np.ndarray, offset: np.ndarray, size: float) -> None:
    far = float(np.hypot(*offset)) > LEADER + 0.5 * CHARACTER_WIDTH * size * len(text) * abs(offset[0]) / (
        float(np.hypot(*offset)) + 1e-9
    )
    written = ax.annotate(
        text,
        tuple(point),
        xytext=tuple(offset),
        textcoords="offset points",
        ha="center",
        va="center",
        size=size,
        color=INK,
        zorder=6,
        annotation_clip=False,
        arrowprops={"arrowstyle": "-", "lw": 0.35, "color": INK, "shrinkA": 0, "shrinkB": 1} if far else None,
        gid="label",
    )
    written.set_path_effects([effects.withStroke(linewidth=1.4, foreground="white")])
