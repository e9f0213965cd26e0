"""The head heatmap: one score for every layer and head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from interp.errors import InputError
from interp.figures.look import (
    COLUMN,
    FAINT,
    INK,
    PAGE,
    REFERENCE,
    SMALL_SIZE,
    TINY_SIZE,
    axes_for,
    count,
    number,
    require_columns,
    side_bar,
    style,
    surround,
    without_unit,
)
from interp.heads import tied_with_best

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colorbar import Colorbar

MOST_NUMBERS = 150
"""Up to so many heads carry their score as a number."""
TIE_HATCH, MISSING_HATCH, NULL_HATCH = "////", "xxxx", "\\\\\\\\\\\\"
MOST_TICKS = 16


def head_heatmap(
    table: pd.DataFrame,
    *,
    metric: str,
    target: str | None = None,
    role: str | None = None,
    alpha: float | None = None,
    digits: int = 2,
    label: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a score as layers x heads, ties hatched, the null and its floor marked on the colour bar.

    Heads within the best one's floor are tied with it, and then none is framed as the best. With `alpha` the heads that
    are not significant are hatched in place of the ties.

    A head with several operators (kinds, orientations) shows one of them, and the note says so: for held-out scores
    the one that is best on the training donors where the table has those, otherwise the best one.

    Parameters
    ----------
    table
        Rows of `scores.csv`: layer, head, metric, value; target, role, n_donors, null_mean and floor (the best head's
        own) are used where they exist, and tied where there is no floor. Rows without a layer and head (pooled drift)
        are left out.
    metric
        Which metric to draw.
    target, role
        Which target and role ("score": held-out donors, "select": training donors). Without a role "score" is drawn
        where it exists.
    alpha
        Level of the column q that a head must stay under.
    digits
        Decimals of the numbers in the cells.
    label
        Name of the score with its unit on the colour bar; default the metric's name.
    title
        Own title instead of the default one; "" for none.
    ax
        Where to draw; default a new figure of one column, or of a page above twelve heads.

    Returns
    -------
    Axes
        The heatmap; layers and heads count from 0.

    Raises
    ------
    InputError
        When columns are missing, no row has the metric, or several targets are left.
    """
    rows = _select(table, metric=metric, target=target, role=role)
    best, chosen = _one_per_head(rows, table)
    n_layers, n_heads = (int(best[axis].max()) + 1 for axis in ("layer", "head"))
    scores = np.full((n_layers, n_heads), np.nan)
    scores[best["layer"], best["head"]] = best["value"]
    tied = np.zeros((n_layers, n_heads), dtype=bool)
    null_mean, floor = _null(best)
    tied[best["layer"], best["head"]] = tied_with_best(best["value"], best["floor"]) if floor == floor else best["tied"]
    tied &= tied.sum() > 1  # one head alone ties with nobody
    label = label or metric.replace("_", " ")
    with style():
        width = COLUMN if n_heads <= 12 else PAGE
        cell = min(0.42, (width - 1.2) / n_heads)
        ax = axes_for(ax, width, max(1.5, cell * n_layers * 0.8 + 1.35))
        image = ax.imshow(np.ma.masked_invalid(scores), norm=_range(scores, null_mean, floor), aspect="auto")
        weak = None if alpha is None else _weak(best, scores.shape, alpha)
        _mark(ax, image, scores, tied, weak, digits=digits)
        _ticks(ax, n_layers, n_heads)
        _mark_null(side_bar(ax, image), label, null_mean, floor)
        default = f"{without_unit(label)} of every head"
        handles = _legend(scores, tied, null_mean, floor, weak=weak, alpha=alpha, digits=digits)
        note = _note(rows, best, scores, tied, chosen=chosen, digits=digits)
        note += "" if weak is None else f", {int((~weak).sum())} of {weak.size} heads with q < {alpha:g}"
        surround(ax, default if title is None else title, note, handles)
    return ax


