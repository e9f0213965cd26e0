"""Tables as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd


def shown(value: Any) -> str:
    """Write a cell: numbers with four significant digits, missing values as a dash."""
    if value is None or (isinstance(value, float | np.floating) and not np.isfinite(value)):
        return "-"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return f"{value:.4g}"
    return str(value).replace("|", "\\|")


def markdown(table: pd.DataFrame, columns: Mapping[str, str] | None = None) -> str:
    """Write a table.

    Parameters
    ----------
    table
        What to write.
    columns
        Column to heading, in order; all columns under their own names when None.

    Returns
    -------
    str
        Markdown without a trailing line break.
    """
    columns = columns or {name: str(name) for name in table.columns}
    lines = ["| " + " | ".join(columns.values()) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(shown(row[name]) for name in columns) + " |" for row in table.to_dict("records")]
    return "\n".join(lines)
