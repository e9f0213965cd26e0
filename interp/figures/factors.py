"""Factors of an operator: the impact of each under fixed probes, how concentrated it is, and the genes they load on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from interp.errors import InputError
from interp.figures.look import (
    COLUMN,
    FAINT,
    INK,
    OBSERVED,
    PAGE,
    REFERENCE,
    SMALL_SIZE,
    SOFT,
    TINY_SIZE,
    axes_for,
    count,
    number,
    p_words,
    percent,
    require_columns,
    side_bar,
    style,
    surround,
)
from interp.stats import permutation_p

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

BAND = (0.05, 0.95)
"""Quantiles of the rotated bases that the band spans."""
OVERALL = "mean over endpoints"


def factor_impact(
    impact: pd.DataFrame,
    *,
    surrogate: str,
    endpoint: str = OVERALL,
    n_top: int = 20,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the factors of most impact as bars with intervals over donors.

    Parameters
    ----------
    impact
        Rows of `factor_impact.csv`: surrogate, factor, endpoint, impact, lo, hi, rank, n_donors.
    surrogate
        Whose factors, such as ``rank 64``.
    endpoint
        Which endpoint, or the mean over them.
    n_top
        Bars drawn at most.
    title
        Own title instead of the default one; "" for none.
    ax
        Where to draw; default a new figure of one column.

    Returns
    -------
    Axes
        Bars in falling order, under each the factor's number; those whose interval holds 0 are pale.

    Raises
    ------
    InputError
        When a column is missing or no row has the surrogate and endpoint.
    """
    columns = ["surrogate", "factor", "endpoint", "impact", "lo", "hi", "rank", "n_donors"]
    require_columns(impact, columns, what="The table of impacts")
    rows = impact[(impact["surrogate"] == surrogate) & (impact["endpoint"] == endpoint)].sort_values("rank")
    if rows.empty:
        have = ", ".join(sorted({f"{s}: {e}" for s, e in zip(impact["surrogate"], impact["endpoint"], strict=True)}))
        msg = f"No factor of {surrogate!r} has the endpoint {endpoint!r}; the table has {have or 'no rows'}."
        raise InputError(msg)
    shown = rows.head(n_top)
    with style():
        ax = axes_for(ax, COLUMN, 2.4)
        at, low, high = np.arange(len(shown)), shown["lo"].to_numpy(float), shown["hi"].to_numpy(float)
        sure = (low > 0) | (high < 0)
        ax.bar(at, shown["impact"], 0.72, color=np.where(sure, OBSERVED, "#A9CBE3").tolist(), lw=0)
        ax.vlines(at, low, high, color=INK, lw=0.8)
        ax.axhline(0.0, color=INK, lw=0.6)
        ax.set_xticks(at, [str(factor) for factor in shown["factor"]], size=TINY_SIZE)
        ax.tick_params(axis="x", length=0)
        ax.set_xlabel("factor, by falling impact (0 is the strongest of the operator)")
        ax.set_ylabel("drop when ablated")
        n_sure = int(((rows["lo"] > 0) & (rows["impact"] > 0)).sum())
        note = f"{endpoint}; {n_sure} of {count(len(rows), 'factor')} with an interval above 0"
        note += f"; {count(int(rows['n_donors'].max()), 'donor')}; probes fixed"
        handles = [
            Patch(facecolor=OBSERVED, lw=0, label="interval without 0"),
            Patch(facecolor="#A9CBE3", lw=0, label="interval holds 0"),
            Line2D([], [], color=INK, lw=0.8, label="95 % over donors"),
        ]
        surround(ax, f"Impact of the factors of {surrogate}" if title is None else title, note, handles)
    return ax


