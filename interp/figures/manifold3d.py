"""The latent manifold in three dimensions, the stage tree drawn through it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from interp.errors import InputError
from interp.figures.look import COLUMN, INK, SMALL_SIZE, TINY_SIZE, count, percent, style
from interp.figures.manifold import LOOK, branch_legend, branch_looks, checked_anchors, principal_axes, stage_tree
from interp.figures.placing import label_points

if TYPE_CHECKING:
    import pandas as pd

    from interp.figures.look import Graph

HEIGHT = 4.1
ELEVATION, AZIMUTH = 22.0, -58.0
SAMPLES = 12
"""Points along an edge of the tree that a name should not cover."""
MOST_NAMES = 20
"""Above this many stages their names would hide the tree, and only its nodes are drawn."""


def latent_manifold_3d(
    latents: np.ndarray,
    obs: pd.DataFrame,
    graph: Graph,
    *,
    directions: bool = True,
    view: tuple[float, float] = (ELEVATION, AZIMUTH),
    title: str | None = None,
) -> Any:
    """Draw anchors on the three principal axes of their latents, with the stage tree between stage centroids.

    Three axes can hide a contrast that lies in the others, so the note states how much of the variance they hold.

    Parameters
    ----------
    latents
        float (anchor, latent), of at least three dimensions.
    obs
        Anchors' table in the same order: stage, branch, donor, study.
    graph
        The stage graph, `interp.biology.StageGraph`.
    directions
        Draw latents divided by their norm, as the adaptor's distance is an angle.
    view
        Elevation and azimuth, degrees.
    title
        Own title instead of the default one; "" for none.

    Returns
    -------
    mpl_toolkits.mplot3d.Axes3D
        In a new figure; the colour tells the branch, the marker the study.

    Raises
    ------
    InputError
        When latents and obs do not fit, or there are fewer than three dimensions.
    """
    import matplotlib.pyplot as plt

    latents, obs = checked_anchors(latents, obs, "branch")
    if latents.shape[1] < 3:
        msg = f"latents have {latents.shape[1]} dimensions; a picture in three needs at least three"
        raise InputError(msg)
    finite = np.isfinite(latents).all(axis=1)
    kept = obs[finite]
    xyz, shares = principal_axes(latents[finite], 3, directions=directions)
    centroids = {s: xyz[(kept["stage"] == s).to_numpy()].mean(0) for s in graph.stages if (kept["stage"] == s).any()}
    with style():
        figure = plt.figure(figsize=(COLUMN, HEIGHT))
        ax = figure.add_axes((0.0, 0.17, 1.0, 0.7), projection="3d")
        looks = branch_looks(kept, graph)
        for look in dict.fromkeys(looks):
            these = xyz[[other == look for other in looks]]
            ax.plot(*these.T, ls="", ms=3.4, mew=0.5, **dict(zip(LOOK, look, strict=True)))
        _draw_tree(ax, graph, centroids)
        _frame(ax, shares, view)
        if len(centroids) <= MOST_NAMES:
            _name_stages(ax, graph, centroids, xyz)
        if title != "":
            figure.text(0.02, 0.975, title or "Latent manifold in three dimensions", weight="bold", color=INK, va="top")
        words = f"{count(len(kept), 'anchor')}, {count(len(centroids), 'stage')}; the three axes hold "
        figure.text(0.02, 0.925, f"{words}{percent(float(shares.sum()))} of the variance", size=SMALL_SIZE, va="top")
        handles = branch_legend(kept, graph)
        figure.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.0, 0.0), ncols=2, fontsize=SMALL_SIZE)
    return ax


def _draw_tree(ax: Any, graph: Graph, centroids: dict[str, np.ndarray]) -> None:
    for ancestor, stage, skipped in stage_tree(graph, centroids):
        ends = np.array([centroids[ancestor], centroids[stage]])
        ax.plot(*ends.T, color=INK, lw=0.8, ls=(0, (3, 2)) if skipped else "-")
    for point in centroids.values():
        ax.plot(*point[:, None], "o", ms=2.6, mfc=INK, mec="white", mew=0.4)


def _name_stages(ax: Any, graph: Graph, centroids: dict[str, np.ndarray], xyz: np.ndarray) -> None:
    """Write the names where they lie on the paper, so that none covers another; the view must stand."""
    from mpl_toolkits.mplot3d import proj3d

    ax.get_figure().draw_without_rendering()
    projection = ax.get_proj()

    def flat(points: np.ndarray) -> np.ndarray:
        return np.column_stack(proj3d.proj_transform(*np.asarray(points).T, projection)[:2])

    along = np.linspace(0.0, 1.0, SAMPLES)[:, None]
    edges = [(1 - along) * centroids[a] + along * centroids[b] for a, b, _ in stage_tree(graph, centroids)]
    label_points(
        ax,
        list(centroids),
        flat(np.array(list(centroids.values()))),
        avoid=flat(xyz),
        lines=flat(np.concatenate(edges)) if edges else None,
        size=TINY_SIZE,
    )


def _frame(ax: Any, shares: np.ndarray, view: tuple[float, float]) -> None:
    ax.view_init(*view)
    for axis, name, share in zip((ax.xaxis, ax.yaxis, ax.zaxis), "123", shares, strict=True):
        axis.set_ticklabels([])
        axis.set_label_text(f"axis {name} ({percent(float(share))})", size=SMALL_SIZE)
        axis.labelpad = -12
        axis.pane.set_facecolor("white")
    ax.grid(visible=False)
