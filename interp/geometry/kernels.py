"""Compiled loops over distances; each has its readable reference in the tests. Import this module on first use only."""

import numpy as np
from numba import njit

# Up to this many neighbours of a row are found by insertion and ranked by counting; more, by sorting.
FEW = 64


def compiled(function):
    """Compile with numba, cached on disk where a folder for it can be written, else in memory only."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return njit(nogil=True)(function)


@compiled
def squared_differences(columns, first, out):
    """Write squared Euclidean distances of points first, first + 1, ... to all points into ``out`` (row, point).

    ``columns`` (feature, point). The sums run over the features in their order, so they are symmetric and know nothing
    of the order of the points.
    """
    for b in range(out.shape[0]):
        row = out[b]
        row[:] = 0.0
        for f in range(columns.shape[0]):
            column = columns[f]
            at = column[first + b]
            for j in range(row.shape[0]):
                step = column[j] - at
                row[j] += step * step


@compiled
def _nearest(row, k):
    """Return the k-th smallest value of a row."""
    if k > FEW:
        return np.partition(row, k - 1)[k - 1]
    kept = np.full(k, np.inf)
    for j in range(row.shape[0]):
        value = row[j]
        if value < kept[k - 1]:
            place = k - 1
            while place > 0 and kept[place - 1] > value:
                kept[place] = kept[place - 1]
                place -= 1
            kept[place] = value
    return kept[k - 1]


@compiled
def _ranks(row, values, tie):
    """One more than the entries of a row that are smaller than each value by more than a tie."""
    ranks = np.empty(values.shape[0], dtype=np.int64)
    if values.shape[0] > FEW:
        ranks[:] = np.searchsorted(np.sort(row), values - tie) + 1
        return ranks
    for m in range(values.shape[0]):
        value = values[m] - tie
        smaller = 0
        for j in range(row.shape[0]):
            smaller += row[j] < value
        ranks[m] = smaller + 1
    return ranks


@compiled
def neighbour_errors(near, far, first, k, ties, intruded, moved):
    """Judge the k nearest of each point in one space by their ranks in the other.

    ``near`` and ``far`` (row, point) are distances of points first, first + 1, ... to all points in the two spaces, and
    are changed on their diagonals. ``intruded`` (row,) receives the sum of how far the far rank exceeds k, ``moved``
    (row,) that of the change of rank relative to the near rank. A rank is one more than the number of closer points.
    Distances that differ by no more than ``ties`` (near, far) are equal; where points at one distance compete for the
    last places, each counts by the share of places left.
    """
    for b in range(near.shape[0]):
        row, other = near[b], far[b]
        row[first + b] = np.inf
        other[first + b] = np.inf
        last = _nearest(row, k)
        members = np.flatnonzero(row <= last + ties[0])
        inside = row[members]
        far_ranks = _ranks(other, other[members], ties[1])
        near_ranks = _ranks(inside, inside, ties[0])
        closer = np.sum(inside < last - ties[0])
        share = (k - closer) / (members.shape[0] - closer)
        intruded[b] = 0.0
        moved[b] = 0.0
        for m in range(members.shape[0]):
            weight = 1.0 if inside[m] < last - ties[0] else share
            intruded[b] += weight * max(far_ranks[m] - k, 0)
            moved[b] += weight * abs(far_ranks[m] - near_ranks[m]) / near_ranks[m]
