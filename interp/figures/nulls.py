"""Null distributions with the observed value: one row per family of nulls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from interp.errors import InputError
from interp.figures.look import (
    COLUMN,
    OBSERVED,
    REFERENCE,
    SMALL_SIZE,
    SOFT,
    TINY_SIZE,
    axes_for,
    count,
    number,
    p_words,
    style,
    surround,
    without_unit,
    wrap,
)
from interp.stats import permutation_p

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 40
PERCENTILE = 95.0
"""A result must pass this percentile of every family (design, Nulls)."""
HEIGHT = 0.82
"""Height of the highest bar of a family, in rows."""


def null_distribution(
    null: ArrayLike | Mapping[str, ArrayLike],
    observed: float | None,
    *,
    label: str = "score",
    n_donors: int | None = None,
    higher_is_better: bool = True,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw null draws as histograms, one row per family, with the observed value and each 95th percentile.

    Parameters
    ----------
    null
        float (draw,), or family to float (draw,). NaN draws are not drawn; they are counted, and count against p.
    observed
        The observed value; None or NaN is named not computable.
    label
        Name of the score with its unit.
    n_donors
        How many donors the observed value rests on, for the note.
    higher_is_better
        Side of the test; False marks the 5th percentile instead.
    title
        Own title instead of the default one; "" for none.
    ax
        Where to draw; default a new figure of one column.

    Returns
    -------
    Axes
        p = (1 + draws at least as good) / (1 + draws) is written in each row; at its floor it says so.

    Raises
    ------
    InputError
        When no family is given.
    """
    families = dict(null) if isinstance(null, Mapping) else {"null": null}
    if not families:
        msg = "No null family was given; give an array of draws or a mapping from family to draws."
        raise InputError(msg)
    draws = {str(name): np.asarray(values, dtype=float).ravel() for name, values in families.items()}
    lost = int(sum(np.isnan(values).sum() for values in draws.values()))
    value = float("nan") if observed is None else float(observed)
    with style():
        ax = axes_for(ax, COLUMN, 0.55 * len(draws) + (1.3 if len(draws) > 1 else 1.7))
        edges = _edges(np.concatenate([*draws.values(), [value]]))
        passed = 0
        for row, (name, values) in enumerate(draws.items()):
            passed += _family(ax, row, name, values, value, edges, higher_is_better=higher_is_better)
        _axes(ax, list(draws), label)
        if np.isfinite(value):
            ax.axvline(value, color=OBSERVED, lw=1.4)
        default = f"{without_unit(label)} against its null"
        handles = _legend(value, higher_is_better=higher_is_better)
        words = _note(draws, value, passed, lost, n_donors)
        surround(ax, default if title is None else title, words, handles)
    return ax


def _edges(values: np.ndarray) -> np.ndarray:
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    pad = 0.03 * (high - low) if high > low else 0.5
    return np.linspace(low - pad, high + pad, BINS + 1)


def _family(
    ax: Axes, row: int, name: str, values: np.ndarray, observed: float, edges: np.ndarray, *, higher_is_better: bool
) -> bool:
    look = {"transform": ax.get_yaxis_transform(), "ha": "left", "va": "center", "size": TINY_SIZE}
    drawn = values[np.isfinite(values)]
    if not drawn.size:
        ax.text(0.02, row - 0.3, "no computable draw", color=SOFT, **look)
        return False
    heights, _ = np.histogram(drawn, edges)
    ax.bar(
        edges[:-1], -HEIGHT * heights / heights.max(), np.diff(edges), bottom=row, align="edge", color="#BDBDBD", lw=0
    )
    border = _border(values, higher_is_better=higher_is_better)
    if np.isfinite(border):
        ax.plot([border, border], [row, row - HEIGHT], color=REFERENCE, lw=1.1, ls=(0, (1, 1)))
    words = count(values.size, "draw")
    passes = False
    if np.isfinite(observed):
        result = permutation_p(observed, values, higher_is_better=higher_is_better)
        words = f"{p_words(result.p, at_floor=result.at_floor)}\n{words}"
        passes = observed > border if higher_is_better else observed < border
        words += ", passed" if passes else ", not passed"
    ax.text(1.02, row - HEIGHT / 2, words, **look)
    return passes


def _border(values: np.ndarray, *, higher_is_better: bool) -> float:
    # A draw that could not be computed counts as better than any observed value, as it does in p.
    lost, worst = np.isnan(values), np.inf if higher_is_better else -np.inf
    percentile = PERCENTILE if higher_is_better else 100 - PERCENTILE
    if not lost.any():
        return float(np.percentile(values, percentile))
    filled = np.where(lost, worst, values)
    if higher_is_better:
        return float(np.percentile(filled, percentile, method="higher"))
    return float(np.percentile(filled, percentile, method="lower"))


def _axes(ax: Axes, names: list[str], label: str) -> None:
    ax.set_ylim(len(names) - 0.95, -1.02)
    single = len(names) == 1
    ticks = [] if single else [row - HEIGHT / 2 for row in range(len(names))]
    ax.set_yticks(ticks, [] if single else [wrap(name.replace("_", " "), 18) for name in names], size=SMALL_SIZE)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel(label)


def _legend(observed: float, *, higher_is_better: bool) -> list[Line2D]:
    percentile = "95th" if higher_is_better else "5th"
    handles = [Line2D([], [], color=REFERENCE, lw=1.1, ls=(0, (1, 1)), label=f"{percentile} percentile of the null")]
    if np.isfinite(observed):
        handles.insert(0, Line2D([], [], color=OBSERVED, lw=1.4, label=f"observed {number(observed)}"))
    return handles


def _note(draws: dict[str, np.ndarray], observed: float, passed: int, lost: int, n_donors: int | None) -> str:
    parts = []
    if not np.isfinite(observed):
        parts.append("observed: not computable")
    elif len(draws) > 1:
        parts.append(f"passes the null's percentile in {passed} of {len(draws)} families")
    if n_donors is not None:
        parts.append(count(n_donors, "donor"))
    if lost:
        parts.append(f"{count(lost, 'draw')} not computable")
    return ", ".join(parts)
