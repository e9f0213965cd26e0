"""The nearest-neighbour graph of points, in one piece, and the shortest ways along it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from interp.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Neighbours of the graph (design, pseudotime).
NEIGHBOURS = 15
# Above this number of points the distances between all of them are not held at once (128 MiB at 4,096).
DENSE_POINTS = 4096
# A distance of exactly zero means "no edge" in a sparse graph; coinciding points keep an edge of this length.
TINY = 1e-300


def neighbour_graph(points: NDArray, *, k: int = NEIGHBOURS) -> Any:
    """Join every point to its k nearest, and the pieces of the graph to each other.

    Parameters
    ----------
    points
        (point, dimension).
    k
        Neighbours of each point, itself not counted. Up to 4,096 points, all at the distance of the k-th join.

    Returns
    -------
    scipy.sparse.csr_matrix
        Symmetric (point, point) of Euclidean distances, connected: components are joined by the edges of a minimum
        spanning tree over them, an edge being their closest pair of points.

    Raises
    ------
    InputError
        `k` is under 1, or the points are not finite or not (point, dimension).

    Examples
    --------
    >>> neighbour_graph(np.array([[0.0], [1.0], [5.0], [7.0]]), k=1).toarray()[1].tolist()
    [1.0, 0.0, 4.0, 0.0]
    """
    from scipy.spatial.distance import cdist

    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or not np.isfinite(points).all():
        msg = f"Points of shape {points.shape} were given; finite values, (point, dimension), are needed."
        raise InputError(msg)
    if len(points) <= DENSE_POINTS:
        return graph_of_distances(cdist(points, points), k=k)
    return _join_sparse(points, _nearest_sparse(points, _checked(k)))


def graph_of_distances(distances: NDArray, *, k: int = NEIGHBOURS) -> Any:
    """Make the graph of `neighbour_graph` from distances that are known already.

    Parameters
    ----------
    distances
        Symmetric, not negative, (point, point).
    k
        As in `neighbour_graph`.

    Returns
    -------
    scipy.sparse.csr_matrix
        As from `neighbour_graph`.

    Raises
    ------
    InputError
        `k` is under 1, or the distances are not square, finite and non-negative.

    Examples
    --------
    >>> graph_of_distances(np.array([[0.0, 2.0], [2.0, 0.0]]), k=1).toarray().tolist()
    [[0.0, 2.0], [2.0, 0.0]]
    """
    from scipy.sparse import csr_matrix

    distances = np.maximum(np.asarray(distances, dtype=np.float64), TINY)
    n = len(distances)
    if distances.shape != (n, n) or not np.isfinite(distances).all():
        msg = f"Distances of shape {distances.shape} were given; finite values, (point, point), are needed."
        raise InputError(msg)
    np.fill_diagonal(distances, np.inf)
    k = min(_checked(k), n - 1)
    if k < 1:
        return csr_matrix((n, n))
    last = np.partition(distances, k - 1, axis=1)[:, k - 1]
    rows, columns = np.nonzero(distances <= last[:, None])
    graph = csr_matrix((distances[rows, columns], (rows, columns)), shape=(n, n))
    return _join_dense(distances, graph.maximum(graph.T))


def shortest_ways(graph: Any, sources: NDArray | None = None) -> NDArray[np.float64]:
    """Return the lengths of the shortest ways along a graph, (source, point); from all points by default.

    Examples
    --------
    >>> shortest_ways(neighbour_graph(np.array([[0.0], [1.0], [3.0]]), k=1), np.array([0])).tolist()
    [[0.0, 1.0, 3.0]]
    """
    from scipy.sparse.csgraph import dijkstra

    return np.atleast_2d(dijkstra(graph, directed=False, indices=sources))


def _checked(k: int) -> int:
    if k < 1:
        msg = f"{k} neighbours were asked for; give at least 1."
        raise InputError(msg)
    return k


def _components(graph: Any) -> tuple[int, NDArray]:
    from scipy.sparse.csgraph import connected_components

    return connected_components(graph, directed=False)


def _join_dense(distances: NDArray, graph: Any) -> Any:
    """Add the closest pairs of components that a minimum spanning tree over the components uses."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import minimum_spanning_tree

    n, component = _components(graph)
    if n == 1:
        return graph
    same = component[:, None] == component
    # Ways inside a component cost next to nothing, so the tree leaves one only where it must.
    costs = np.where(same, TINY / 2, distances)
    np.fill_diagonal(costs, 0.0)
    tree = minimum_spanning_tree(csr_matrix(costs)).tocoo()
    between = ~same[tree.row, tree.col]
    ends = tree.row[between], tree.col[between]
    links = csr_matrix((tree.data[between], ends), shape=graph.shape)
    return graph.maximum(links).maximum(links.T)


def _nearest_sparse(points: NDArray, k: int) -> Any:
    from sklearn.neighbors import kneighbors_graph

    graph = kneighbors_graph(points, min(k, len(points) - 1), mode="distance")
    graph.data = np.maximum(graph.data, TINY)
    return graph.maximum(graph.T)


def _join_sparse(points: NDArray, graph: Any) -> Any:
    """Tie every component to its nearest outside point until one is left (Boruvka's minimum spanning tree)."""
    from scipy.sparse import csr_matrix
    from sklearn.neighbors import NearestNeighbors

    n, component = _components(graph)
    while n > 1:
        found = []
        for label in range(n):
            inside, outside = np.flatnonzero(component == label), np.flatnonzero(component != label)
            length, at = NearestNeighbors(n_neighbors=1).fit(points[outside]).kneighbors(points[inside])
            best = int(length.argmin())
            found.append((max(float(length[best, 0]), TINY), inside[best], outside[at[best, 0]]))
        lengths, first, second = zip(*found, strict=True)
        # Both ends may have found the same link; a graph adds what it is given twice.
        links = csr_matrix((graph.shape), dtype=np.float64).tolil()
        links[first, second] = lengths
        links = links.tocsr()
        graph = graph.maximum(links).maximum(links.T)
        n, component = _components(graph)
    return graph
