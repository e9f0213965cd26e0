"""The compiled heart of `interp.extraction.tally`: counts to sums in one pass over what a sparse matrix stores."""

import math

import numpy as np
from numba import njit, uint64

# Counts below this are looked up in a table of logarithms made once a cell; in sparse cells nearly all of them are.
TABLE = 16
CLEAN, NOT_COUNTS, NOT_CANONICAL = 0, 1, 2


def compiled(function):
    """Compile with numba, cached on disk where a folder for it can be written, else in memory only."""
    # Sums may be reordered and fused, never assumed to be finite: NaN has to be found.
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz", "reassoc"}}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:
        return njit(cache=False, **options)(function)


@compiled
def tally_rows(data, indices, indptr, place, matrix, logs, target, totals, given, inside, z, fits):
    """Write the sums of each row of a CSR matrix; `NOT_COUNTS` or `NOT_CANONICAL` is returned instead when it is odd.

    Parameters
    ----------
    data, indices, indptr
        Stored entries float32 or float64, their columns and the row starts; `indptr` may begin anywhere in them.
    place
        Row of `matrix` and `logs` of each column, -1 where there is none, (column,) int32.
    matrix, logs
        What expression (gene, latent) and counts (gene, profile) are multiplied by, flat, float64.
    target
        Total that counts are scaled to.
    totals
        Totals of the cells, read when `given`, else written, (row,).
    inside, z, fits
        Written: counts in the placed columns (row,), expression times matrix (row, latent), counts times logs.
    """
    width, n_profiles = uint64(z.shape[1]), uint64(fits.shape[1])
    longest = np.max(indptr[1:] - indptr[:-1]) + 1 if len(indptr) > 1 else 1
    genes, slots = np.empty(longest, np.int32), np.empty(longest, np.int64)
    counts, logarithms, table = np.empty(longest), np.empty(longest), np.zeros(TABLE + 1)
    for row in range(len(indptr) - 1):
        start, stop = uint64(indptr[row]), uint64(indptr[row + 1])
        total, state = _check(data, indices, start, stop)
        if state != CLEAN:
            return state
        if not given:
            totals[row] = total
        scale = target / totals[row] if totals[row] > 0 else 0.0
        n = _gather(data, indices, start, stop, scale, place, genes, counts, logarithms, slots, table)
        within = 0.0
        for i in range(n):
            within += counts[i]
        inside[row] = within
        _multiply(n, genes, logarithms, matrix, width, z[row])
        if n_profiles > 0:
            _multiply(n, genes, counts, logs, n_profiles, fits[row])
    return CLEAN


@compiled
def _check(data, indices, start, stop):
    """Sum of a row, and whether its entries are counts and its columns ascend."""
    total, odd, disorder = 0.0, 0.0, 0
    for i in range(start, stop):
        total += np.float64(data[i])
    for i in range(start, stop):
        value = data[i]
        # 0 for whole numbers that are not negative, else positive or NaN
        odd += np.float64(abs(value - np.floor(value)) + (abs(value) - value))
    for i in range(start + uint64(1), stop):
        disorder += indices[i] <= indices[i - uint64(1)]
    if not (odd == 0.0 and total < np.inf):
        return total, NOT_COUNTS
    return total, NOT_CANONICAL if disorder > 0 else CLEAN


@compiled
def _gather(data, indices, start, stop, scale, place, genes, counts, logarithms, slots, table):
    """Keep the entries of placed columns: their genes, counts and log1p(count * scale); free of hard branches."""
    for count in range(1, TABLE):
        table[count] = math.log1p(count * scale)
    n, n_large = uint64(0), uint64(0)
    for i in range(start, stop):
        value = np.float64(data[i])
        gene = place[uint64(indices[i])]
        small = uint64(min(value, np.float64(TABLE)))
        genes[n] = gene
        counts[n] = value
        logarithms[n] = table[small]
        slots[n_large] = n
        kept = (gene >= 0) & (small > uint64(0))
        n += uint64(kept)
        n_large += uint64(kept & (small >= uint64(TABLE)))
    for i in range(n_large):
        logarithms[slots[i]] = math.log1p(counts[slots[i]] * scale)
    return n


@compiled
def _multiply(n, genes, factors, matrix, width, out):
    """Add up factors times rows of the matrix, four at a time, for one chain of additions would wait on itself."""
    for c in range(width):
        out[c] = 0.0
    fours = n // uint64(4)
    for four in range(fours):
        i = uint64(four) * uint64(4)
        a, b = uint64(genes[i]) * width, uint64(genes[i + uint64(1)]) * width
        c, d = uint64(genes[i + uint64(2)]) * width, uint64(genes[i + uint64(3)]) * width
        fa, fb, fc, fd = factors[i], factors[i + uint64(1)], factors[i + uint64(2)], factors[i + uint64(3)]
        for k in range(width):
            out[k] += (fa * matrix[a + k] + fb * matrix[b + k]) + (fc * matrix[c + k] + fd * matrix[d + k])
    for i in range(fours * uint64(4), n):
        a = uint64(genes[i]) * width
        for k in range(width):
            out[k] += factors[i] * matrix[a + k]
