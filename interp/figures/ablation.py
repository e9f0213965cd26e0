"""Figures of ablation: heads against random heads, gradients against exact values, heads that replace each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.colors import TwoSlopeNorm
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from interp.errors import InputError
from interp.figures.look import (
    COLUMN,
    FAINT,
    INK,
    OBSERVED,
    REFERENCE,
    SMALL_SIZE,
    SOFT,
    TINY_SIZE,
    axes_for,
    count,
    number,
    p_words,
    require_columns,
    side_bar,
    style,
    surround,
    without_unit,
    wrap,
)
from interp.stats import permutation_p

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

BAND = (2.5, 97.5)
"""Percentiles of the random sets that the band holds."""
MOST_BARS = 12
LABELLED = 4
"""Heads of the largest exact drops that the scatter names."""
NAME = (0.11, 0.04)
"""Width and height of a head's name, as shares of the scatter's axes."""
OPEN_HATCH = "////"


def ablation_bars(
    table: pd.DataFrame,
    nulls: pd.DataFrame | None = None,
    *,
    metric: str,
    target: str | None = None,
    alpha: float = 0.05,
    most: int = MOST_BARS,
    label: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the heads that are missed most as bars, and named heads together over the band of random heads.

    Parameters
    ----------
    table
        Rows of `interp.AblationResult.table`: layer, name, metric, value, lo, hi, q; target, role and n_donors where
        they exist. Role "score" is drawn.
    nulls
        Rows of `interp.ablation.HeadSetNull.table`: replacement, draw (0: the named heads), heads, drop, lo, hi,
        statistic. One bar for each replacement.
    metric, target
        What to draw.
    alpha
        Level of q under which a bar is filled.
    most
        Most single heads.
    label
        What is drawn, with its unit; default "drop of" and the metric's name.
    title
        Own title instead of the default one; "" for none.
    ax
        Where to draw; default a new figure of one column.

    Returns
    -------
    Axes
        Ticks behind a single head's bar are the other heads of its layer; error bars are 95 % intervals over donors.

    Raises
    ------
    InputError
        When columns are missing, or no head has the metric.
    """
    rows = _scored(table, metric, target)
    top = rows.sort_values("value", ascending=False, kind="stable").head(most)
    sets = [] if nulls is None or nulls.empty else list(nulls.groupby("replacement", sort=False))
    label = label or f"drop of {metric.rsplit('.', 1)[-1].replace('_', ' ')}"
    with style():
        ax = axes_for(ax, COLUMN, 0.19 * len(top) + 0.42 * len(sets) + 1.3)
        for place, row in enumerate(top.to_dict("records")):
            others = rows.loc[(rows["layer"] == row["layer"]) & (rows["name"] != row["name"]), "value"]
            ax.plot(others, np.full(len(others), place), ls="", marker="|", ms=6, color=SOFT, mew=0.8, zorder=1)
            _bar(ax, place, row["value"], row["lo"], row["hi"], filled=bool(row["q"] < alpha))
        names = list(top["name"])
        notes = [_summary(rows, top, alpha)]
        for place, (replacement, own) in enumerate(sets, start=len(top)):
            names.append(wrap(f"{_heads(own)}, {replacement}", 24, lines=2))
            notes.append(_set(ax, place + 0.35, str(replacement), own))
        spots = [*range(len(top)), *(place + 0.35 for place in range(len(top), len(names)))]
        ax.set_yticks(spots, names, size=SMALL_SIZE if len(sets) < 1 else TINY_SIZE)
        ax.set_ylim(len(names) - 0.4 + 0.35 * bool(sets), -0.7)
        ax.tick_params(axis="y", length=0)
        ax.axvline(0, color=INK, lw=0.6)
        ax.set_xlabel(label)
        handles = _bar_legend(alpha, filled=bool((top["q"] < alpha).any()), open_=bool((~(top["q"] < alpha)).any()))
        if sets:
            handles.append(Patch(facecolor=REFERENCE, alpha=0.3, lw=0, label="95 % of random sets, same layers"))
        default = f"{without_unit(label)} without heads"
        surround(ax, default if title is None else title, "\n".join(notes), handles)
    return ax


