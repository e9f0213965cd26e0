"""The latent manifold: anchors on two principal axes, the stage tree drawn over them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from interp.errors import InputError
from interp.figures.look import (
    COLUMN,
    INK,
    PAGE,
    SOFT,
    TINY_SIZE,
    UNKNOWN,
    Graph,
    axes_for,
    branch_colours,
    count,
    donor_looks,
    percent,
    require_columns,
    study_markers,
    style,
    surround,
)
from interp.figures.placing import label_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_STAGES_IN_COLUMN = 20
"""Above this many stages a new figure takes a whole page's width."""
MOST_DONORS_IN_LEGEND = 30
SAMPLES_PER_EDGE = 12

LOOK = ("marker", "mfc", "mec")
Look = tuple[str, str, str]


def latent_manifold(
    latents: np.ndarray,
    obs: pd.DataFrame,
    graph: Graph,
    *,
    colour: Literal["branch", "donor"] = "branch",
    directions: bool = True,
    title: str | None = None,
    note: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw anchors on the two principal axes of their latents, with the stage tree between stage centroids.

    Parameters
    ----------
    latents
        float (anchor, latent).
    obs
        Anchors' table in the same order: stage, branch, donor, study (stage None where the label was coarse).
    graph
        The stage graph, `interp.biology.StageGraph`: its tree is drawn, its branches fix the colours.
    colour
        "branch": colour tells the branch and the marker the study; "donor": colour and fill tell the donor, the
        marker its study.
    directions
        Draw latents divided by their norm, as the adaptor's distance is an angle; False draws them as they are.
    title, note
        Own title ("" for none) and words added to the note, for example a score with its p.
    ax
        Where to draw; default a new figure of one column, or of a page above 20 stages.

    Returns
    -------
    Axes
        A dashed line passes over stages that the panel lacks; grey anchors have no stage or branch.

    Raises
    ------
    InputError
        When latents and obs do not fit, or `colour` is neither "branch" nor "donor".
    """
    latents, obs = checked_anchors(latents, obs, colour)
    finite = np.isfinite(latents).all(axis=1)
    kept = obs[finite]
    xy, shares = principal_axes(latents[finite], 2, directions=directions)
    centroids = {
        s: xy[(kept["stage"] == s).to_numpy()].mean(axis=0) for s in graph.stages if (kept["stage"] == s).any()
    }
    looks = branch_looks(kept, graph) if colour == "branch" else _donor_looks(kept)
    with style():
        width = COLUMN if len(centroids) <= MOST_STAGES_IN_COLUMN else PAGE
        ax = axes_for(ax, width, 3.5 if width == COLUMN else 5.2)
        for look in dict.fromkeys(looks):
            these = xy[[other == look for other in looks]]
            ax.plot(*these.T, ls="", ms=3.6, mew=0.5, zorder=2, **dict(zip(LOOK, look, strict=True)))
        ax.set_aspect("equal", adjustable="datalim")
        edges = stage_tree(graph, centroids)
        samples = _draw_tree(ax, centroids, edges)
        _frame(ax, shares, directions=directions)
        handles = branch_legend(kept, graph) if colour == "branch" else _donor_legend(kept)
        default = "Latent manifold by branch and stage" if colour == "branch" else "Latent manifold by donor and study"
        words = _note(kept, int((~finite).sum()), centroids, edges, note)
        surround(ax, default if title is None else title, words, handles)
        size = TINY_SIZE if width == COLUMN else TINY_SIZE + 0.5
        names = list(centroids)
        label_points(ax, names, np.array([centroids[s] for s in names]), avoid=xy, lines=samples, size=size)
    return ax


def checked_anchors(latents: np.ndarray, obs: pd.DataFrame, colour: str) -> tuple[np.ndarray, pd.DataFrame]:
    """Return latents as float (anchor, latent) and their table; InputError when they do not fit."""
    latents = np.asarray(latents, dtype=float)
    if latents.ndim != 2 or len(latents) != len(obs) or not latents.shape[1]:
        msg = f"Latents of shape {latents.shape} do not fit {len(obs)} anchors; give (anchor, latent) in obs' order."
        raise InputError(msg)
    if colour not in ("branch", "donor"):
        msg = f"colour={colour!r} is not known; choose 'branch' or 'donor'."
        raise InputError(msg)
    require_columns(obs, ["stage", "branch", "donor", "study"], what="The table of anchors")
    return latents, obs


def principal_axes(latents: np.ndarray, n_axes: int, *, directions: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates on principal axes, (anchor, axis), largest loading positive, and their variance shares."""
    if directions:
        norm = np.linalg.norm(latents, axis=1, keepdims=True)
        latents = latents / np.where(norm > 0, norm, 1)
    if not len(latents):
        return np.empty((0, n_axes)), np.full(n_axes, np.nan)
    centred = latents - latents.mean(axis=0)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    axes, singular = axes[:n_axes], singular**2
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    coordinates, shares = np.zeros((len(latents), n_axes)), np.zeros(n_axes)
    coordinates[:, : len(axes)] = centred @ axes.T
    shares[: len(axes)] = singular[:n_axes] / singular.sum() if singular.sum() > 0 else np.nan
    return coordinates, shares


def branch_looks(obs: pd.DataFrame, graph: Graph) -> list[Look]:
    """Return marker, fill and edge of every anchor: the colour tells the branch, the marker the study."""
    colours, markers = branch_colours(graph), study_markers(obs["study"])
    looks = []
    for branch, stage, study in zip(obs["branch"], obs["stage"], obs["study"], strict=True):
        tint = colours.get(branch, UNKNOWN)
        looks.append((markers[str(study)], "white", tint) if pd.isna(stage) else (markers[str(study)], tint, "white"))
    return looks


def _donor_looks(obs: pd.DataFrame) -> list[Look]:
    looks = donor_looks(obs["donor"], obs["study"])
    return [_donor_marker(looks[str(donor)]) for donor in obs["donor"]]


def _donor_marker(look: Mapping[str, Any]) -> Look:
    tint = str(look["color"])
    return (look["marker"], tint, "white") if look["filled"] else (look["marker"], "white", tint)


def stage_tree(graph: Graph, centroids: Mapping[str, np.ndarray]) -> list[tuple[str, str, int]]:
    """List (ancestor, stage, stages passed over) for every stage with an ancestor in the panel."""
    edges = []
    for stage in centroids:
        ancestor, skipped = graph.parent(stage), 0
        while ancestor is not None and ancestor not in centroids:
            ancestor, skipped = graph.parent(ancestor), skipped + 1
        if ancestor is not None:
            edges.append((ancestor, stage, skipped))
    return edges


def _draw_tree(ax: Axes, centroids: Mapping[str, np.ndarray], edges: list[tuple[str, str, int]]) -> np.ndarray:
    samples = []
    for ancestor, stage, skipped in edges:
        ends = np.array([centroids[ancestor], centroids[stage]])
        arrow = {
            "arrowstyle": "-|>,head_width=0.12,head_length=0.25",
            "lw": 0.8,
            "color": INK,
            "shrinkA": 2,
            "shrinkB": 2,
        }
        ax.annotate(
            "",
            ends[1],
            xytext=ends[0],
            arrowprops={**arrow, "ls": (0, (3, 2)) if skipped else "-"},
            zorder=3,
            annotation_clip=False,
            gid="edge, stages absent" if skipped else "edge",
        )
        samples.append(ends[0] + np.linspace(0, 1, SAMPLES_PER_EDGE)[:, None] * (ends[1] - ends[0]))
    for point in centroids.values():
        ax.plot(*point, "o", ms=2.6, mfc=INK, mec="white", mew=0.4, zorder=4)
    return np.concatenate(samples) if samples else np.empty((0, 2))


def _frame(ax: Axes, shares: np.ndarray, *, directions: bool) -> None:
    of = " of latent directions" if directions else " of latents"
    for axis, share, name in ((ax.xaxis, shares[0], "1"), (ax.yaxis, shares[1], "2")):
        words = f" ({percent(share)} of variance)" if np.isfinite(share) else ""
        axis.set_label_text(f"principal axis {name}{of if name == '1' else ''}{words}")
        axis.set_ticks([])
    ax.margins(0.09)
    ax.spines[:].set_color(SOFT)


def branch_legend(obs: pd.DataFrame, graph: Graph) -> list[Line2D]:
    """Return the legend of `branch_looks`."""
    colours, markers = branch_colours(graph), study_markers(obs["study"])
    dot = {"ls": "", "ms": 4, "mec": "white", "mew": 0.4}
    present = [branch for branch in graph.branches if (obs["branch"] == branch).any()]
    handles = [Line2D([], [], marker="o", color=colours[branch], label=branch, **dot) for branch in present]
    coarse = obs["stage"].isna()
    if coarse.any():
        handles.append(Line2D([], [], marker="o", ls="", ms=4, mfc="w", mec=SOFT, label="coarse label, no stage"))
    if (~obs["branch"].isin(present)).any():
        handles.append(Line2D([], [], marker="o", color=UNKNOWN, label="no branch", **dot))
    if len(markers) > 1:
        handles += [Line2D([], [], marker=m, color=SOFT, label=study, **dot) for study, m in markers.items()]
    return [*handles, _tree_handle()]


def _donor_legend(obs: pd.DataFrame) -> list[Line2D]:
    looks, markers = donor_looks(obs["donor"], obs["study"]), study_markers(obs["study"])
    if len(looks) > MOST_DONORS_IN_LEGEND:
        looks = {}
        handles = [Line2D([], [], marker=m, color=SOFT, ls="", ms=4, label=study) for study, m in markers.items()]
    else:
        handles = [
            Line2D([], [], ls="", ms=4, mew=0.6, label=d, **dict(zip(LOOK, _donor_marker(look), strict=True)))
            for d, look in looks.items()
        ]
    return [*handles, _tree_handle()]


def _tree_handle() -> Line2D:
    return Line2D([], [], color=INK, lw=0.8, marker="o", ms=2.6, label="stage tree")


def _note(obs: pd.DataFrame, dropped: int, centroids: Mapping, edges: list[tuple[str, str, int]], extra: str) -> str:
    parts = [
        count(len(obs), "anchor"),
        count(len(centroids), "stage"),
        count(obs["donor"].nunique(), "donor"),
        f"{obs['study'].nunique()} stud{'y' if obs['study'].nunique() == 1 else 'ies'}",
    ]
    text = ", ".join(parts)
    if dropped:
        text += f"; {count(dropped, 'anchor')} without finite latents left out"
    if any(skipped for _, _, skipped in edges):
        text += "; dashed: stages between are absent"
    return "; ".join(part for part in (text, extra) if part)
