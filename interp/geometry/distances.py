"""Distances between points: angles about the origin, straight lines, and ways along the neighbour graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from interp.errors import InputError
from interp.geometry.graph import NEIGHBOURS, graph_of_distances, neighbour_graph, shortest_ways

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Metric = Literal["arc", "euclidean", "geodesic", "arc geodesic"]
METRICS: tuple[Metric, ...] = ("arc", "euclidean", "geodesic", "arc geodesic")
# Cosines are clipped to this on either side (design, adaptor numerics).
COSINE_LIMIT = 1.0 - 1e-7


def angles(latents: NDArray, others: NDArray) -> NDArray:
    """Angles about the origin, with the clipped cosine of the fit.

    Parameters
    ----------
    latents, others
        (row, latent) and (other row, latent).

    Returns
    -------
    numpy.ndarray
        Radians, (row, other row). A latent at the origin is at a right angle to everything.

    Examples
    --------
    >>> angles(np.array([[2.0, 0.0]]), np.array([[0.0, 1.0]])).round(6).tolist()
    [[1.570796]]
    """
    cosine = _unit(latents) @ _unit(others).T
    return np.arccos(np.clip(cosine, -COSINE_LIMIT, COSINE_LIMIT))


def point_distances(points: ArrayLike, metric: Metric = "arc", *, k: int = NEIGHBOURS) -> NDArray[np.float64]:
    """Measure the distance between all points.

    Parameters
    ----------
    points
        (point, dimension).
    metric
        ``"arc"``: the angle about the origin, in radians, as the adaptor is fitted; ``"euclidean"``: straight lines, in
        units of the points; ``"geodesic"`` and ``"arc geodesic"``: shortest ways along the k-nearest-neighbour graph of
        the one or the other, components joined by a minimum spanning tree.
    k
        Neighbours of the graph.

    Returns
    -------
    numpy.ndarray
        Symmetric float64 (point, point) with a zero diagonal.

    Raises
    ------
    InputError
        An unknown metric, or points that are not finite or not (point, dimension).

    Examples
    --------
    >>> corner = [[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]]
    >>> [float(point_distances(corner, name, k=1)[0, 2]) for name in ("euclidean", "geodesic")]
    [5.0, 7.0]
    """
    from scipy.spatial.distance import cdist

    if metric not in METRICS:
        msg = f"The metric is {metric!r}; expected one of {', '.join(METRICS)}."
        raise InputError(msg)
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or not np.isfinite(array).all():
        msg = f"Points of shape {array.shape} were given; finite values, (point, dimension), are needed."
        raise InputError(msg)
    if metric == "euclidean":
        return cdist(array, array)
    if metric == "geodesic":
        return _symmetric(shortest_ways(neighbour_graph(array, k=k)))
    arcs = _symmetric(angles(array, array))
    return arcs if metric == "arc" else _symmetric(shortest_ways(graph_of_distances(arcs, k=k)))


def _symmetric(distances: NDArray) -> NDArray:
    """The same way summed from its other end differs by rounding."""
    distances = np.minimum(distances, distances.T)
    np.fill_diagonal(distances, 0.0)
    return distances


def _unit(latents: NDArray) -> NDArray:
    norms = np.linalg.norm(latents, axis=1, keepdims=True)
    return np.divide(latents, norms, out=np.zeros_like(latents), where=norms > 0)
