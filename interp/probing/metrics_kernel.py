"""The compiled heart of the class metrics: one pass over the test cells gives every donor's scores."""

import math

import numpy as np

from interp.probing.logistic_kernel import compiled


@compiled
def donor_losses(logits, labels, donors, known, sizes, out):
    """Write each donor's log loss, the mean over its classes of the mean over their cells, (donor,).

    ``logits`` (cell, class), minus infinity for a class that was not trained; ``known`` (cell,) tells the cells of
    trained classes; ``sizes`` (donor, class) counts them.
    """
    n, n_classes = logits.shape
    out[:] = 0.0
    for i in range(n):
        if not known[i]:
            continue
        top = logits[i, 0]
        for c in range(1, n_classes):
            top = max(top, logits[i, c])
        total = 0.0
        for c in range(n_classes):
            total += math.exp(logits[i, c] - top)
        loss = math.log(total) + top - logits[i, labels[i]]
        out[donors[i]] += loss / sizes[donors[i], labels[i]]
    _over_classes(sizes, out)


@compiled
def donor_recalls(logits, labels, donors, known, sizes, out):
    """Write each donor's mean recall over its classes, (donor,)."""
    n, n_classes = logits.shape
    out[:] = 0.0
    for i in range(n):
        if not known[i]:
            continue
        best = 0
        for c in range(1, n_classes):
            if logits[i, c] > logits[i, best]:
                best = c
        if best == labels[i]:
            out[donors[i]] += 1.0 / sizes[donors[i], best]
    _over_classes(sizes, out)


@compiled
def donor_areas(logits, labels, donors, known, sizes, out):
    """Write each donor's area under the ROC curve of a class against the rest, mean over its classes, (donor,).

    A class's score is its probability; equal scores count half.
    """
    n, n_classes = logits.shape
    n_donors = sizes.shape[0]
    out[:] = 0.0
    shares = np.empty((n_classes, n))
    for i in range(n):
        top = logits[i, 0]
        for c in range(1, n_classes):
            top = max(top, logits[i, c])
        total = 0.0
        for c in range(n_classes):
            shares[c, i] = math.exp(logits[i, c] - top)
            total += shares[c, i]
        for c in range(n_classes):
            shares[c, i] /= total
    cells = np.empty(n, np.int64)
    for donor in range(n_donors):
        m = 0
        for i in range(n):
            if known[i] and donors[i] == donor:
                cells[m] = i
                m += 1
        for c in range(n_classes):
            positive = sizes[donor, c]
            if positive == 0 or positive == m:
                continue
            out[donor] += (_rank_sum(shares[c], labels, cells[:m], c) - 0.5 * positive * (positive + 1)) / (
                positive * (m - positive)
            )
    _over_classes(sizes, out)


@compiled
def _rank_sum(scores, labels, cells, wanted):
    """Sum of the ranks, from 1 and averaged over ties, of the cells of one class among some cells."""
    m = cells.shape[0]
    own = np.empty(m)
    for j in range(m):
        own[j] = scores[cells[j]]
    order = np.argsort(own)
    total = 0.0
    start = 0
    while start < m:
        stop = start + 1
        while stop < m and own[order[stop]] == own[order[start]]:
            stop += 1
        rank = 0.5 * (start + stop + 1)
        for j in range(start, stop):
            if labels[cells[order[j]]] == wanted:
                total += rank
        start = stop
    return total


@compiled
def _over_classes(sizes, out):
    """Divide sums over classes by the number of classes; NaN for a donor that has not two."""
    for donor in range(sizes.shape[0]):
        n = 0
        for c in range(sizes.shape[1]):
            n += sizes[donor, c] > 0
        out[donor] = out[donor] / n if n > 1 else np.nan
