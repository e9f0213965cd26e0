"""The gate board: panels x gates with value, threshold, status in words and the share of nulls that pass."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.patheffects as effects
import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle

from interp.figures.look import (
    CHARACTER_WIDTH,
    COLUMN,
    INK,
    PAGE,
    SMALL_SIZE,
    SOFT,
    TINY_SIZE,
    axes_for,
    count,
    number,
    p_number,
    percent,
    require_columns,
    style,
    surround,
    wrap,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNINFORMATIVE = 0.5
"""A gate that more than this share of the null draws passes tells nothing (design: "a gate that most nulls pass")."""
STATUS = {"pass": ("✓", "#CFE4F2"), "fail": ("✗", "#F8D9C4"), "not computable": ("○", "#EDEDED")}
"""Sign and tint of a status; the word itself is always written."""
TIED = "\u00a0"
"""A space at which no line is broken."""
UNINFORMATIVE_HATCH = "...."
ROW = 0.52
"""Height of a gate's row in inches: four lines of small text."""
LINE = 0.1
"""One more line, in inches."""
QUALIFIER = r" (holdout|\(.*\))$"
"""How a gate was taken, at the end of its name."""


def gate_board(
    gates: pd.DataFrame | Sequence[Mapping[str, Any]], *, title: str | None = None, ax: Axes | None = None
) -> Axes:
    """Draw every gate on every panel: sign and word of its status, value against threshold, null pass rate.

    Parameters
    ----------
    gates
        Rows of `gates.json`: gate, panel, value, threshold, status; pairs, reason, n, at_floor, null_pass_rate and
        sense ("<=" or ">=") are used where they exist. Several kinds of pairs make a row of the board each.
    title
        Own title instead of the default one; "" for none.
    ax
        Where to draw; default a new figure of one column, or of a page above two panels.

    Returns
    -------
    Axes
        Gates in rows, panels in columns; dots cover a gate that most null draws pass.

    Raises
    ------
    InputError
        When a column is missing.
    """
    table = gates if isinstance(gates, pd.DataFrame) else pd.DataFrame(list(gates))
    require_columns(table, ["gate", "panel", "value", "threshold", "status"], what="The table of gates")
    records = table.to_dict("records")
    placed = [_row_and_kind(record, table) for record in records]
    rows = [{**record, "row": name, "kind": kind} for record, (name, kind) in zip(records, placed, strict=True)]
    panels, names = list(dict.fromkeys(table["panel"])), list(dict.fromkeys(row["row"] for row in rows))
    with style():
        width = COLUMN if len(panels) <= 2 else PAGE
        ax = axes_for(ax, width, (ROW + LINE * any(row["kind"] for row in rows)) * len(names) + 0.85)
        _grid(ax, names, panels)
        inches = (width - 1.0) / max(len(panels), 1)
        for row in rows:
            _cell(ax, panels.index(row["panel"]), names.index(row["row"]), row, inches)
        known = {(row["panel"], row["row"]) for row in rows}
        for x, y in np.ndindex(len(panels), len(names)):
            if (panels[x], names[y]) not in known:
                ax.text(x + 0.5, y + 0.5, "not measured", ha="center", va="center", size=TINY_SIZE, color=SOFT)
        surround(ax, _title(table) if title is None else title, _note(rows))
    return ax


def _row_and_kind(row: Mapping[str, Any], table: pd.DataFrame) -> tuple[str, str]:
    """Name the board's row of a gate, and what kind of that gate it is when the row holds several.

    "donor holdout" on one panel and "donor (within group, frozen)" on another share the row "donor".
    """
    names = table["gate"].astype(str).str.replace("_", " ")
    stems = names.str.replace(QUALIFIER, "", regex=True)
    name = str(row["gate"]).replace("_", " ")
    stem, kind = re.sub(QUALIFIER, "", name), ""
    if names[stems == stem].nunique() > 1:
        kind = name.removeprefix(stem).strip(" ()")
        name = stem
    several = "pairs" in table and table["pairs"].nunique() > 1
    return f"{name}, {row['pairs']} pairs" if several else name, kind


