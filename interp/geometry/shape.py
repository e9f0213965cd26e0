"""How flat and how bent a cloud of points is, each beside a cloud that has the same size and none of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from interp.errors import InputError
from interp.geometry.dimension import distinct, finite
from interp.geometry.graph import NEIGHBOURS, neighbour_graph, shortest_ways
from interp.geometry.measured import Measured
from interp.geometry.resampling import beside_null, resampled
from interp.runs.seeds import stream

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

N_BOOT = 200
# Clouds behind the null's mean and standard deviation.
N_NULL = 20
# Dimensions of a plane.
PLANE = 2
# Points from which ways are measured, so that the cost grows with the number of points, not with its square.
N_SOURCES = 500


def flatness(
    points: ArrayLike,
    *,
    n_dims: int = PLANE,
    donors: ArrayLike | None = None,
    n_boot: int = N_BOOT,
    n_null: int = N_NULL,
    seed: int = 0,
) -> Measured:
    """Share of the variance that lies in the plane of best fit.

    Parameters
    ----------
    points
        (point, dimension).
    n_dims
        Dimensions of the plane.
    donors
        Donor of each point, (point,); the interval draws donors where they are given, else points.
    n_boot, n_null
        Draws behind the interval and the null; 0 leaves it out.
    seed
        Seed of the draws.

    Returns
    -------
    Measured
        From 0 to 1. The null is isotropic Gaussian noise of as many points and dimensions, whose best plane also holds
        more than its share. Not computable where the points coincide or have no more dimensions than the plane.

    Raises
    ------
    InputError
        If the points are not finite or not (point, dimension), `n_dims` is under 1, or donors do not fit.

    Examples
    --------
    >>> sheet = np.random.default_rng(0).standard_normal((100, 2)) @ np.ones((2, 6))
    >>> found = flatness(sheet, n_boot=0)
    >>> round(found.value, 9), found.null_mean < 0.6
    (1.0, True)
    """
    array = finite(points)
    n, d = array.shape
    if n_dims < 1:
        msg = f"A plane of {n_dims} dimensions was asked for; give at least 1."
        raise InputError(msg)
    if min(n - 1, d) <= n_dims:
        return Measured.missing(f"{n} points of {d} dimensions lie in {n_dims} dimensions whatever they are")
    array = array - (array.min(axis=0) + array.max(axis=0)) / 2
    if not array.any():
        return Measured.missing(f"all {n} points coincide")
    measured = Measured(_share(array, np.ones(n), n_dims))
    rng = stream(seed, "flatness null")
    null = [_share(rng.standard_normal((n, d)), np.ones(n), n_dims) for _ in range(n_null)]
    return resampled(
        beside_null(measured, null),
        lambda weights: _share(array, weights, n_dims),
        n,
        donors=donors,
        n_boot=n_boot,
        seed=seed,
        purpose="flatness",
    )


def curvature(
    points: ArrayLike,
    *,
    k: int = NEIGHBOURS,
    donors: ArrayLike | None = None,
    n_boot: int = N_BOOT,
    n_null: int = N_NULL,
    seed: int = 0,
) -> Measured:
    """How much longer ways along the manifold are than straight lines: the mean of geodesic over chord, less 1.

    Geodesics are shortest ways on the k-nearest-neighbour graph (Tenenbaum 2000); their ratio to the chord is the
    detour index of transport geography. An evenly sampled circle has 4 G / pi - 1 = 0.166, G being Catalan's constant.

    Parameters
    ----------
    points
        (point, dimension); of points that coincide one is kept. Ways start from 500 of them when there are more.
    k
        Neighbours of the graph.
    donors, n_boot, n_null, seed
        As in `flatness`.

    Returns
    -------
    Measured
        0 for points on a line. Ways along a graph zigzag, so a flat cloud is above 0: the null is Gaussian clouds of as
        many points with the same covariance. Not computable with k + 1 different points or fewer, all joined to all.

    Raises
    ------
    InputError
        As in `flatness`, or if `k` is under 1.

    Examples
    --------
    >>> turn = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    >>> round(curvature(np.column_stack([np.cos(turn), np.sin(turn)]), k=4, n_boot=0, n_null=0).value, 2)
    0.17
    """
    different, kept = distinct(points, donors)
    n = len(different)
    if n <= k + 1:
        return Measured.missing(f"{n} different points; more than {k + 1} are needed at k = {k}")
    rng = stream(seed, "curvature sources")
    sources = np.arange(n) if n <= N_SOURCES else np.sort(rng.choice(n, N_SOURCES, replace=False))
    detours = _detours(different, sources, k)
    rng = stream(seed, "curvature null")
    null = [_detours(_flat(different, rng), sources, k).mean() for _ in range(n_null)]
    return resampled(
        beside_null(Measured(float(detours.mean())), null),
        lambda weights: float(weights @ detours / weights.sum()),
        len(sources),
        donors=None if kept is None else kept[sources],
        n_boot=n_boot,
        seed=seed,
        purpose="curvature",
    )


def _share(points: NDArray, weights: NDArray, n_dims: int) -> float:
    """Share of the weighted variance along the first axes."""
    from scipy.linalg import eigh

    share = weights / weights.sum()
    centred = (points - share @ points) * np.sqrt(share)[:, None]
    wide = points.shape[0] < points.shape[1]
    products = centred @ centred.T if wide else centred.T @ centred
    n, total = len(products), float(np.trace(products))
    values = eigh(products, eigvals_only=True, subset_by_index=[n - n_dims, n - 1])
    return float(min(values.sum() / total, 1.0)) if total > 0 else float("nan")


def _detours(points: NDArray, sources: NDArray, k: int) -> NDArray[np.float64]:
    """Mean over all other points of geodesic / chord - 1, by source."""
    from scipy.spatial.distance import cdist

    chords = cdist(points[sources], points)
    ways = shortest_ways(neighbour_graph(points, k=k), sources)
    ratio = np.divide(ways, chords, out=np.ones_like(ways), where=chords > 0)
    return (ratio - 1.0).sum(axis=1) / (len(points) - 1)


def _flat(points: NDArray, rng: np.random.Generator) -> NDArray[np.float64]:
    """As many Gaussian points with the same covariance."""
    _, lengths, axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    return rng.standard_normal((len(points), len(lengths))) * (lengths / np.sqrt(len(points))) @ axes
