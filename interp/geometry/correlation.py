"""Distances against a ruler over pairs of anchors: plain, and with what nuisance indicators explain taken out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from interp.errors import InputError
from interp.geometry.measured import Measured
from interp.geometry.resampling import one_each

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

# A correlation of two pairs is 1 or -1 whatever they are.
MIN_PAIRS = 3
# What is left of a vector, as a share of its length, when it is explained up to rounding.
NOTHING_LEFT = 1e-8


def ruler_correlation(distances: ArrayLike, ruler: ArrayLike, *, pairs: ArrayLike | None = None) -> Measured:
    """Spearman correlation of distances and ruler over pairs of points.

    Parameters
    ----------
    distances, ruler
        Symmetric, (point, point).
    pairs
        Pairs that count, bool (point, point), such as those of one study; all by default. Each pair counts once.

    Returns
    -------
    Measured
        Not computable with under 3 pairs, or where one of the two is constant.

    Raises
    ------
    InputError
        If the shapes do not fit.

    Examples
    --------
    >>> line = np.abs(np.subtract.outer([0.0, 1.0, 3.0], [0.0, 1.0, 3.0]))
    >>> round(ruler_correlation(line**2, line).value, 9)
    1.0
    """
    from scipy.stats import rankdata

    first, second = _pair_vectors([distances, ruler], pairs)
    return _pearson(rankdata(first), rankdata(second), "the distances or the ruler are constant over the pairs")


def residual_correlation(
    distances: ArrayLike, ruler: ArrayLike, indicators: Sequence[ArrayLike], *, pairs: ArrayLike | None = None
) -> Measured:
    """Pearson correlation of the pair ranks of distances and ruler, after regression of both on pair indicators.

    Parameters
    ----------
    distances, ruler
        Symmetric, (point, point).
    indicators
        What pairs may share, such as the donor, tissue or study, each (point, point).
    pairs
        Pairs that count, bool (point, point); all by default.

    Returns
    -------
    Measured
        Not computable with under 3 pairs, where the indicators with an intercept are rank-deficient (one of them is
        constant, or follows from the others), or where they explain one of the two entirely.

    Raises
    ------
    InputError
        If the shapes do not fit.

    Examples
    --------
    >>> line = np.abs(np.subtract.outer(np.arange(4.0), np.arange(4.0)))
    >>> study = np.array([0, 0, 1, 1])
    >>> residual_correlation(line, line, [study[:, None] == study]).computable
    True
    >>> residual_correlation(line, line, [np.ones((4, 4))]).reason
    'the indicators are rank-deficient: 1 of 2 columns with the intercept are independent'
    """
    from scipy.stats import rankdata

    first, second, *shared = _pair_vectors([distances, ruler, *indicators], pairs)
    design = np.column_stack([np.ones_like(first), *shared])
    rank = int(np.linalg.matrix_rank(design)) if len(first) else 0
    if len(first) and (np.ptp(first) == 0 or np.ptp(second) == 0):
        return Measured.missing("the distances or the ruler are constant over the pairs")
    if len(first) >= MIN_PAIRS and rank < design.shape[1]:
        columns = f"{rank} of {design.shape[1]} columns with the intercept are independent"
        return Measured.missing(f"the indicators are rank-deficient: {columns}")
    ranks = np.column_stack([rankdata(first), rankdata(second)])
    left = ranks - design @ np.linalg.lstsq(design, ranks, rcond=None)[0] if len(first) else ranks
    left[:, np.linalg.norm(left, axis=0) < NOTHING_LEFT * np.linalg.norm(ranks, axis=0)] = 0.0
    return _pearson(left[:, 0], left[:, 1], "the indicators explain the distances or the ruler entirely")


def nuisance_correlation(
    distances: ArrayLike,
    ruler: ArrayLike,
    *,
    donors: ArrayLike,
    tissues: ArrayLike,
    studies: ArrayLike,
    pairs: ArrayLike | None = None,
) -> Measured:
    """Rank correlation of distances and ruler, after what same donor, same tissue and same study explain of either.

    Parameters
    ----------
    distances, ruler
        Symmetric, (point, point).
    donors, tissues, studies
        Of each point, (point,).
    pairs
        Pairs that count, bool (point, point); all by default.

    Returns
    -------
    Measured
        As from `residual_correlation`: not computable where one indicator is constant over the pairs, as with one
        study, or follows from the others, as where every study has one donor.

    Raises
    ------
    InputError
        If the shapes do not fit.

    Examples
    --------
    >>> line = np.abs(np.subtract.outer(np.arange(8.0), np.arange(8.0)))
    >>> names = {"donors": list("aabbccdd"), "tissues": list("xyxyxyxy"), "studies": list("ssssttvv")}
    >>> round(nuisance_correlation(line, line**2, **names).value, 6)
    1.0
    """
    n = len(np.asarray(distances))
    named = {"donor": donors, "tissue": tissues, "study": studies}
    return residual_correlation(
        distances, ruler, [same(one_each(values, n, what)) for what, values in named.items()], pairs=pairs
    )


def same(labels: ArrayLike) -> NDArray[np.bool_]:
    """Which pairs of points share a label (point,), bool (point, point).

    Examples
    --------
    >>> same(["a", "b", "a"])[0].tolist()
    [True, False, True]
    """
    array = np.asarray(labels)
    return array[:, None] == array


def _pair_vectors(matrices: Sequence[ArrayLike], pairs: ArrayLike | None) -> list[NDArray[np.float64]]:
    """Upper triangles, (pair,), of symmetric matrices, for the pairs that count."""
    arrays = [np.asarray(matrix, dtype=np.float64) for matrix in matrices]
    n = len(arrays[0])
    used = np.ones((n, n), dtype=bool) if pairs is None else np.asarray(pairs, dtype=bool)
    for array in (*arrays, used):
        if not np.isfinite(array).all():
            msg = f"A matrix over pairs has {np.count_nonzero(~np.isfinite(array))} values that are not finite."
            raise InputError(msg)
        if array.shape != (n, n):
            msg = f"All matrices over pairs must have one shape, ({n}, {n}); one has {array.shape}."
            raise InputError(msg)
    at = np.nonzero(np.triu(used, 1))
    return [array[at] for array in arrays]


def _pearson(first: NDArray, second: NDArray, constant: str) -> Measured:
    if len(first) < MIN_PAIRS:
        return Measured.missing(f"{len(first)} pairs; at least {MIN_PAIRS} are needed")
    first, second = first - first.mean(), second - second.mean()
    length = float(np.linalg.norm(first) * np.linalg.norm(second))
    if length == 0.0:
        return Measured.missing(constant)
    return Measured(float(np.clip(first @ second / length, -1.0, 1.0)))