def _grid(ax: Axes, names: list[str], panels: list[str]) -> None:
    ax.set_xlim(0, len(panels))
    ax.set_ylim(len(names), 0)
    ax.set_xticks(np.arange(len(panels)) + 0.5, [wrap(name, 22) for name in panels], size=SMALL_SIZE)
    ax.set_yticks(np.arange(len(names)) + 0.5, [wrap(name, 16) for name in names], size=SMALL_SIZE)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _cell(ax: Axes, x: int, y: int, row: Mapping[str, Any], inches: float) -> None:
    sign, tint = STATUS.get(str(row["status"]), ("", "#FFFFFF"))
    look: dict[str, Any] = {"facecolor": tint, "edgecolor": "white", "lw": 1.5}
    if _uninformative(row):
        look |= {"hatch": UNINFORMATIVE_HATCH, "hatchcolor": (0, 0, 0, 0.22)}
    ax.add_patch(Rectangle((x, y), 1, 1, **look))
    characters = int((inches - 0.08) * 72 / (CHARACTER_WIDTH * TINY_SIZE))
    lines = _lines(row, characters)
    halo = [effects.withStroke(linewidth=2.0, foreground=tint)]
    text: dict[str, Any] = {"ha": "center", "va": "center", "zorder": 3, "path_effects": halo}
    ax.text(x + 0.5, y + 0.2, f"{sign} {row['status']}", size=SMALL_SIZE, weight="bold", color=INK, **text)
    ax.text(x + 0.5, y + 0.62, lines, size=TINY_SIZE, color=INK, linespacing=1.15, **text)


def _lines(row: Mapping[str, Any], characters: int) -> str:
    kind = [row["kind"]] if row["kind"] else []
    value, threshold, reason = _float(row["value"]), _float(row["threshold"]), row.get("reason")
    if row["status"] == "not computable" or not np.isfinite(value):
        return "\n".join(
            [*kind, wrap(str(reason) if isinstance(reason, str) and reason else "no value", characters, lines=3)]
        )
    p_like = _smaller_is_better(row)
    written = p_number if p_like else number
    first = written(value)
    if np.isfinite(threshold):
        first += f", asked {'≤' if p_like else '≥'}{TIED}{written(threshold)}"
    n = _float(row.get("n"))
    if np.isfinite(n):
        first += f", n{TIED}={TIED}{n:,.0f}"
    if row.get("at_floor") in (True,):  # NumPy's True as well, NaN not
        first += " (p at its floor)"
    rate = _float(row.get("null_pass_rate"))
    lines = [*kind, *wrap(first, characters, lines=2).split("\n")]
    if np.isfinite(rate):
        lines.append(f"{percent(rate)} of nulls pass" + (":" if _uninformative(row) else ""))
        if _uninformative(row):
            lines.append("uninformative")
    return "\n".join(lines)


def _smaller_is_better(row: Mapping[str, Any]) -> bool:
    if row.get("sense") in ("<=", ">="):
        return row["sense"] == "<="
    return "permutation" in str(row["gate"]) or str(row["gate"]).split("_")[-1].split()[-1] == "p"


def _uninformative(row: Mapping[str, Any]) -> bool:
    return _float(row.get("null_pass_rate")) > UNINFORMATIVE


def _float(value: Any) -> float:
    return float("nan") if value is None or isinstance(value, str) else float(value)


def _title(table: pd.DataFrame) -> str:
    n = table["status"].value_counts()
    return "Gates: " + ", ".join(f"{n.get(word, 0)} {word}" for word in STATUS)


def _note(rows: Sequence[Mapping[str, Any]]) -> str:
    uninformative = sum(map(_uninformative, rows))
    known = sum(np.isfinite(_float(row.get("null_pass_rate"))) for row in rows)
    if not rows:
        return "no gate was measured"
    if not known:
        return "null pass rates not measured"
    return f"{uninformative} of {count(known, 'gate')} passed by most null draws (dotted): uninformative"
