"""Effects against every control as a forest: intervals over donors, the null-to-null floor, the registered minimum."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from interp.errors import InputError
from interp.evidence import ALPHA
from interp.figures.look import (
    COLUMN,
    FAINT,
    INK,
    OBSERVED,
    PAGE,
    REFERENCE,
    SOFT,
    TINY_SIZE,
    axes_for,
    count,
    number,
    p_number,
    require_columns,
    style,
    surround,
    without_unit,
    wrap,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 0.2
"""Height of a row in inches."""
COLUMNS = ("endpoint", "control", "draws", "effect", "lo", "hi", "p", "q", "floor", "minimum", "status", "donors")
NAME_WIDTH = 26
"""Characters of a control's name in a line."""


def effects_forest(
    table: pd.DataFrame,
    *,
    endpoint: str,
    title: str | None = None,
    names: bool = True,
    order: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw by how much the chosen operator beats each control on one endpoint.

    Parameters
    ----------
    table
        From `interp.evidence.controls_table`.
    endpoint
        Which endpoint to draw.
    title
        Own title instead of the endpoint's name; "" for none.
    names
        Write the controls' names, and explain the markers.
    order
        Controls from top to bottom; by default from the smallest effect to the largest.
    ax
        Where to draw; default a new figure of one column.

    Returns
    -------
    Axes
        One row per control: mean difference with its 95 % interval over donors, filled where p < 0.05; the band up to
        the null-to-null floor, zero, and the registered minimum.

    Raises
    ------
    InputError
        A column is missing, or no row has the endpoint.
    """
    require_columns(table, COLUMNS, what="The table of controls")
    rows = table[table["endpoint"] == endpoint]
    if rows.empty:
        known = ", ".join(dict.fromkeys(map(str, table["endpoint"])))
        msg = f"No row has the endpoint {endpoint!r}; the table has {known or 'no rows'}."
        raise InputError(msg)
    order = list(order) if order is not None else rows.sort_values(["effect", "control"])["control"].tolist()
    rows = rows.set_index("control").reindex(order)
    with style():
        ax = axes_for(ax, COLUMN, ROW * len(order) + 1.2)
        _background(ax, rows)
        for y, (_, row) in enumerate(rows.iterrows()):
            _row(ax, y, row)
        _axes(ax, order, rows, names=names)
        surround(
            ax, without_unit(endpoint) if title is None else title, _note(rows), _legend(rows, markers=names), columns=1
        )
    return ax


def effects_board(table: pd.DataFrame) -> Figure:
    """Draw the forests of all endpoints beside each other, controls in one order.

    Parameters
    ----------
    table
        From `interp.evidence.controls_table`.

    Returns
    -------
    Figure
        Of page width; the controls' order is that of the first endpoint. Endpoints without an effect are left out.

    Raises
    ------
    InputError
        A column is missing, or there is no effect to draw.
    """
    import matplotlib.pyplot as plt

    require_columns(table, COLUMNS, what="The table of controls")
    shown = table[table["effect"].notna()]
    endpoints = list(dict.fromkeys(shown["endpoint"]))
    if not endpoints:
        msg = "The table of controls holds no effect, so there is nothing to draw."
        raise InputError(msg)
    first = shown[shown["endpoint"] == endpoints[0]].sort_values(["effect", "control"])["control"].tolist()
    order = [*first, *(name for name in dict.fromkeys(shown["control"]) if name not in first)]
    with style():
        size = (PAGE, ROW * len(order) + 1.35)
        figure, axes = plt.subplots(1, len(endpoints), figsize=size, layout="constrained", squeeze=False)
        for k, (endpoint, ax) in enumerate(zip(endpoints, axes[0], strict=True)):
            effects_forest(shown, endpoint=endpoint, order=order, names=k == 0, ax=ax)
    return figure


def _background(ax: Axes, rows: pd.DataFrame) -> None:
    floor, minimum = rows["floor"].max(), rows["minimum"].max()
    if floor > 0:
        ax.axvspan(-floor, floor, color="#EDEDED", lw=0, zorder=0)
    ax.axvline(0, color=SOFT, lw=0.7, zorder=1)
    ax.axvline(minimum, color=REFERENCE, lw=0.9, ls=(0, (4, 2)), zorder=1)


def _row(ax: Axes, y: int, row: pd.Series) -> None:
    if not np.isfinite(row["effect"]):
        ax.text(0.02, y, "not computable", transform=ax.get_yaxis_transform(), va="center", size=TINY_SIZE, color=SOFT)
        return
    ax.plot([row["lo"], row["hi"]], [y, y], color=INK, lw=1.1, solid_capstyle="butt", zorder=2)
    fill = OBSERVED if row["p"] < ALPHA else "white"
    ax.plot(row["effect"], y, "D" if row["draws"] > 1 else "o", ms=4.2, mfc=fill, mec=OBSERVED, mew=0.9, zorder=3)
    look = {"va": "center", "ha": "left", "size": TINY_SIZE, "color": INK}
    ax.text(1.02, y, p_number(row["p"]), transform=ax.get_yaxis_transform(), **look)


def _axes(ax: Axes, order: list[str], rows: pd.DataFrame, *, names: bool) -> None:
    ax.set_ylim(len(order) - 0.4, -0.6)
    ax.set_yticks(range(len(order)), [wrap(name, NAME_WIDTH) for name in order] if names else [""] * len(order))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    for y in range(len(order)):
        ax.axhline(y, color=FAINT, lw=0.4, zorder=0.5)
    ends = rows[["lo", "hi", "effect", "floor", "minimum"]].to_numpy(dtype=float)
    low, high = np.nanmin([np.nanmin(ends), -rows["floor"].max(), 0.0]), max(np.nanmax(ends), 0.0)
    ax.set_xlim(low - 0.06 * (high - low), high + 0.06 * (high - low))
    ax.set_xlabel("chosen less control")
    ax.text(1.02, -0.6, "p", transform=ax.get_yaxis_transform(), ha="left", va="bottom", size=TINY_SIZE, color=SOFT)


def _note(rows: pd.DataFrame) -> str:
    known = rows.dropna(subset=["effect"])
    if known.empty:
        return "nothing computable"
    q = known["q"].iloc[0]
    words = "q not computable" if not np.isfinite(q) else f"q = {p_number(q)}"
    return f"{known['status'].iloc[0]}, {words}, {count(int(known['donors'].iloc[0]), 'donor')}"


def _legend(rows: pd.DataFrame, *, markers: bool) -> list[Line2D | Patch]:
    minimum = number(rows["minimum"].max())
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=REFERENCE, lw=0.9, ls=(0, (4, 2)), label=f"registered minimum {minimum}")
    ]
    if rows["floor"].max() > 0:
        handles.append(Patch(facecolor="#EDEDED", lw=0, label=f"null to null {number(rows['floor'].max())}"))
    if not markers:
        return handles
    look = {"ls": "", "ms": 4.0, "mec": OBSERVED, "mew": 0.9}
    handles.append(Line2D([], [], marker="o", mfc=OBSERVED, label=f"p < {ALPHA:g} (open: not)", **look))
    if (rows["draws"] > 1).any():
        handles.append(Line2D([], [], marker="D", mfc="white", label="mean of a control's draws", **look))
    return handles
