"""How genes are named, and how names are listed in messages."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from interp.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

log = logging.getLogger(__name__)

# Names shown in a message before the rest is only counted.
SHOWN = 8


def some(names: Iterable[object], shown: int = SHOWN) -> str:
    """List the first names and count the rest.

    Parameters
    ----------
    names
        Any things with a text.
    shown
        Most names listed.

    Returns
    -------
    str

    Examples
    --------
    >>> some("abcd", shown=2)
    'a, b and 2 more'
    """
    listed = [str(name) for name in names]
    return ", ".join(listed[:shown]) + (f" and {len(listed) - shown} more" if len(listed) > shown else "")


def gene_names(var: pd.DataFrame, gene_key: str | None, where: str) -> pd.Index:
    """Return the names of genes, from a column of var or from its index.

    Parameters
    ----------
    var
        One row per gene.
    gene_key
        Column with the names; a gene without one keeps that of the index. None takes the index.
    where
        Name of the cells in messages.

    Returns
    -------
    pandas.Index
        Texts (gene,).

    Raises
    ------
    InputError
        There is no such column.
    """
    import pandas as pd

    names = pd.Series(var.index.astype(str).to_numpy(dtype=object), index=var.index)
    if gene_key is not None:
        if gene_key not in var:
            there = ", ".join(map(repr, var.columns)) or "none"
            msg = f"{where}: var has no column {gene_key!r}, which gene_key= names; there are: {there}"
            raise InputError(msg)
        given = var[gene_key].astype(object)
        absent = given.isna() | (given.astype(str).str.strip() == "")
        if absent.any():
            log.warning("%s: %d genes have no %s and keep their index name", where, absent.sum(), gene_key)
        names = given.astype(str).where(~absent, names)
    return pd.Index(names.to_numpy(dtype=object), dtype=object)