def impact_concentration(
    curves: pd.DataFrame,
    *,
    tops: Sequence[int] = (4, 10, 16),
    measure: str = "share",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the cumulative share of the impact over factors, beside random bases of the same operator.

    Parameters
    ----------
    curves
        Rows of `factor_curves.csv`: basis (``factors``, ``rotated``), draw, n_top, share, share_absolute.
    tops
        Sizes to mark and write.
    measure
        ``share`` (negative impacts as 0) or ``share_absolute``.
    title
        Own title instead of the default one; "" for none.
    ax
        Where to draw; default a new figure of one column.

    Returns
    -------
    Axes
        The band holds 90 % of the rotated bases: a share inside it is what ranking alone makes of any basis.

    Raises
    ------
    InputError
        When a column is missing or there is no curve of the factors.
    """
    require_columns(curves, ["basis", "draw", "n_top", measure], what="The table of curves")
    wide = curves.pivot_table(index=["basis", "draw"], columns="n_top", values=measure)
    if "factors" not in wide.index.get_level_values("basis"):
        msg = "The table of curves has no row of the basis 'factors'; give factor_curves.csv of a run."
        raise InputError(msg)
    own = wide.loc["factors"].to_numpy()[0]
    rotated = wide.drop(index="factors", level="basis").to_numpy()
    sizes = wide.columns.to_numpy(dtype=int)
    marked = [top for top in tops if top <= sizes[-1]]
    with style():
        ax = axes_for(ax, COLUMN, 2.5)
        if len(rotated):
            low, high = np.quantile(rotated, BAND, axis=0)
            ax.fill_between(sizes, low, high, color=REFERENCE, alpha=0.25, lw=0)
            ax.plot(sizes, rotated.mean(axis=0), color=REFERENCE, lw=1.0, ls=(0, (3, 1.5)))
        ax.plot([0, sizes[-1]], [0, 1], color=SOFT, lw=0.6, zorder=0)
        ax.plot(sizes, own, color=OBSERVED, lw=1.5)
        for top in marked:
            value = own[top - 1]
            ax.plot(top, value, "o", ms=3.6, color=OBSERVED)
            ax.annotate(f"{top}: {percent(value)}", (top, value), (3, -8), textcoords="offset points", size=TINY_SIZE)
        ax.set_xlim(0, sizes[-1])
        ax.set_ylim(0, 1.04)
        ax.set_xlabel("factors, by falling impact")
        ax.set_ylabel("share of the total impact")
        title = "How concentrated the impact is" if title is None else title
        surround(ax, title, _curve_note(own, rotated, marked), _curve_legend(len(rotated)), columns=2)
    return ax


def factor_loadings(
    genes: pd.DataFrame,
    *,
    side: str = "read",
    factors: Sequence[int] | None = None,
    n_genes: int = 6,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the loadings of factors on the genes that they load on most.

    Parameters
    ----------
    genes
        From `interp.extraction.factors.factor_genes`: factor, side, rank, gene, weight.
    side
        ``read`` or ``write``.
    factors
        Factors to draw, in this order, such as those of largest impact; the first ten by default.
    n_genes
        Genes of each factor that get a row.
    title
        Own title instead of the default one; "" for none.
    ax
        Where to draw; default a new figure of one column, or of a page above twelve factors.

    Returns
    -------
    Axes
        Genes (row) by factors (column); grey where a gene is not among the genes listed for a factor. Each column's
        sign is arbitrary.

    Raises
    ------
    InputError
        When a column is missing or a factor is not in the table.
    """
    require_columns(genes, ["factor", "side", "rank", "gene", "weight"], what="The table of factor genes")
    rows = genes[genes["side"] == side]
    wanted = sorted(set(rows["factor"]))[:10] if factors is None else list(factors)
    missing = [str(factor) for factor in wanted if factor not in set(rows["factor"])]
    if missing or not wanted:
        msg = f"The table has no {side} genes of factor {', '.join(missing) or '(none given)'}; give others."
        raise InputError(msg)
    leading = rows[rows["rank"] <= n_genes].set_index("factor")
    names = list(dict.fromkeys(gene for factor in wanted for gene in np.atleast_1d(leading.loc[factor, "gene"])))
    weights = rows[rows["factor"].isin(wanted)].pivot_table(
        index="gene", columns="factor", values="weight", aggfunc=lambda w: w.iloc[np.abs(w).argmax()]
    )
    table = weights.reindex(index=names, columns=wanted).to_numpy(dtype=float)
    limit = float(np.nanmax(np.abs(table)))
    with style():
        ax = axes_for(ax, COLUMN if len(wanted) <= 12 else PAGE, 0.105 * len(names) + 1.25)
        ax.set_facecolor(FAINT)
        image = ax.imshow(np.ma.masked_invalid(table), cmap="RdBu_r", norm=Normalize(-limit, limit), aspect="auto")
        ax.set_xticks(range(len(wanted)), [str(factor) for factor in wanted], size=SMALL_SIZE)
        ax.set_yticks(range(len(names)), names, size=TINY_SIZE)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.set_xlabel("factor")
        side_bar(ax, image).set_label(f"{side} loading (length 1)")
        note = f"{n_genes} genes of largest loading of each factor; the sign of a column is arbitrary"
        handles = [Patch(facecolor=FAINT, lw=0, label="not among the factor's listed genes")]
        surround(ax, f"Genes that the factors {side}" if title is None else title, note, handles)
    return ax


def _curve_note(own: np.ndarray, rotated: np.ndarray, marked: Sequence[int]) -> str:
    if not len(rotated):
        return "no rotated basis was measured"
    words = []
    for top in marked:
        result = permutation_p(float(own[top - 1]), rotated[:, top - 1])
        found = p_words(result.p, at_floor=result.at_floor)
        words.append(f"{top}: rotated {number(rotated[:, top - 1].mean())}, {found}")
    return f"{len(rotated)} random bases of the same operator; " + "; ".join(words)


def _curve_legend(n_rotated: int) -> list[Line2D | Patch]:
    handles: list[Line2D | Patch] = [Line2D([], [], color=OBSERVED, lw=1.5, label="the operator's own factors")]
    if n_rotated:
        handles.append(Line2D([], [], color=REFERENCE, lw=1.0, ls=(0, (3, 1.5)), label="rotated bases, mean"))
        handles.append(Patch(facecolor=REFERENCE, alpha=0.25, lw=0, label="90 % of rotated bases"))
    handles.append(Line2D([], [], color=SOFT, lw=0.6, label="equal impacts"))
    return handles
