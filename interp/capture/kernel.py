"""The compiled scatter of attention patterns into gene x gene sums."""

import numpy as np
from numba import njit


def _compiled(function):
    """Compile for one thread, as threads that wait for each other lose more than they gain on a busy machine."""
    try:
        return njit(nogil=True, cache=True)(function)  # cached on disk where a folder for it can be written
    except RuntimeError:
        return njit(nogil=True)(function)


@_compiled
def add_patterns(total: np.ndarray, pattern: np.ndarray, columns: np.ndarray) -> None:
    """Add patterns to sums in place, in the order of the cells.

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
    for head in range(n_heads):
        for cell in range(n_cells):
            for query in range(n_tokens):
                row = columns[cell, query]
                if row < 0:
                    continue
                for key in range(n_tokens):
                    column = columns[cell, key]
                    if column >= 0:
                        total[head, row, column] += pattern[cell, head, query, key]


@_compiled
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
