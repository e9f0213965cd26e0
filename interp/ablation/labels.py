"""Labels of cells, and cells found again by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interp.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Int

    from interp.scgpt.tokens import GeneTokens


def check_labels(labels: Any, tokens: GeneTokens, word: str) -> np.ndarray:
    """Return one label per cell as text, (cell,).

    Raises
    ------
    InputError
        Their number is not that of the cells, one is missing, or two cells have the same name.
    """
    given = np.asarray(labels, dtype=object)
    if given.shape != (len(tokens),):
        msg = f"{word} has the shape {given.shape}; expected one label for each of {len(tokens):,} cells"
        raise InputError(msg)
    missing = np.flatnonzero(pd.isna(given))
    if len(missing):
        msg = f"{word} has no label for {len(missing):,} cells, such as {tokens.cell_ids[missing[0]]!r}; leave them out"
        raise InputError(msg)
    if len(set(tokens.cell_ids)) < len(tokens):
        names, counts = np.unique(tokens.cell_ids, return_counts=True)
        msg = f"{int(counts.max())} cells are named {names[counts.argmax()]!r}; give every cell a name of its own"
        raise InputError(msg)
    return given.astype(str)


def cell_rows(tokens: GeneTokens, known: Mapping[str, int], maker: str) -> Int[np.ndarray, " cell"]:
    """Return what is known of each cell by its name.

    Raises
    ------
    InputError
        A cell is unknown.
    """
    absent = [name for name in tokens.cell_ids if name not in known]
    if absent:
        msg = f"{absent[0]!r} is none of the {len(known):,} cells that {maker} was given; give it all cells to be run"
        raise InputError(msg)
    return np.array([known[name] for name in tokens.cell_ids], np.int64)
