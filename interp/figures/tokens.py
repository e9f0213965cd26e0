"""What the model sees of one cell: its tokens as bins, and the attention of one head between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.patches import Patch

from interp.errors import InputError
from interp.figures.look import (
    COLUMN,
    OBSERVED,
    SMALL_SIZE,
    SOFT,
    TINY_SIZE,
    axes_for,
    count,
    percent,
    side_bar,
    style,
    surround,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOWEST_SHOWN = 1e-4
"""Attention below this is drawn as this: the colours are logarithmic."""


def cell_tokens(
    genes: Sequence[str],
    bins: np.ndarray,
    *,
    cell: str = "",
    padding: np.ndarray | None = None,
    n_bins: int | None = None,
    n_top: int = 30,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a cell's tokens: the genes with the highest bins as bars.

    Parameters
    ----------
    genes
        Symbol of every token, `<cls>` included.
    bins
        float (token,), the value bin of each token.
    cell
        Name of the cell, for the note.
    padding
        bool (token,), True where the token is padding; such tokens are left out.
    n_bins
        How many bins the model knows; sets the axis.
    n_top
        How many genes to draw at most.
    title
        Own title instead of the default one; "" for none.
    ax
        Where to draw; default a new figure of one column.

    Returns
    -------
    Axes
        Genes by falling bin, equal bins by name; special tokens are counted in the note and not drawn.

    Raises
    ------
    InputError
        When the lengths differ.
    """
    names, values = np.asarray([str(gene) for gene in genes]), np.asarray(bins, dtype=float)
    real = np.ones(len(names), dtype=bool) if padding is None else ~np.asarray(padding, dtype=bool)
    if not names.shape == values.shape == real.shape:
        msg = f"{len(names)} genes, {values.shape} bins and {real.shape} padding flags must be one per token."
        raise InputError(msg)
    special = real & np.array([name.startswith("<") for name in names], dtype=bool)
    real &= ~special & np.isfinite(values)
    order = [i for i in np.lexsort((names, -np.nan_to_num(values))) if real[i]][:n_top]
    top = float(n_bins - 1) if n_bins else float(np.max(values[real], initial=1.0))
    with style():
        ax = axes_for(ax, COLUMN, 1.9)
        ax.bar(range(len(order)), values[order], width=0.8, color=OBSERVED)
        ax.set_xticks(range(len(order)), names[order], rotation=90, style="italic", size=TINY_SIZE)
        ax.set_xlim(-0.7, max(len(order), 1) - 0.3)
        ax.set_ylim(0, top * 1.02)
        ax.set_ylabel(f"value bin (0 to {top:g})" if n_bins else "value bin")
        ax.tick_params(axis="x", length=0, pad=1)
        note = f"{cell}: " if cell else ""
        note += f"{count(int(real.sum()), 'gene token')}, the {len(order)} highest drawn"
        if special.any():
            note += f"; besides {', '.join(sorted(set(names[special])))}"
        surround(ax, "Tokens of one cell" if title is None else title, note)
    return ax


def attention_pattern(
    pattern: np.ndarray,
    genes: Sequence[str],
    *,
    head: str = "",
    cell: str = "",
    n_top: int = 24,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a head's attention between the tokens of one cell that receive most of it.

    Parameters
    ----------
    pattern
        float (query, key); the row token attends to the column token, rows sum to 1.
    genes
        Symbol of every token, in the pattern's order.
    head, cell
        Names for title and note, for example "L2H5".
    n_top
        How many tokens to draw: those with the highest mean attention over all queries.
    title
        Own title instead of the default one; "" for none.
    ax
        Where to draw; default a new figure of one column.

    Returns
    -------
    Axes
        Logarithmic colours; the same tokens stand on both axes, the one that receives most first.

    Raises
    ------
    InputError
        When the pattern is not square or does not fit the genes.
    """
    pattern = np.asarray(pattern, dtype=float)
    if pattern.shape != (len(genes), len(genes)):
        msg = f"A pattern of shape {pattern.shape} does not fit {len(genes)} tokens; give (query, key) of one cell."
        raise InputError(msg)
    with np.errstate(invalid="ignore"):
        received = np.nan_to_num(pattern.mean(axis=0))
    order = np.argsort(-received, kind="stable")[:n_top]
    share = float(received[order].sum())
    names = [str(genes[i]) for i in order]
    with style():
        ax = axes_for(ax, COLUMN, 3.4)
        shown = np.maximum(pattern[np.ix_(order, order)], LOWEST_SHOWN)
        image = ax.imshow(np.ma.masked_invalid(shown), norm="log", vmin=LOWEST_SHOWN, vmax=_ceiling(shown))
        size = TINY_SIZE if len(order) <= 30 else TINY_SIZE - 1
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_ticks(range(len(order)), names, size=size)
        ax.tick_params(length=0, pad=1.5)
        for ticks in (ax.get_xticklabels(), ax.get_yticklabels()):
            for tick in ticks:
                tick.set_style("normal" if tick.get_text().startswith("<") else "italic")
        for tick in ax.get_xticklabels():
            tick.set_rotation(90)
        ax.set_xlabel("key: token attended to")
        ax.set_ylabel("query: token attending")
        ax.spines[:].set_visible(False)
        side_bar(ax, image, extend="min").set_label("attention weight (log scale)", size=SMALL_SIZE)
        lost = [Patch(facecolor="white", edgecolor=SOFT, label="not computable")] if np.isnan(pattern).any() else []
        note = f"the {len(order)} of {count(len(genes), 'token')} that receive most ({percent(share)} of all attention)"
        default = f"Attention of {head}" if head else "Attention of one head"
        surround(ax, default if title is None else title, f"{cell}: {note}" if cell else note, lost)
    return ax


def _ceiling(shown: np.ndarray) -> float:
    top = float(np.nanmax(shown)) if np.isfinite(shown).any() else 1.0
    return max(top, 10 * LOWEST_SHOWN)
