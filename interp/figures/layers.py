"""The layer curve: what a probe reads from every layer and head, over the lines of what it must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from interp.errors import InputError
from interp.figures.look import (
    DONOR_COLOURS,
    OBSERVED,
    PAGE,
    REFERENCE,
    SOFT,
    axes_for,
    count,
    number,
    require_columns,
    style,
    surround,
    without_unit,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

HEIGHT = 3.6
"""Height of the figure in inches."""
SPREAD = 0.3
"""Width over which the heads of a layer are spread, in layers."""
UNTRAINED = "untrained "
DASHES = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 2, 1, 2)))


def layer_curve(
    table: pd.DataFrame,
    baselines: pd.DataFrame | None = None,
    *,
    metric: str,
    target: str | None = None,
    names: Sequence[str] | None = None,
    label: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a score against the layer: layers as a line, heads as points, controls as lines of their own.

    Parameters
    ----------
    table
        Rows of `interp.ProbeResult.table`: layer, head, name, site, metric, target, role, value, lo, hi, null_mean,
        n_donors. Only role "score" (donors never seen) is drawn.
    baselines
        Rows of `interp.ProbeResult.baselines`: representations without a model are level lines, untrained models a line
        over the layers.
    metric
        Which metric to draw.
    target
        Which target, where the tables have several.
    names
        Which representations without a model; all when None.
    label
        Name of the score with its unit; default the metric's name.
    title
        Own title instead of the default one; "" for none.
    ax
        Where to draw; default a new figure of a page's width.

    Returns
    -------
    Axes
        Layers count from 0; error bars are 95 % intervals over donors.

    Raises
    ------
    InputError
        When columns are missing, or no layer or head has the metric.
    """
    rows = _rows(table, metric, target)
    flat, heads = rows[rows["head"].isna()], rows[rows["head"].notna()]
    label = label or metric.replace("_", " ")
    with style():
        ax = axes_for(ax, PAGE, HEIGHT)
        handles = [*_layers(ax, flat), *_heads(ax, heads), *_null(ax, rows)]
        if baselines is not None and len(baselines):
            handles += _untrained(ax, baselines, metric, target)
            handles += _level(ax, baselines, metric, target, names)
        ax.set_xlabel("layer")
        ax.set_ylabel(label)
        ax.set_xlim(rows["layer"].min() - 0.5, rows["layer"].max() + 0.5)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        default = f"{without_unit(label)} of {rows['target'].iloc[0]} by layer"
        surround(ax, default if title is None else title, _note(rows), handles)
    return ax


def _rows(table: pd.DataFrame, metric: str, target: str | None) -> pd.DataFrame:
    columns = ["layer", "head", "name", "site", "metric", "target", "role", "value", "lo", "hi", "null_mean"]
    require_columns(table, columns, what="The table of probes")
    rows = table[(table["metric"] == metric) & (table["role"] == "score") & table["layer"].notna()]
    rows = rows if target is None else rows[rows["target"] == target]
    rows = rows.assign(value=pd.to_numeric(rows["value"], errors="coerce"))
    rows = rows[rows["value"].notna()]
    if rows.empty or rows["target"].nunique() > 1:
        found = ", ".join(sorted(map(str, set(table["metric"])))) or "none"
        msg = f"No layer or head has the metric {metric!r} with one target ({target!r}); the table has {found}."
        raise InputError(msg)
    return rows.astype({"layer": int})


def _layers(ax: Axes, rows: pd.DataFrame) -> list[Line2D]:
    handles = []
    for place, (site, own) in enumerate(rows.groupby("site", sort=False)):
        own = own.sort_values("layer")
        look: dict[str, Any] = {"color": OBSERVED, "ls": DASHES[place % len(DASHES)], "marker": "o", "ms": 3, "lw": 1.4}
        bars = np.abs(own[["lo", "hi"]].to_numpy(float).T - own["value"].to_numpy(float))
        ax.errorbar(own["layer"], own["value"], np.nan_to_num(bars), elinewidth=0.9, zorder=4, **look)
        handles.append(Line2D([], [], label=f"{site}, 95 % interval", **look))
    return handles


