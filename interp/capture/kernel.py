"""The compiled scatter of attention patterns into gene x gene sums."""

import numpy as np
from numba import njit, prange


def _compiled(function):
    """Compile in parallel over heads; cached on disk where a folder for it can be written."""
    try:
        return njit(parallel=True, cache=True)(function)
    except RuntimeError:
        return njit(parallel=True)(function)


@_compiled
def add_patterns(total: np.ndarray, pattern: np.ndarray, columns: np.ndarray) -> None:
    """Add patterns to sums in place; each head's sum is added up in one order whatever the number of threads.

    Parameters
    ----------
    total
        float64 (head, gene, gene).
    pattern
        float32 (cell, head, query, key).
    columns
        Place of every token in the panel, -1 = outside, int64 (cell, token).
    """
    n_cells, n_heads, n_tokens, _ = pattern.shape
    for head in prange(n_heads):
        for cell in range(n_cells):
            for query in range(n_tokens):
                row = columns[cell, query]
                if row < 0:
                    continue
                for key in range(n_tokens):
                    column = columns[cell, key]
                    if column >= 0:
                        total[head, row, column] += pattern[cell, head, query, key]


@njit
def add_pairs(count: np.ndarray, uniform: np.ndarray, columns: np.ndarray, lengths: np.ndarray) -> None:
    """Count the pairs of panel genes that are tokens of the same cell, in place.

    Parameters
    ----------
    count
        int64 (gene, gene); one is added per cell.
    uniform
        float64 (gene, gene); one over the cell's tokens is added.
    columns
        Place of every token in the panel, -1 = outside, int64 (cell, token).
    lengths
        Tokens of each cell, int64 (cell,).
    """
    for cell in range(columns.shape[0]):
        share = 1.0 / lengths[cell]
        for row in columns[cell]:
            if row >= 0:
                for column in columns[cell]:
                    if column >= 0:
                        count[row, column] += 1
                        uniform[row, column] += share