def _select(table: pd.DataFrame, *, metric: str, target: str | None, role: str | None) -> pd.DataFrame:
    require_columns(table, ["layer", "head", "metric", "value"], what="The table of scores")
    rows = table[table["metric"] == metric]
    if rows.empty:
        msg = f"No row has the metric {metric!r}; the table has {', '.join(sorted(map(str, set(table['metric']))))}."
        raise InputError(msg)
    if role is None and "role" in rows and (rows["role"] == "score").any():
        role = "score"
    for column, wanted in (("target", target), ("role", role)):
        if wanted is not None:
            require_columns(rows, [column], what="The table of scores")
            rows = rows[rows[column] == wanted]
    rows = rows[rows["layer"].notna() & rows["head"].notna()]
    if rows.empty:
        msg = f"No head has the metric {metric!r} with target={target!r} and role={role!r}; loosen the choice."
        raise InputError(msg)
    if "target" in rows and rows["target"].nunique(dropna=False) > 1:
        msg = f"The metric {metric!r} has several targets ({', '.join(map(str, rows['target'].unique()))}); name one."
        raise InputError(msg)
    return rows


def _one_per_head(rows: pd.DataFrame, table: pd.DataFrame) -> tuple[pd.DataFrame, bool]:
    # A held-out score must not be the best of several, so the training donors choose where their scores are known.
    rows = rows.assign(layer=rows["layer"].astype(int), head=rows["head"].astype(int))
    rows = rows.assign(value=pd.to_numeric(rows["value"], errors="coerce"))
    given = rows["tied"] if "tied" in rows else pd.Series(data=False, index=rows.index)
    rows = rows.assign(tied=given.map(lambda flag: str(flag).lower() in ("true", "1", "1.0")))
    chosen = {"role", "name"} <= set(rows) and set(rows["role"]) == {"score"} and (table["role"] == "select").any()
    rows = rows.assign(rank=rows["name"].map(_training_values(rows, table)) if chosen else rows["value"])
    rows = rows.sort_values(["rank", "value"], ascending=False, kind="stable").drop_duplicates(["layer", "head"])
    return rows.sort_values("value", ascending=False, kind="stable"), bool(chosen)


def _training_values(rows: pd.DataFrame, table: pd.DataFrame) -> pd.Series:
    same = (table["role"] == "select") & (table["metric"] == rows["metric"].iloc[0])
    if "target" in rows:
        same &= table["target"].isna() | table["target"].isin(rows["target"])
    values = pd.to_numeric(table.loc[same].set_index("name")["value"], errors="coerce")
    return values[~values.index.duplicated()]


def _null(best: pd.DataFrame) -> tuple[float, float]:
    """Null mean and floor of the best head, as heads may have nulls of their own; the largest of exactly equal ones."""
    first = best[best["value"] == best["value"].max()]
    pair = [float(first[column].max()) if column in best else float("nan") for column in ("null_mean", "floor")]
    return pair[0], pair[1]


def _range(scores: np.ndarray, null_mean: float, floor: float) -> Normalize:
    shown = np.append(scores[np.isfinite(scores)], [x for x in (null_mean, null_mean + floor) if np.isfinite(x)])
    if not shown.size:
        return Normalize(0.0, 1.0)
    low, high = float(shown.min()), float(shown.max())
    return Normalize(low, high) if high > low else Normalize(low - 0.5, high + 0.5)


def _weak(best: pd.DataFrame, shape: tuple[int, ...], alpha: float) -> np.ndarray:
    require_columns(best, ["q"], what="The table of scores")
    weak = np.ones(shape, dtype=bool)
    weak[best["layer"], best["head"]] = ~(pd.to_numeric(best["q"], errors="coerce") < alpha)
    return weak


def _mark(
    ax: Axes,
    image: ScalarMappable,
    scores: np.ndarray,
    tied: np.ndarray,
    weak: np.ndarray | None = None,
    *,
    digits: int = 2,
) -> None:
    numbers = scores.size <= MOST_NUMBERS
    single = np.isfinite(scores).any() and not tied.any()
    best = np.unravel_index(np.nanargmax(scores), scores.shape) if single else None
    for (layer, head), value in np.ndenumerate(scores):
        corner, missing = (head - 0.5, layer - 0.5), not np.isfinite(value)
        dark = not missing and image.norm(value) < 0.55
        ink = "white" if dark else INK
        if missing:
            ax.add_patch(Rectangle(corner, 1, 1, facecolor=FAINT, edgecolor="white", hatch=MISSING_HATCH, lw=0))
        elif (tied if weak is None else weak)[layer, head]:
            look = {"hatchcolor": (*((1, 1, 1) if dark else (0, 0, 0)), 0.35)}
            ax.add_patch(Rectangle(corner, 1, 1, fill=False, hatch=TIE_HATCH, lw=0, **look))
        if (layer, head) == best:
            ax.add_patch(Rectangle((head - 0.46, layer - 0.46), 0.92, 0.92, fill=False, edgecolor=REFERENCE, lw=1.4))
        if numbers and not missing:
            size = SMALL_SIZE if scores.shape[1] <= 8 else TINY_SIZE - 0.5
            text = number(value, digits=digits)
            text = text.replace("0.", ".", 1) if scores.shape[1] > 8 else text
            ax.text(head, layer, text, ha="center", va="center", size=size, color=ink)


