"""Genes of one contrast of the folded map as a forest, with intervals over donors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

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
    require_columns,
    style,
    surround,
    wrap,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW = 0.14
"""Height of a row in inches."""
COLUMNS = ("contrast", "gene", "rank", "weight", "lo", "hi", "n_boot", "n_donors", "negative", "positive")


def attribution_forest(
    table: pd.DataFrame,
    *,
    contrast: str,
    n_top: int = 20,
    label: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the genes of largest weight of one contrast.

    Parameters
    ----------
    table
        Rows of `attribution.csv`: contrast, gene, rank, weight, lo, hi, n_boot, n_donors, negative, positive.
    contrast
        Which contrast.
    n_top
        Genes drawn at most.
    label
        Name of the axis; default says that weights are for one sd of the gene.
    title
        Own title instead of the default one; "" for none.
    ax
        Where to draw; default a new figure of one column.

    Returns
    -------
    Axes
        Genes in order of their weight, positive ones on top; those whose interval holds 0 are open.

    Raises
    ------
    InputError
        When a column is missing or no row has the contrast.
    """
    require_columns(table, COLUMNS, what="The table of attributions")
    rows = table[table["contrast"] == contrast]
    if rows.empty:
        known = ", ".join(dict.fromkeys(map(str, table["contrast"])))
        msg = f"No row has the contrast {contrast!r}; the table has {known or 'no rows'}."
        raise InputError(msg)
    shown = rows.sort_values("rank").head(n_top).sort_values("weight", ascending=False, kind="stable")
    sure = ((shown["lo"] > 0) | (shown["hi"] < 0)).to_numpy()
    with style():
        ax = axes_for(ax, COLUMN, ROW * len(shown) + 1.3)
        for y, (row, certain) in enumerate(zip(shown.itertuples(), sure, strict=True)):
            colour = OBSERVED if row.weight > 0 else REFERENCE
            if np.isfinite(row.lo):
                ax.plot([row.lo, row.hi], [y, y], color=colour, lw=1.1, zorder=2)
            ax.plot(row.weight, y, "o", ms=3.8, mfc=colour if certain else "white", mec=colour, mew=0.9, zorder=3)
        ax.axvline(0.0, color=INK, lw=0.6, zorder=0)
        ax.set_ylim(len(shown) - 0.4, -0.6)
        ax.set_yticks(range(len(shown)), list(shown["gene"]), size=SMALL_SIZE, style="italic")
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.grid(axis="y", color=FAINT, lw=0.4, zorder=-1)
        ax.set_axisbelow(True)
        ax.set_xlabel(label or "weight for one sd of the gene")
        default = f"Genes of {contrast}"
        surround(ax, default if title is None else title, _note(rows, shown, sure), _legend(shown), columns=1)
    return ax


def _note(rows: pd.DataFrame, shown: pd.DataFrame, sure: np.ndarray) -> str:
    first = rows.iloc[0]
    parts = [f"{len(shown)} of {count(len(rows), 'gene')}", count(int(first["n_donors"]), "donor")]
    if rows["lo"].notna().any():
        parts.append(f"{count(int(first['n_boot']), 'resample')}; {int(sure.sum())} intervals without 0")
    else:
        parts.append(f"no interval: {count(int(first['n_boot']), 'resample')} could be computed")
    return ", ".join(parts)


def _legend(shown: pd.DataFrame) -> list[Line2D]:
    first = shown.iloc[0]
    sides = ((OBSERVED, first["positive"], shown["weight"] > 0), (REFERENCE, first["negative"], shown["weight"] < 0))
    handles = [
        Line2D([], [], color=colour, lw=1.1, marker="o", ms=3.8, label=wrap(f"towards {side}", 56, lines=1))
        for colour, side, there in sides
        if there.any()
    ]
    if ((shown["lo"] <= 0) & (shown["hi"] >= 0)).any():
        handles.append(Line2D([], [], ls="", marker="o", ms=3.8, mfc="white", mec=SOFT, label="interval holds 0"))
    return handles