def _heads(ax: Axes, rows: pd.DataFrame) -> list[Line2D]:
    handles = []
    n_heads = int(rows["head"].max()) + 1 if len(rows) else 0
    for place, (site, own) in enumerate(rows.groupby("site", sort=False)):
        shift = SPREAD * (own["head"].to_numpy(float) - (n_heads - 1) / 2) / max(n_heads - 1, 1)
        look: dict[str, Any] = {"marker": "Ds^v"[place % 4], "ms": 2.8, "mfc": "white", "mec": OBSERVED, "mew": 0.8}
        ax.plot(own["layer"] + shift, own["value"], ls="", zorder=3, **look)
        handles.append(Line2D([], [], ls="", label=f"one head ({site})", **look))
    return handles


def _null(ax: Axes, rows: pd.DataFrame) -> list[Line2D]:
    mean = rows.groupby("layer")["null_mean"].mean()
    if not np.isfinite(mean).any():
        return []
    look: dict[str, Any] = {"color": REFERENCE, "lw": 1.2, "ls": (0, (1, 1.2))}
    ax.plot(mean.index, mean, **look)
    return [Line2D([], [], label="control task", **look)]


def _untrained(ax: Axes, table: pd.DataFrame, metric: str, target: str | None) -> list[Line2D]:
    rows = _of(table, metric, target)
    rows = rows[rows["name"].str.startswith(UNTRAINED) & rows["layer"].notna()]
    handles = []
    for site, own in rows.groupby(rows["name"].str.split(".", n=1).str[1], sort=False):
        # heads of one layer are averaged: one line says where untrained ones lie
        by_layer = own.groupby(own["layer"].astype(int))["value"].mean().astype(float)
        of_heads = own["head"].notna().all()
        dash = DASHES[3] if of_heads else DASHES[1]
        look: dict[str, Any] = {"color": SOFT, "lw": 1.1, "ls": dash, "marker": "D" if of_heads else "o", "ms": 2.4}
        ax.plot(by_layer.index, by_layer, mfc="white", **look)
        words = f"untrained {site}, mean of heads" if of_heads else f"untrained {site}"
        handles.append(Line2D([], [], mfc="white", label=words, **look))
    return handles


def _level(ax: Axes, table: pd.DataFrame, metric: str, target: str | None, names: Sequence[str] | None) -> list[Line2D]:
    rows = _of(table, metric, target)
    rows = rows[~rows["name"].str.startswith(UNTRAINED)].drop_duplicates("name")
    rows = rows if names is None else rows[rows["name"].isin(names)]
    colours = [colour for colour in DONOR_COLOURS if colour not in (OBSERVED, REFERENCE)]
    handles = []
    for place, row in enumerate(rows.sort_values("value", ascending=False).to_dict("records")):
        dash = DASHES[1 + (place + place // len(colours)) % (len(DASHES) - 1)]
        look: dict[str, Any] = {"color": colours[place % len(colours)], "lw": 1.1, "ls": dash}
        ax.axhline(row["value"], zorder=1, **look)
        handles.append(Line2D([], [], label=f"{row['name']} {number(row['value'])}", **look))
    return handles


def _of(table: pd.DataFrame, metric: str, target: str | None) -> pd.DataFrame:
    rows = table[(table["metric"] == metric) & table["value"].notna()]
    return rows if target is None else rows[rows["target"] == target]


def _note(rows: pd.DataFrame) -> str:
    top = rows.sort_values("value", ascending=False).iloc[0]
    note = f"highest {top['name']} {number(top['value'])}"
    if "n_donors" in rows and rows["n_donors"].notna().any():
        note += f", {count(int(rows['n_donors'].max()), 'held-out donor')}"
    return note
