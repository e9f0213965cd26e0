"""Latent distance against stage distance, pairs inside a study told from pairs between studies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from scipy.stats import spearmanr

from interp.errors import InputError
from interp.figures.look import (
    COLUMN,
    INK,
    OBSERVED,
    REFERENCE,
    axes_for,
    count,
    number,
    require_columns,
    style,
    surround,
    tidy,
)
from interp.runs.seeds import stream

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POINTS = 250
"""Points drawn for one distance and one group; medians and correlations use all pairs."""
GROUPS = {"within a study": (REFERENCE, -0.19, "o"), "between studies": (OBSERVED, 0.19, "s")}
JITTER = 0.13


def distance_ruler(
    distances: np.ndarray,
    ruler: np.ndarray,
    obs: pd.DataFrame,
    *,
    rho: Mapping[str, float] | None = None,
    label: str = "latent distance (hops)",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw latent distance against the ruler over pairs of anchors, pairs within a study in a colour of their own.

    Parameters
    ----------
    distances, ruler
        float (anchor, anchor), symmetric; only pairs i < j are drawn, a pair with a NaN in either is left out.
    obs
        Anchors' table in the same order, with the column study.
    rho
        Correlations to state instead of plain Spearman over pairs of different stages, by name, for example
        {"all pairs": 0.4, "within a study": 0.2}.
    label
        Name of the distance with its unit.
    title
        Own title instead of the default one; "" for none.
    ax
        Where to draw; default a new figure of one column.

    Returns
    -------
    Axes
        At most 250 points a distance and group (drawn at random, seeded); bars are medians and quartiles of all.

    Raises
    ------
    InputError
        When the shapes do not fit.
    """
    distances, ruler = np.asarray(distances, dtype=float), np.asarray(ruler, dtype=float)
    if not distances.shape == ruler.shape == (len(obs), len(obs)):
        msg = f"Distances {distances.shape} and ruler {ruler.shape} must both be ({len(obs)}, {len(obs)}), as obs."
        raise InputError(msg)
    require_columns(obs, ["study"], what="The table of anchors")
    pairs = _pairs(distances, ruler, obs["study"].astype(str).to_numpy())
    with style():
        ax = axes_for(ax, COLUMN, 2.9)
        hops = np.unique(pairs["ruler"])
        for name, (colour, shift, marker) in GROUPS.items():
            part = pairs[pairs["group"] == name]
            for hop in hops:
                _column(ax, hop, part.loc[part["ruler"] == hop, "distance"].to_numpy(), colour, shift, marker, name)
        ax.set_xlabel("stage distance (hops in the stage tree)")
        ax.set_ylabel(label)
        ax.set_xticks(hops if len(hops) <= 16 else hops[::2])
        default = "Latent distance against stage distance"
        words = _note(pairs, len(obs), rho)
        surround(ax, default if title is None else title, words, _legend(pairs), columns=2)
    return ax


def _pairs(distances: np.ndarray, ruler: np.ndarray, study: np.ndarray) -> pd.DataFrame:
    i, j = np.triu_indices(len(study), 1)
    group = np.where(study[i] == study[j], "within a study", "between studies")
    pairs = pd.DataFrame({"ruler": ruler[i, j], "distance": distances[i, j], "group": group})
    return pairs[np.isfinite(pairs["ruler"]) & np.isfinite(pairs["distance"])]


def _column(ax: Axes, hop: float, values: np.ndarray, colour: str, shift: float, marker: str, name: str) -> None:
    if not values.size:
        return
    rng = stream(0, f"figures/distance/{name}/{hop:g}")
    shown = values if values.size <= MOST_POINTS else rng.choice(values, MOST_POINTS, replace=False)
    x = hop + shift + rng.uniform(-JITTER, JITTER, shown.size)
    ax.plot(x, shown, marker, ls="", ms=1.6, mfc=colour, mew=0, alpha=0.35, rasterized=True, zorder=1)
    low, middle, high = np.percentile(values, [25, 50, 75])
    ax.plot([hop + shift] * 2, [low, high], color=INK, lw=1.0, zorder=2, solid_capstyle="butt")
    ax.plot(hop + shift, middle, marker, ms=3.6, mfc=colour, mec=INK, mew=0.6, zorder=3)


def _legend(pairs: pd.DataFrame) -> list[Line2D]:
    handles = [
        Line2D([], [], ls="", marker=marker, ms=3.6, mfc=colour, mec=INK, mew=0.6, label=f"{name} ({n:,} pairs)")
        for name, (colour, _, marker) in GROUPS.items()
        if (n := int((pairs["group"] == name).sum()))
    ]
    return [*handles, Line2D([], [], color=INK, lw=1.0, label="quartiles")]


def _note(pairs: pd.DataFrame, n_anchors: int, rho: Mapping[str, float] | None) -> str:
    if rho is None:
        different = pairs[pairs["ruler"] > 0]
        within = different[different["group"] == "within a study"]
        found = {"all": _spearman(different), "within a study": _spearman(within)}
        words = "Spearman, different stages: "
    else:
        found, words = tidy(rho), "correlation: "
    return (
        words
        + ", ".join(f"{name} {number(value)}" for name, value in found.items())
        + f"; {count(n_anchors, 'anchor')}"
    )


def _spearman(pairs: pd.DataFrame) -> float:
    if pairs["ruler"].nunique() < 2 or pairs["distance"].nunique() < 2:
        return float("nan")
    return float(spearmanr(pairs["ruler"], pairs["distance"]).statistic)
