"""The compaction chain: what each step weighs on disk, against an endpoint with its interval over donors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from interp.errors import InputError
from interp.figures.look import (
    COLUMN,
    FAINT,
    INK,
    OBSERVED,
    REFERENCE,
    SMALL_SIZE,
    SOFT,
    axes_for,
    count,
    number,
    require_columns,
    style,
    surround,
    without_unit,
)
from interp.figures.placing import label_points

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

FOLDED = "folded map"
UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))


def compaction_chain(
    steps: pd.DataFrame,
    *,
    endpoint: str,
    losses: pd.DataFrame | None = None,
    label: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw every step by its size on disk and its value, with a bootstrap interval over donors.

    Parameters
    ----------
    steps
        Rows of `chain.csv`: step, endpoint, value, lo, hi, n_donors, size_bytes.
    endpoint
        Which endpoint to draw.
    losses
        Rows of `chain_losses.csv`; steps that lose this endpoint are drawn open.
    label
        Name of the endpoint with its unit on the axis; default the endpoint's name.
    title
        Own title instead of the default one; "" for none.
    ax
        Where to draw; default a new figure of one column.

    Returns
    -------
    Axes
        Sizes on a logarithmic axis; the folded map in the reference's colour, at the level of the head it folds.

    Raises
    ------
    InputError
        When a column is missing or no step has the endpoint.
    """
    require_columns(steps, ["step", "endpoint", "value", "lo", "hi", "n_donors", "size_bytes"], what="The chain")
    rows = steps[steps["endpoint"] == endpoint]
    if rows.empty:
        known = ", ".join(sorted(set(steps["endpoint"].dropna().astype(str))))
        msg = f"No step has the endpoint {endpoint!r}; the chain has {known or 'no rows'}."
        raise InputError(msg)
    drawn = rows[np.isfinite(rows["value"].astype(float))]
    lost = _lost(losses, endpoint)
    label = label or endpoint
    with style():
        ax = axes_for(ax, COLUMN, 2.9)
        for row in drawn.itertuples():
            _step(ax, row, lost=row.step in lost)
        _axes(ax, drawn, label)
        _names(ax, drawn)
        default = f"{without_unit(label)} along the compaction chain"
        handles = _legend(drawn, lost)
        surround(ax, default if title is None else title, _note(rows, drawn, lost, losses), handles, columns=2)
    return ax


def bytes_words(size: float) -> str:
    """Write a size on disk as "47 kB" (1 kB is 1,000 bytes).

    Examples
    --------
    >>> bytes_words(48_080), bytes_words(5_760_000)
    ('48 kB', '5.8 MB')
    """
    unit, name = next((each for each in UNITS if size >= each[0]), UNITS[-1])
    figure = size / unit
    return f"{figure:.1f} {name}" if figure < 10 and unit > 1 else f"{figure:.0f} {name}"


def _lost(losses: pd.DataFrame | None, endpoint: str) -> set[str]:
    if losses is None or losses.empty:
        return set()
    require_columns(losses, ["step", "endpoint", "status"], what="The table of losses")
    return set(losses[(losses["endpoint"] == endpoint) & (losses["status"] == "lost")]["step"])


def _step(ax: Axes, row: Any, *, lost: bool) -> None:
    colour = REFERENCE if row.step == FOLDED else OBSERVED
    if np.isfinite(row.lo) and np.isfinite(row.hi):
        ax.plot([row.size_bytes] * 2, [row.lo, row.hi], color=colour, lw=1.2, zorder=2)
    look = {"mfc": "white" if lost else colour, "mec": colour, "mew": 1.0}
    ax.plot(row.size_bytes, row.value, "D" if row.step == FOLDED else "o", ms=4.6, zorder=3, **look)


def _axes(ax: Axes, drawn: pd.DataFrame, label: str) -> None:
    ax.set_xlabel("size on disk (float32, logarithmic)")
    ax.set_ylabel(label)
    if drawn.empty:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.text(0.5, 0.5, "not computable", transform=ax.transAxes, ha="center", size=SMALL_SIZE, color=SOFT)
        return
    ax.set_xscale("log")
    low, high = drawn["size_bytes"].min(), drawn["size_bytes"].max()
    ax.set_xlim(low / 2.2, high * 2.2)
    ticks = [m * 10.0**e for e in range(2, 10) for m in (1, 2, 5) if low / 2.2 <= m * 10.0**e <= high * 2.2]
    ax.set_xticks(ticks[:: 1 + (len(ticks) - 1) // 6])
    ax.xaxis.set_major_formatter(FuncFormatter(lambda size, _: bytes_words(size)))
    ax.xaxis.set_minor_locator(NullLocator())
    folded = drawn[drawn["step"] == FOLDED]
    if len(folded):
        ax.axhline(folded["value"].iloc[0], color=FAINT, lw=0.8, zorder=0)
    ax.margins(y=0.14)


def _names(ax: Axes, drawn: pd.DataFrame) -> None:
    xy = drawn[["size_bytes", "value"]].to_numpy(dtype=float)
    bars = [
        np.column_stack([np.full(41, size), np.linspace(lo, hi, 41)])
        for size, lo, hi in drawn[["size_bytes", "lo", "hi"]].to_numpy(dtype=float)
        if np.isfinite(lo)
    ]
    lines = np.concatenate(bars) if bars else None
    label_points(ax, list(drawn["step"]), xy, avoid=xy, lines=lines, size=SMALL_SIZE)


def _legend(drawn: pd.DataFrame, lost: set[str]) -> Sequence[Line2D]:
    handles = [Line2D([], [], color=OBSERVED, lw=1.2, marker="o", ms=4, label="operator, 95 % interval over donors")]
    if (drawn["step"] == FOLDED).any():
        handles.append(Line2D([], [], color=REFERENCE, lw=1.2, marker="D", ms=4, label="operator and adaptor folded"))
    if lost:
        look = {"mfc": "white", "mec": INK, "mew": 1.0}
        handles.append(Line2D([], [], ls="", marker="o", ms=4, label="loses against the top head (q < 0.05)", **look))
    return handles


def _note(rows: pd.DataFrame, drawn: pd.DataFrame, lost: set[str], losses: pd.DataFrame | None) -> str:
    if drawn.empty:
        return "not computable in any donor"
    parts = [count(int(rows["n_donors"].max()), "donor")]
    folded = drawn[drawn["step"] == FOLDED]
    if len(folded):
        parts.append(f"folded {number(folded['value'].iloc[0])} at {bytes_words(folded['size_bytes'].iloc[0])}")
    if losses is not None:
        parts.append(f"{count(len(lost), 'step')} of {len(drawn)} lost")
    return ", ".join(parts)
