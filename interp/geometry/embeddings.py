"""Embeddings of points: principal axes, Isomap, geodesic scaling and diffusion map, with signs that are fixed.

Each axis points to where the feature that varies most along it rises, so the order of the points only orders the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from interp.errors import InputError
from interp.geometry.dimension import finite
from interp.geometry.distances import point_distances
from interp.geometry.graph import DENSE_POINTS, NEIGHBOURS, neighbour_graph

if TYPE_CHECKING:
    from typing import Literal

    from numpy.typing import ArrayLike, NDArray

    from interp.geometry.distances import Metric

    Geodesic = Literal["geodesic", "arc geodesic"]

# Latent dimensions of the method (design, adaptor numerics).
N_DIMS = 10
# Isomap and scaling hold distances between all points: 2 GiB of them here.
MAX_POINTS = 16_384
# Scaling stops when the stress falls by less than this share, or at the cap.
STRESS_TOLERANCE, MAX_ITER = 1e-6, 300
# Links between components may be so long that their weight vanishes; this one keeps a diffusion map in one piece.
LEAST_WEIGHT = 1e-6


def pca(points: ArrayLike, n_dims: int = N_DIMS) -> NDArray[np.float64]:
    """Project points on their principal axes.

    Parameters
    ----------
    points
        (point, dimension).
    n_dims
        Axes, at most the number of points or of dimensions.

    Returns
    -------
    numpy.ndarray
        Centred scores, (point, n_dims), by falling variance, in units of the points.

    Raises
    ------
    InputError
        If the points are not finite or not (point, dimension), or there are too few for `n_dims`.

    Examples
    --------
    >>> pca([[0.0, 0.0], [3.0, 4.0]], 1).round(9).tolist()
    [[-2.5], [2.5]]
    """
    array = _checked(points, n_dims)
    if n_dims > array.shape[1]:
        msg = f"{n_dims} axes of points of {array.shape[1]} dimensions were asked for; ask for no more than there are."
        raise InputError(msg)
    centred = array - array.mean(axis=0)
    if len(array) > array.shape[1]:
        _, axes = np.linalg.eigh(centred.T @ centred)
        return _gauged(centred @ axes[:, ::-1][:, :n_dims], array)
    left, lengths, _ = np.linalg.svd(centred, full_matrices=False)
    return _gauged((left * lengths)[:, :n_dims], array)


def isomap(
    points: ArrayLike, n_dims: int = N_DIMS, *, k: int = NEIGHBOURS, metric: Geodesic = "geodesic"
) -> NDArray[np.float64]:
    """Classical scaling of geodesic distances (Tenenbaum 2000).

    Parameters
    ----------
    points
        (point, dimension), at most 16,384.
    n_dims
        Axes, fewer than points.
    k
        Neighbours of the graph; its components are joined by a minimum spanning tree.
    metric
        ``"geodesic"``, or ``"arc geodesic"`` for ways over angles about the origin.

    Returns
    -------
    numpy.ndarray
        (point, n_dims), in units of the distances; an axis without positive eigenvalue is 0.

    Raises
    ------
    InputError
        As from `pca`, or for too many points.

    Examples
    --------
    >>> isomap([[0.0, 0.0], [1.0, 0.0], [1.0, 2.0]], 1, k=1).round(6).ravel().tolist()
    [-1.333333, -0.333333, 1.666667]
    """
    array = _checked(points, n_dims)
    return _gauged(_classical(_geodesics(array, k, metric), n_dims), array)


def geodesic_mds(
    points: ArrayLike, n_dims: int = N_DIMS, *, k: int = NEIGHBOURS, metric: Geodesic = "geodesic"
) -> NDArray[np.float64]:
    """Scaling by least squares of geodesic distances (SMACOF, de Leeuw 1977), started from Isomap.

    Where `isomap` fits inner products, this fits the distances themselves.

    Parameters
    ----------
    points, n_dims, k, metric
        As in `isomap`.

    Returns
    -------
    numpy.ndarray
        (point, n_dims), by falling variance, in units of the distances.

    Raises
    ------
    InputError
        As from `isomap`.

    Examples
    --------
    >>> geodesic_mds([[0.0, 0.0], [1.0, 0.0], [1.0, 2.0]], 1, k=1).round(6).ravel().tolist()
    [-1.333333, -0.333333, 1.666667]
    """
    from scipy.spatial.distance import cdist

    array = _checked(points, n_dims)
    wanted = _geodesics(array, k, metric)
    places, before = _classical(wanted, n_dims), np.inf
    for _ in range(MAX_ITER):
        found = cdist(places, places)
        stress = float(((found - wanted) ** 2).sum())
        if before - stress <= STRESS_TOLERANCE * stress:
            break
        before = stress
        pull = np.divide(wanted, found, out=np.zeros_like(found), where=found > 0)
        places = (places * pull.sum(axis=1)[:, None] - pull @ places) / len(places)
    places = places - places.mean(axis=0)
    _, axes = np.linalg.eigh(places.T @ places)
    return _gauged(places @ axes[:, ::-1], array)


def diffusion_map(points: ArrayLike, n_dims: int = N_DIMS, *, k: int = NEIGHBOURS) -> NDArray[np.float64]:
    """Eigenvectors of a random walk along the neighbour graph (Coifman & Lafon 2006).

    The walk's weights are exp(-d^2 / (s_i s_j)), s_i being the distance to the k-th neighbour (Zelnik-Manor & Perona
    2004), divided by the density at both ends, so that how densely points lie plays no part.

    Parameters
    ----------
    points
        (point, dimension).
    n_dims
        Axes, at most the number of points less two.
    k
        Neighbours of the graph; its components are joined by a minimum spanning tree.

    Returns
    -------
    numpy.ndarray
        (point, n_dims): eigenvectors after the constant one, of mean square 1 under the walk's resting state, times
        their eigenvalue; no unit.

    Raises
    ------
    InputError
        As from `pca`.

    Examples
    --------
    >>> line = np.arange(30.0)[:, None]
    >>> bool((np.diff(diffusion_map(line, 1, k=3)[:, 0]) > 0).all())
    True
    """
    array = _checked(points, n_dims + 1)
    walk, resting = _walk(array, k)
    values, vectors = _leading(walk, n_dims + 1)
    axes = vectors / np.sqrt(resting)[:, None]
    return _gauged(axes[:, 1:] * values[1:], array)


def _checked(points: ArrayLike, n_dims: int) -> NDArray[np.float64]:
    array = finite(points)
    if not 1 <= n_dims <= max(len(array) - 1, 0):
        msg = f"{n_dims} axes of {len(array)} points were asked for; give at least 1 and fewer than points."
        raise InputError(msg)
    return array


def _geodesics(points: NDArray, k: int, metric: Metric) -> NDArray[np.float64]:
    if len(points) > MAX_POINTS:
        msg = f"{len(points)} points were given; distances of all pairs are held of up to {MAX_POINTS}. Take a sample."
        raise InputError(msg)
    if metric not in ("geodesic", "arc geodesic"):
        msg = f"The metric is {metric!r}; expected 'geodesic' or 'arc geodesic'."
        raise InputError(msg)
    return point_distances(points, metric, k=k)


def _classical(distances: NDArray, n_dims: int) -> NDArray[np.float64]:
    """Classical scaling: the leading axes of the doubly centred squares."""
    from scipy.linalg import eigh

    n = len(distances)
    inner = -0.5 * distances**2
    inner -= inner.mean(axis=0)
    inner -= inner.mean(axis=1)[:, None]
    values, vectors = eigh((inner + inner.T) / 2, subset_by_index=[n - n_dims, n - 1], overwrite_a=True)
    return vectors[:, ::-1] * np.sqrt(np.maximum(values[::-1], 0.0))


def _walk(points: NDArray, k: int) -> tuple[Any, NDArray]:
    """Symmetric form of the walk, sparse (point, point), and its resting state (point,)."""
    from scipy.sparse import diags, identity

    graph = neighbour_graph(points, k=k).tocoo()
    n = len(points)
    scale = _kth(graph.tocsr(), k)
    positive = scale[scale > 0]
    scale = np.maximum(scale, positive.min() if len(positive) else 1.0)
    weights = graph.copy()
    weights.data = np.maximum(np.exp(-(graph.data**2) / (scale[graph.row] * scale[graph.col])), LEAST_WEIGHT)
    kernel = weights.tocsr() + identity(n, format="csr")
    density = diags(1.0 / np.asarray(kernel.sum(axis=1)).ravel())
    kernel = density @ kernel @ density
    degree = np.asarray(kernel.sum(axis=1)).ravel()
    root = diags(1.0 / np.sqrt(degree))
    return root @ kernel @ root, degree / degree.sum()


def _kth(graph: Any, k: int) -> NDArray[np.float64]:
    """Distance of every point to its k-th neighbour, from a graph that holds at least these."""
    return np.array(
        [
            np.partition(graph.data[a:b], min(k, b - a) - 1)[min(k, b - a) - 1]
            for a, b in zip(graph.indptr[:-1], graph.indptr[1:], strict=True)
        ]
    )


def _leading(matrix: Any, n_vectors: int) -> tuple[NDArray, NDArray]:
    """Largest eigenvalues of a symmetric sparse matrix and their vectors, falling."""
    n = matrix.shape[0]
    if n <= DENSE_POINTS:
        from scipy.linalg import eigh

        values, vectors = eigh(matrix.toarray(), subset_by_index=[n - n_vectors, n - 1])
    else:
        from scipy.sparse.linalg import eigsh

        values, vectors = eigsh(matrix, k=n_vectors, which="LA", v0=np.ones(n))
    order = np.argsort(-values)
    return values[order], vectors[:, order]


def _gauged(coordinates: NDArray, points: NDArray) -> NDArray[np.float64]:
    """Turn each axis to where the feature that varies most along it, its largest loading, rises."""
    loadings = coordinates.T @ (points - points.mean(axis=0))
    largest = loadings[np.arange(len(loadings)), np.abs(loadings).argmax(axis=1)]
    return coordinates * np.where(largest < 0, -1.0, 1.0)
