"""How much genes vary beyond what their mean explains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

# Cells whose entries are summed together, so that no copy of a whole panel is made.
BLOCK = 8192
# Degree of the trend of log variance on log mean. Seurat v3 fits a local quadratic; for counts (variance = mean +
# dispersion x mean^2) one quadratic follows the same curve.
DEGREE = 2


def standardised_variance(counts: csr_matrix) -> NDArray[np.float64]:
    """Return each gene's variance after its counts were standardised by what its mean predicts.

    The method of Seurat v3 (Stuart et al. 2019) with one quadratic for the trend: counts are centred, divided by the
    standard deviation that the trend of log variance on log mean gives, and clipped at the square root of the number of
    cells. Sums run over whole numbers, so the order of the cells does not matter.

    Parameters
    ----------
    counts
        Raw counts (cell, gene).

    Returns
    -------
    numpy.ndarray
        float64 (gene,); 0 for a gene that does not vary.
    """
    n = counts.shape[0]
    total, squares = _sums(counts, np.full(counts.shape[1], np.inf))[:2]
    mean = total / n
    variance = (squares - n * mean**2) / max(n - 1, 1)
    result = np.zeros(counts.shape[1])
    varies = (variance > 1e-12 * np.maximum(mean, 1) ** 2) & (mean > 0)
    if not varies.any():
        return result
    sd = np.ones_like(mean)
    sd[varies] = _trend(mean[varies], variance[varies])
    limit = mean + np.sqrt(n) * sd
    total, squares, n_clipped = _sums(counts, limit)
    total += n_clipped * limit
    squares += n_clipped * limit**2
    centred = (squares - 2 * mean * total + n * mean**2) / ((n - 1) * sd**2)
    result[varies] = centred[varies]
    return result


def _trend(mean: NDArray[np.float64], variance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard deviation that a gene of this mean is expected to have."""
    x, y = np.log10(mean), np.log10(variance)
    degree = min(DEGREE, len(np.unique(x)) - 1)
    trend = np.polynomial.Polynomial.fit(x, y, degree) if degree else np.polynomial.Polynomial([y.mean()])
    return np.sqrt(10 ** trend(x))


def _sums(
    counts: csr_matrix, limit: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return each gene's sum and sum of squares of the counts up to its limit, and how many lie above it."""
    n_genes = counts.shape[1]
    total, squares, above = np.zeros(n_genes), np.zeros(n_genes), np.zeros(n_genes)
    for start in range(0, counts.shape[0], BLOCK):
        span = slice(counts.indptr[start], counts.indptr[min(start + BLOCK, counts.shape[0])])
        genes, values = counts.indices[span], counts.data[span].astype(np.float64)
        high = values > limit[genes]
        above += np.bincount(genes[high], minlength=n_genes)
        values[high] = 0
        total += np.bincount(genes, weights=values, minlength=n_genes)
        squares += np.bincount(genes, weights=values**2, minlength=n_genes)
    return total, squares, above
