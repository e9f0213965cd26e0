"""Power of a panel against its number of donors, one curve per spread between donors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D

from interp.evidence.prospects import prospects
from interp.figures.look import (
    COLUMN,
    DONOR_COLOURS,
    FAINT,
    SMALL_SIZE,
    SOFT,
    axes_for,
    number,
    style,
    surround,
)
from interp.stats.power import POWER

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT = 2.6
"""Height of the figure in inches."""
FEWEST, MARGIN = 2, 1.25
"""First number of donors on the axis, and how far beyond the largest marked one it goes."""


def power_curve(
    effect: float,
    sds: Mapping[str, float],
    *,
    marked: Sequence[int] = (5, 10, 15),
    n_draws: int = 20,
    n_endpoints: int = 1,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the power of panels of growing size.

    Parameters
    ----------
    effect
        The difference that should be shown.
    sds
        Standard deviation of the differences between donors, by where it comes from.
    marked
        Numbers of donors to mark.
    n_draws, n_endpoints
        As in `interp.evidence.prospects`.
    title
        Own title instead of the default one; "" for none.
    ax
        Where to draw; default a new figure of one column.

    Returns
    -------
    Axes
    """
    last = int(np.ceil(MARGIN * max(marked)))
    sizes = list(range(FEWEST, last + 1))
    table = prospects(effect, sizes, sds, n_draws=n_draws, n_endpoints=n_endpoints)
    handles = []
    with style():
        ax = axes_for(ax, COLUMN, HEIGHT)
        ax.axhline(POWER, color=SOFT, lw=0.8, ls=(0, (4, 2)), zorder=0)
        ax.text(last, POWER + 0.015, f"{POWER:.0%}", ha="right", va="bottom", size=SMALL_SIZE, color=SOFT)
        for n in marked:
            ax.axvline(n, color=FAINT, lw=0.8, zorder=0)
        for k, (source, rows) in enumerate(table.groupby("sd of", sort=False)):
            colour = DONOR_COLOURS[k % len(DONOR_COLOURS)]
            ax.plot(rows["donors"], rows["power"], color=colour, clip_on=False)
            at = rows[rows["donors"].isin(marked)]
            ax.plot(at["donors"], at["power"], "o", ms=3.5, color=colour, mec="white", mew=0.5, clip_on=False, zorder=3)
            handles.append(Line2D([], [], color=colour, label=f"sd {number(rows['sd'].iloc[0], digits=3)}: {source}"))
        ax.set_xlim(FEWEST, last)
        ax.set_ylim(0, 1)
        ax.set_xlabel("donors in the panel")
        ax.set_ylabel("power")
        words = f"one-sided sign flips over donors, {n_draws} draws"
        words += f", one of {n_endpoints} endpoints" if n_endpoints > 1 else ""
        surround(ax, f"Showing an effect of {effect:g}" if title is None else title, words, handles, columns=1)
    return ax
