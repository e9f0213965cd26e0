"""How many dimensions a cloud of points really uses, each estimate with a bootstrap interval.

Intervals of the two neighbour estimates draw the points' neighbour distances, not the points, because a point drawn
twice would be its own neighbour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from interp.errors import InputError
from interp.geometry.measured import Measured
from interp.geometry.resampling import one_each, resampled

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

N_BOOT = 200
# The largest ratios are left out of the fit (Facco 2017: 10 % are discarded as noise and border).
DISCARDED = 0.1
# Numbers of neighbours over which the likelihood estimate is averaged (Levina & Bickel 2004).
FIRST_K, LAST_K = 10, 20


def participation_ratio(
    points: ArrayLike, *, donors: ArrayLike | None = None, n_boot: int = N_BOOT, seed: int = 0
) -> Measured:
    """Effective number of dimensions, (sum of the covariance's eigenvalues)^2 / sum of their squares.

    Parameters
    ----------
    points
        (point, dimension).
    donors
        Donor of each point, (point,); the interval draws donors where they are given, else points.
    n_boot
        Draws behind the interval; 0 leaves it out.
    seed
        Seed of the draws.

    Returns
    -------
    Measured
        1 for points on a line, the number of dimensions for a round cloud; not computable where all points coincide.

    Raises
    ------
    InputError
        If the points are not finite or not (point, dimension), or there is not one donor per point.

    Examples
    --------
    >>> participation_ratio([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], n_boot=0).value
    2.0
    """
    array = finite(points)
    if len(array) < 2 or not (array != array[0]).any():
        return Measured.missing(f"{len(array)} points that coincide; two that differ are needed")
    array = array - (array.min(axis=0) + array.max(axis=0)) / 2
    values = np.linalg.svd(array - array.mean(axis=0), compute_uv=False) ** 2
    measured = Measured(float(values.sum() ** 2 / (values**2).sum()))
    n = len(array)
    gram = array @ array.T if n < array.shape[1] and n_boot else None

    def statistic(weights: NDArray) -> float:
        total, squares = _moments(array, weights) if gram is None else _moments_of_gram(gram, weights)
        return total**2 / squares if squares > 0 else float("nan")

    return resampled(measured, statistic, n, donors=donors, n_boot=n_boot, seed=seed, purpose="participation ratio")


def two_nn(points: ArrayLike, *, donors: ArrayLike | None = None, n_boot: int = N_BOOT, seed: int = 0) -> Measured:
    """Intrinsic dimension from the distances to the two nearest neighbours (Facco 2017).

    The ratio of the second to the first distance has the distribution 1 - ratio^-d; d is the slope of -log(1 - F)
    against log(ratio) through the origin, without the largest tenth.

    Parameters
    ----------
    points
        (point, dimension); of points that coincide one is kept.
    donors, n_boot, seed
        As in `participation_ratio`.

    Returns
    -------
    Measured
        At the scale of the nearest neighbours, where noise has all the dimensions there are. Not computable with fewer
        than three different points, or where all ratios are 1.

    Raises
    ------
    InputError
        As in `participation_ratio`.

    Examples
    --------
    >>> plane = np.random.default_rng(0).random((1000, 2)) @ np.random.default_rng(1).random((2, 8))
    >>> round(two_nn(plane, n_boot=0).value)
    2
    """
    different, kept = distinct(points, donors)
    if len(different) < 3:
        return Measured.missing(f"{len(different)} different points; at least 3 are needed")
    nearest = _neighbour_distances(different, 2)
    logs = np.log(nearest[:, 1] / nearest[:, 0])
    order = np.argsort(logs, kind="stable")
    logs = logs[order]

    def slope(weights: NDArray) -> float:
        below = np.cumsum(weights)
        used = (weights > 0) & (below <= (1 - DISCARDED) * below[-1])
        x, y, w = logs[used], -np.log1p(-below[used] / below[-1]), weights[used]
        square = float(w @ x**2)
        return float(w @ (x * y) / square) if square > 0 else float("nan")

    value = slope(np.ones(len(logs)))
    if not np.isfinite(value):
        return Measured.missing("the two nearest neighbours are equally far from every point")
    donor = None if kept is None else kept[order]
    return resampled(
        Measured(value), slope, len(logs), donors=donor, n_boot=n_boot, seed=seed, purpose="two nearest neighbours"
    )


def levina_bickel(
    points: ArrayLike,
    *,
    first_k: int = FIRST_K,
    last_k: int = LAST_K,
    donors: ArrayLike | None = None,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> Measured:
    """Maximum-likelihood intrinsic dimension (Levina & Bickel 2004), averaged as MacKay & Ghahramani (2005) say.

    The inverse dimension at a point is the mean of log(T_k / T_j) over j < k, T_j the distance to neighbour j; inverses
    are averaged over points, and the dimensions over k.

    Parameters
    ----------
    points
        (point, dimension); of points that coincide one is kept.
    first_k, last_k
        Numbers of neighbours to average over, both included.
    donors, n_boot, seed
        As in `participation_ratio`.

    Returns
    -------
    Measured
        Not computable with `last_k` different points or fewer, or where all neighbours are equally far.

    Raises
    ------
    InputError
        As in `participation_ratio`, or if not 2 <= first_k <= last_k.

    Examples
    --------
    >>> plane = np.random.default_rng(0).random((1000, 2)) @ np.random.default_rng(1).random((2, 8))
    >>> round(levina_bickel(plane, n_boot=0).value)
    2
    """
    if not 2 <= first_k <= last_k:
        msg = f"first_k = {first_k} and last_k = {last_k}; give 2 <= first_k <= last_k."
        raise InputError(msg)
    different, kept = distinct(points, donors)
    if len(different) <= last_k:
        return Measured.missing(f"{len(different)} different points; more than {last_k} are needed")
    logs = np.log(_neighbour_distances(different, last_k))
    sums = np.cumsum(logs, axis=1)
    ks = np.arange(first_k, last_k + 1)
    inverses = logs[:, ks - 1] - sums[:, ks - 2] / (ks - 1)  # (point, k)

    def dimension(weights: NDArray) -> float:
        mean = weights @ inverses / weights.sum()
        return float(np.mean(1.0 / mean)) if (mean > 0).all() else float("nan")

    value = dimension(np.ones(len(different)))
    if not np.isfinite(value):
        return Measured.missing("all neighbours are equally far from every point")
    return resampled(
        Measured(value), dimension, len(different), donors=kept, n_boot=n_boot, seed=seed, purpose="Levina-Bickel"
    )


def finite(points: ArrayLike) -> NDArray[np.float64]:
    """Points as float64 (point, dimension); InputError when they are not, or not finite."""
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or not np.isfinite(array).all():
        msg = f"Points of shape {array.shape} were given; finite values, (point, dimension), are needed."
        raise InputError(msg)
    return array


def distinct(points: ArrayLike, donors: ArrayLike | None) -> tuple[NDArray[np.float64], NDArray | None]:
    """Different points in an order that does not depend on the given one, centred, and the donor of each."""
    array = finite(points)
    labels = None if donors is None else one_each(donors, len(array), "donor")
    different, first = np.unique(array, axis=0, return_index=True)
    if len(different):
        different = different - (different.min(axis=0) + different.max(axis=0)) / 2
    return different, None if labels is None else labels[first]


def _neighbour_distances(points: NDArray, k: int) -> NDArray[np.float64]:
    """Distances from each point to its k nearest others, (point, k), rising."""
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors(n_neighbors=k).fit(points).kneighbors()[0]


def _moments(points: NDArray, weights: NDArray) -> tuple[float, float]:
    """Trace and squared Frobenius norm of the weighted covariance."""
    share = weights / weights.sum()
    centred = points - share @ points
    covariance = (centred * share[:, None]).T @ centred
    return float(np.trace(covariance)), float((covariance**2).sum())


def _moments_of_gram(gram: NDArray, weights: NDArray) -> tuple[float, float]:
    """The same from inner products of points, where there are fewer points than dimensions."""
    share = weights / weights.sum()
    across = gram @ share
    centred = gram - across[:, None] - across[None, :] + share @ across
    return float(share @ np.diagonal(centred)), float(share @ (centred**2) @ share)
