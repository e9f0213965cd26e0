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


@compiled
def deal(keys, home, bounds, classes, out):
    """Deal the classes of every block to its points by rising keys (draw, point).

    ``home`` lists the points block by block, ``bounds`` (block + 1,) where each starts; ``out`` (draw, point).
    """
    order = np.empty(home.shape[0], dtype=np.int64)
    for d in range(keys.shape[0]):
        row = keys[d]
        for block in range(bounds.shape[0] - 1):
            start, stop = bounds[block], bounds[block + 1]
            if stop - start > FEW:
                members = home[start:stop]
                order[start:stop] = members[np.argsort(row[members])]
            else:
                for place in range(start, stop):
                    point, at = home[place], place
                    while at > start and row[order[at - 1]] > row[point]:
                        order[at] = order[at - 1]
                        at -= 1
                    order[at] = point
        for place in range(home.shape[0]):
            out[d, home[place]] = classes[order[place]]


@compiled
def class_pair_sums(matrix, stops, classes, width, out):
    """Sum a symmetric (point, point) matrix over pairs i < j < stops[i] by the classes of both, for many labellings.

    ``stops`` (point,) and ``classes`` (draw, point); ``out`` (draw, class, class) receives at [a, b] the sum over j of
    class a and i of class b. Rows are added up by class first, in the type of the matrix, over ``width`` columns at a
    time, so that these columns stay in the cache for all draws.
    """
    n = matrix.shape[0]
    by_class = np.empty((out.shape[1], width), dtype=matrix.dtype)
    out[:] = 0.0
    for low in range(0, n, width):
        high = min(n, low + width)
        for d in range(classes.shape[0]):
            labels, sums = classes[d], out[d]
            by_class[:] = 0
            for i in range(high - 1):
                start, stop = max(low, i + 1), min(high, stops[i])
                if start < stop:
                    total, row = by_class[labels[i], start - low : stop - low], matrix[i, start:stop]
                    for j in range(row.shape[0]):
                        total[j] += row[j]
            for j in range(high - low):
                label = labels[low + j]
                for a in range(out.shape[1]):
                    sums[label, a] += by_class[a, j]


@compiled
def rank_correlations(values, target, out):
    """Spearman correlation of each row (draw, column) with centred ranks (column,); 0 where a row is constant."""
    n = values.shape[1]
    length = np.sqrt(np.sum(target * target))
    for d in range(values.shape[0]):
        row = values[d]
        order = np.argsort(row)
        squares, products = 0.0, 0.0
        first = 0
        while first < n:
            last = first
            while last + 1 < n and row[order[last + 1]] == row[order[first]]:
                last += 1
            rank = 0.5 * (first + last - n + 1)
            for place in range(first, last + 1):
                squares += rank * rank
                products += rank * target[order[place]]
            first = last + 1
        out[d] = products / (np.sqrt(squares) * length) if squares > 0.0 and length > 0.0 else 0.0


@compiled
def pair_correlations(first, second, weights, x, y, x_place, y_place):
    """Spearman and Pearson correlation over pairs (pair,), a pair weighing the product of its points' weights.

    ``x_place`` and ``y_place`` number the different values of ``x`` and ``y`` from the smallest. Ranks are those that
    values have when each stands there as often as its weight says.
    """
    x_count, y_count = np.zeros(np.max(x_place) + 1), np.zeros(np.max(y_place) + 1)
    for p in range(first.shape[0]):
        weight = weights[first[p]] * weights[second[p]]
        x_count[x_place[p]] += weight
        y_count[y_place[p]] += weight
    x_rank = np.cumsum(x_count) - x_count / 2
    y_rank = np.cumsum(y_count) - y_count / 2
    total = np.sum(x_count)
    middle = total / 2
    x_sum, y_sum, xx_rank, yy_rank, xy_rank = 0.0, 0.0, 0.0, 0.0, 0.0
    for p in range(first.shape[0]):
        weight = weights[first[p]] * weights[second[p]]
        a, b = x_rank[x_place[p]] - middle, y_rank[y_place[p]] - middle
        xx_rank += weight * a * a
        yy_rank += weight * b * b
        xy_rank += weight * a * b
        x_sum += weight * x[p]
        y_sum += weight * y[p]
    xx, yy, xy = 0.0, 0.0, 0.0
    for p in range(first.shape[0]):
        weight = weights[first[p]] * weights[second[p]]
        a, b = x[p] - x_sum / total, y[p] - y_sum / total
        xx += weight * a * a
        yy += weight * b * b
        xy += weight * a * b
    if np.count_nonzero(x_count) < 2 or np.count_nonzero(y_count) < 2:
        return np.nan, np.nan
    return xy_rank / np.sqrt(xx_rank * yy_rank), xy / np.sqrt(xx * yy)
