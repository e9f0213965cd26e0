"""Ranks and rank correlations of many rows at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Rows up to this many columns are ranked by comparing all with all.
NARROW = 40


def row_spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spearman correlation of each row of `a` with the same row of `b`, both (row, column); NaN where one is constant.

    Examples
    --------
    >>> row_spearman(np.array([[1.0, 2.0, 3.0]]), np.array([[0.0, 5.0, 9.0]])).tolist()
    [1.0]
    """
    x, y = row_ranks(a), row_ranks(b)
    scale = np.sqrt(np.einsum("ij,ij->i", x, x) * np.einsum("ij,ij->i", y, y))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(scale > 0, np.einsum("ij,ij->i", x, y) / scale, np.nan)


def snapped(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round to ten digits of the largest value: means that are equal but summed in another order then tie.

    Examples
    --------
    >>> a, b = snapped(np.array([0.1 + 0.2, 0.3]))
    >>> bool(a == b)
    True
    """
    largest = float(np.abs(values).max(initial=0.0))
    return np.round(values / largest, 10) * largest if largest > 0 else values


def row_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ranks in each row (row, column), ties averaged, less their mean.

    Examples
    --------
    >>> row_ranks(np.array([[5.0, 7.0, 5.0]])).tolist()
    [[-0.5, 1.0, -0.5]]
    """
    if values.shape[1] <= NARROW:
        # How many are smaller, less how many are larger: no sorting, and no overhead for rows this short.
        difference = np.sign(values[:, :, None] - values[:, None, :])
        return 0.5 * difference.sum(axis=2)
    from scipy.stats import rankdata

    ranks = rankdata(values, axis=1)
    return ranks - ranks.mean(axis=1, keepdims=True)