def gradient_scatter(
    compared: pd.DataFrame,
    *,
    metric: str,
    target: str | None = None,
    label: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the drop predicted by gradients against the exact one, a point per head.

    Parameters
    ----------
    compared
        Rows of `interp.AblationResult.exact_vs_gradient`: name, metric, target, gradient, exact. Heads without an exact
        value are left out.
    metric, target
        What to draw.
    label
        What is drawn, with its unit; default "drop of" and the metric's name.
    title
        Own title instead of the default one; "" for none.
    ax
        Where to draw; default a new figure of one column.

    Returns
    -------
    Axes
        The line is where the two are equal.

    Raises
    ------
    InputError
        When columns are missing, or no head has both values.
    """
    from scipy.stats import spearmanr

    require_columns(compared, ["name", "metric", "target", "gradient", "exact"], what="The comparison")
    rows = compared[compared["metric"] == metric]
    rows = rows if target is None else rows[rows["target"] == target]
    rows = rows[rows["gradient"].notna() & rows["exact"].notna()]
    if rows.empty or rows["target"].nunique() > 1:
        there = ", ".join(sorted(map(str, set(compared["metric"])))) or "none"
        msg = (
            f"No head has both values for {metric!r} with one target ({target!r}); the comparison has {there} "
            "(take method='both' or 'gradient')."
        )
        raise InputError(msg)
    label = label or f"drop of {metric.replace('_', ' ')}"
    with style():
        ax = axes_for(ax, COLUMN, 3.1)
        both = rows[["gradient", "exact"]].to_numpy(float)
        low, high = float(both.min()), float(both.max())
        pad = 0.06 * (high - low) if high > low else 0.5
        ends = [low - pad, high + pad]
        ax.plot(ends, ends, color=SOFT, lw=0.8, ls=(0, (3, 2)), zorder=1)
        ax.plot(rows["gradient"], rows["exact"], ls="", marker="o", ms=3.6, mfc=OBSERVED, mec="white", mew=0.4)
        named: list[tuple[float, float]] = []
        for row in rows.sort_values("exact", ascending=False).head(LABELLED).to_dict("records"):
            spot = row["gradient"], row["exact"]
            if any(_near(spot, other, NAME, span=ends[1] - ends[0]) for other in named):
                continue  # its name would lie over another
            named.append(spot)
            left = row["gradient"] > (low + high) / 2
            look: dict[str, Any] = {"ha": "right" if left else "left", "va": "center", "size": TINY_SIZE}
            ax.annotate(row["name"], spot, (-4 if left else 4, 0), textcoords="offset points", **look)
        ax.set_xlabel(f"{label}, by gradients")
        ax.set_ylabel("exact")
        varies = len(rows) > 2 and rows["gradient"].nunique() > 1 and rows["exact"].nunique() > 1
        rho = float(spearmanr(rows["gradient"], rows["exact"]).statistic) if varies else None
        note = f"Spearman {number(rho, digits=3)} over {count(len(rows), 'head')}"
        handles = [Line2D([], [], color=SOFT, lw=0.8, ls=(0, (3, 2)), label="equal")]
        surround(ax, "Gradients against exact ablation" if title is None else title, note, handles)
    return ax


def redundancy_matrix(
    pairs: pd.DataFrame, *, label: str = "redundancy", title: str | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the joint drop of all pairs of heads beyond the sum of their single drops; single drops on the diagonal.

    Parameters
    ----------
    pairs
        Rows of `interp.ablation.Redundancy.pairs`: first, second, drop_first, drop_second, redundancy, lo, hi,
        n_donors.
    label
        Name on the colour bar.
    title
        Own title instead of the default one; "" for none.
    ax
        Where to draw; default a new figure of one column.

    Returns
    -------
    Axes
        Pairs whose 95 % interval over donors holds 0, or that have none, are hatched.

    Raises
    ------
    InputError
        When columns are missing, or there is no pair.
    """
    columns = ["first", "second", "drop_first", "drop_second", "redundancy", "lo", "hi", "n_donors"]
    require_columns(pairs, columns, what="The table of pairs")
    if pairs.empty:
        msg = "No pair of heads was given; give the pairs of two heads or more."
        raise InputError(msg)
    names = list(dict.fromkeys([*pairs["first"], *pairs["second"]]))
    values, clear = np.full((len(names), len(names)), np.nan), np.zeros((len(names), len(names)), bool)
    single: dict[str, float] = {}
    for row in pairs.to_dict("records"):
        a, b = names.index(row["first"]), names.index(row["second"])
        values[a, b] = values[b, a] = row["redundancy"]
        clear[a, b] = clear[b, a] = row["lo"] > 0 or row["hi"] < 0
        single |= {row["first"]: row["drop_first"], row["second"]: row["drop_second"]}
    with style():
        ax = axes_for(ax, COLUMN, max(1.6, 0.34 * len(names) + 1.45))
        known = np.abs(values[np.isfinite(values)])
        most = float(known.max()) if known.size and known.max() > 0 else 1.0
        image = ax.imshow(
            np.ma.masked_invalid(values), cmap="RdBu_r", norm=TwoSlopeNorm(0.0, -most, most), aspect="auto"
        )
        _cells(ax, image, values, clear, [single[name] for name in names])
        for set_ticks in (ax.set_xticks, ax.set_yticks):
            set_ticks(range(len(names)), names, size=TINY_SIZE)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        side_bar(ax, image).set_label(label)
        look: dict[str, Any] = {"edgecolor": INK, "lw": 0.4}
        handles = [
            Patch(facecolor="white", hatch=OPEN_HATCH, label="interval holds 0", **look),
            Patch(facecolor=FAINT, label="diagonal: drop by one head", lw=0),
        ]
        n = int((clear & (values > 0)).sum() // 2)
        words = (
            f"{n} of {len(pairs)} pairs drop more together than alone, {count(int(pairs['n_donors'].max()), 'donor')}"
        )
        surround(ax, "Heads that stand in for each other" if title is None else title, words, handles)
    return ax


def _near(spot: tuple[float, float], other: tuple[float, float], sizes: tuple[float, float], *, span: float) -> bool:
    return all(abs(a - b) < size * span for a, b, size in zip(spot, other, sizes, strict=True))


def _scored(table: pd.DataFrame, metric: str, target: str | None) -> pd.DataFrame:
    require_columns(table, ["layer", "name", "metric", "value", "lo", "hi", "q"], what="The table of scores")
    rows = table[table["metric"] == metric]
    if "role" in rows:
        rows = rows[rows["role"] == "score"]
    rows = rows if target is None else rows[rows["target"] == target]
    rows = rows.assign(**{name: pd.to_numeric(rows[name], errors="coerce") for name in ("value", "lo", "hi", "q")})
    rows = rows[rows["value"].notna()]
    if rows.empty or ("target" in rows and rows["target"].nunique() > 1):
        there = ", ".join(sorted(map(str, set(table["metric"])))) or "none"
        msg = f"No head has the metric {metric!r} with one target ({target!r}); the table has {there}."
        raise InputError(msg)
    return rows


def _bar(ax: Axes, place: float, value: float, lo: float, hi: float, *, filled: bool, height: float = 0.62) -> None:
    ax.barh(place, value, height, facecolor=OBSERVED if filled else "white", edgecolor=OBSERVED, lw=0.8, zorder=2)
    if np.isfinite(lo) and np.isfinite(hi):
        ax.plot([lo, hi], [place, place], color=INK, lw=0.9, zorder=3)


def _set(ax: Axes, place: float, replacement: str, own: pd.DataFrame) -> str:
    """Draw one named set over its band and say how it stands."""
    named, draws = own[own["draw"] == 0].iloc[0], own[own["draw"] > 0]
    if len(draws):
        low, high = np.percentile(draws["drop"].astype(float), BAND)
        ax.add_patch(Rectangle((low, place - 0.48), high - low, 0.96, facecolor=REFERENCE, alpha=0.3, lw=0, zorder=1))
        ax.update_datalim([(low, place), (high, place)])
    _bar(ax, place, named["drop"], named["lo"], named["hi"], filled=True, height=0.5)
    if not len(draws):
        return f"{replacement}: no random set"
    found = permutation_p(float(named["statistic"]), draws["statistic"].astype(float))
    return f"{replacement}: {p_words(found.p, at_floor=found.at_floor)} against {count(found.n, 'random set')}"


def _heads(own: pd.DataFrame) -> str:
    name = str(own.loc[own["draw"] == 0, "heads"].iloc[0])
    first = name.split(";", 1)[0]
    return f"{first.count(' + ') + 1} {'chosen ' if ';' in name else ''}heads"


def _summary(rows: pd.DataFrame, top: pd.DataFrame, alpha: float) -> str:
    note = f"{int((rows['q'] < alpha).sum())} of {len(rows)} heads with q < {alpha:g}"
    if len(top) < len(rows):
        note = f"top {len(top)}; {note}"
    if "n_donors" in rows and rows["n_donors"].notna().any():
        note += f", {count(int(rows['n_donors'].max()), 'donor')}"
    return note


def _bar_legend(alpha: float, *, filled: bool, open_: bool) -> list[Artist]:
    handles: list[Artist] = []
    if filled:
        handles.append(Patch(facecolor=OBSERVED, edgecolor=OBSERVED, lw=0.8, label=f"one head, q < {alpha:g}"))
    if open_:
        handles.append(Patch(facecolor="white", edgecolor=OBSERVED, lw=0.8, label=f"one head, q \u2265 {alpha:g}"))
    handles.append(Line2D([], [], ls="", marker="|", ms=6, color=SOFT, mew=0.8, label="other heads of the layer"))
    return handles


def _cells(ax: Axes, image: Any, values: np.ndarray, clear: np.ndarray, single: list[float]) -> None:
    for (row, column), value in np.ndenumerate(values):
        look: dict[str, Any] = {"ha": "center", "va": "center", "size": TINY_SIZE}
        corner = (column - 0.5, row - 0.5)
        if row == column:
            ax.add_patch(Rectangle(corner, 1, 1, facecolor=FAINT, lw=0))
            ax.text(column, row, number(single[row], digits=3), color=SOFT, **look)
            continue
        dark = np.isfinite(value) and abs(image.norm(value) - 0.5) > 0.35
        if not clear[row, column]:
            ink = (*((1, 1, 1) if dark else (0, 0, 0)), 0.3)
            ax.add_patch(Rectangle(corner, 1, 1, fill=False, hatch=OPEN_HATCH, hatchcolor=ink, lw=0))
        ax.text(column, row, number(value, digits=3), color="white" if dark else INK, **look)
