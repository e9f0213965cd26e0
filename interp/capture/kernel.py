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
def add_patterns(total: np.ndarray, slots: np.ndarray, pattern: np.ndarray, columns: np.ndarray) -> None:
    """Add patterns to sums in place, in the order of the cells.

    Parameters
    ----------
    total
        float64 (slot, gene, gene).
    slots
        Slot of every head, -1 = not summed, int64 (head,).
    pattern
        float32 (cell, head, query, key).
    columns
        Place of every token in the panel, -1 = outside, int64 (cell, token).
    """
    n_cells, n_heads, _, _ = pattern.shape
    for cell in range(n_cells):
        inside = np.flatnonzero(columns[cell] >= 0)
        places = columns[cell][inside]
        for head in range(n_heads):
            slot = slots[head]
            if slot < 0:
                continue
            for query in range(len(inside)):
                row = total[slot, places[query]]
                values = pattern[cell, head, inside[query]]
                for key in range(len(inside)):
                    row[places[key]] += values[inside[key]]


@_compiled
def add_weighted(
    total: np.ndarray, slots: np.ndarray, pattern: np.ndarray, norms: np.ndarray, columns: np.ndarray
) -> None:
    """Add patterns times the norm of the value that each key moves; otherwise as `add_patterns`.

    Parameters
    ----------
    total, slots, pattern, columns
        As in `add_patterns`.
    norms
        Norm of the key's value after the head's output weights, float32 (cell, key, head).
    """
    n_cells, n_heads, _, _ = pattern.shape
    for cell in range(n_cells):
        inside = np.flatnonzero(columns[cell] >= 0)
        places = columns[cell][inside]
        for head in range(n_heads):
            slot = slots[head]
            if slot < 0:
                continue
            for query in range(len(inside)):
                row = total[slot, places[query]]
                values = pattern[cell, head, inside[query]]
                for key in range(len(inside)):
                    row[places[key]] += values[inside[key]] * norms[cell, inside[key], head]


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