def _ticks(ax: Axes, n_layers: int, n_heads: int) -> None:
    ax.set_xticks(range(0, n_heads, 1 + (n_heads - 1) // MOST_TICKS))
    ax.set_yticks(range(0, n_layers, 1 + (n_layers - 1) // MOST_TICKS))
    ax.set_xlabel("head")
    ax.set_ylabel("layer")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _mark_null(bar: Colorbar, label: str, null_mean: float, floor: float) -> None:
    bar.set_label(label)
    if np.isfinite(null_mean):
        bar.ax.axhline(null_mean, color=REFERENCE, lw=1.6)
        if np.isfinite(floor):
            look = {"hatch": NULL_HATCH, "hatchcolor": REFERENCE}
            bar.ax.add_patch(Rectangle((0, null_mean), 1, floor, fill=False, lw=0, **look))


def _legend(
    scores: np.ndarray,
    tied: np.ndarray,
    null_mean: float,
    floor: float,
    *,
    weak: np.ndarray | None = None,
    alpha: float | None = None,
    digits: int = 2,
) -> list[Line2D | Patch]:
    handles: list[Line2D | Patch] = []
    if weak is not None and (weak & np.isfinite(scores)).any():
        words = f"not significant (q \u2265 {alpha:g})"
        handles.append(Patch(facecolor="white", edgecolor=INK, hatch=TIE_HATCH, lw=0.4, label=words))
    if tied.any() and weak is None:
        handles.append(Patch(facecolor="white", edgecolor=INK, hatch=TIE_HATCH, lw=0.4, label="tied within the floor"))
    elif np.isfinite(scores).any() and not tied.any():
        handles.append(Patch(facecolor="white", edgecolor=REFERENCE, lw=1.2, label="best head"))
    if not np.isfinite(scores).all():
        handles.append(Patch(facecolor=FAINT, edgecolor="white", hatch=MISSING_HATCH, lw=0.4, label="not computable"))
    if np.isfinite(null_mean):
        handles.append(Line2D([], [], color=REFERENCE, lw=1.6, label=f"null mean {number(null_mean, digits=digits)}"))
        if np.isfinite(floor):
            look = {"hatch": NULL_HATCH, "hatchcolor": REFERENCE}
            handles.append(
                Patch(facecolor="white", lw=0, label=f"null floor, {number(floor, digits=digits)} wide", **look)
            )
    return handles


def _note(
    rows: pd.DataFrame, best: pd.DataFrame, scores: np.ndarray, tied: np.ndarray, *, chosen: bool, digits: int = 2
) -> str:
    parts = []
    if np.isfinite(scores).any():
        top = best.iloc[0]
        word = "highest" if tied.any() else "best"
        parts.append(f"{word} L{top['layer']}H{top['head']} {number(top['value'], digits=digits)}")
    else:
        parts.append("no head computable")
    if tied.any():
        parts.append(f"{int(tied.sum())} of {scores.size} heads tied within the floor")
    per_head = rows.groupby(["layer", "head"]).size().max()
    if per_head > 1:
        parts.append(f"one of {per_head} operators a head, best on {'training donors' if chosen else 'this score'}")
    role = str(rows["role"].iloc[0]) if "role" in rows and rows["role"].nunique() == 1 else ""
    kind = {"score": "held-out donor", "select": "training donor"}.get(role, "donor")
    if "n_donors" in rows and rows["n_donors"].notna().any():
        parts.append(count(int(rows["n_donors"].max()), kind))
    elif role:
        parts.append(f"{kind}s")
    return ", ".join(parts)
