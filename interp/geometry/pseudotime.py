"""Pseudotime as distance along the manifold from a root."""

from __future__ import annotations

from typing import TYPE_CHECKING

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


def geodesic_pseudotime(latents: NDArray, root: NDArray, *, k: int = NEIGHBOURS) -> NDArray[np.float64]:
    """Return the shortest way from a root to every point along a nearest-neighbour graph.

    Components of the graph are joined by the edges of a minimum spanning tree, so every point is reached.

    Parameters
    ----------
    latents
        (point, latent).
    root
        Where time starts, (latent,); it joins the graph as a point of its own.
    k
        Neighbours of each point, at most the number of points.

    Returns
    -------
    numpy.ndarray
        float64 (point,), in units of the latents.

    Raises
    ------
    InputError
        The root has another dimension than the latents, or there is no point.

    Examples
    --------
    >>> geodesic_pseudotime(np.array([[1.0, 0.0], [1.0, 1.0]]), np.zeros(2), k=1).tolist()
    [1.0, 2.0]
    """
    from scipy.sparse.csgraph import dijkstra
    from scipy.spatial.distance import cdist

    latents, root = np.asarray(latents, np.float64), np.asarray(root, np.float64)
    if latents.ndim != 2 or latents.shape[1:] != root.shape or len(latents) == 0:
        given = f"latents of shape {latents.shape} and a root of shape {root.shape}"
        msg = f"{given} do not fit; give (point, latent) and (latent,)"
        raise InputError(msg)
    points = np.vstack([root, latents])
    graph = _joined(cdist(points, points), min(k, len(latents))) if len(points) <= DENSE_POINTS else _sparse(points, k)
    return dijkstra(graph, directed=False, indices=0)[1:]


def _joined(distances: NDArray, k: int) -> object:
    """Build the symmetric k-nearest-neighbour graph of a distance matrix, joined by its minimum spanning tree."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import minimum_spanning_tree

    distances = np.maximum(distances, TINY)
    np.fill_diagonal(distances, np.inf)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :k]
    rows = np.repeat(np.arange(len(distances)), k)
    columns = nearest.ravel()
    graph = csr_matrix((distances[rows, columns], (rows, columns)), shape=distances.shape)
    np.fill_diagonal(distances, 0.0)
    return graph.maximum(graph.T).maximum(minimum_spanning_tree(csr_matrix(distances)))


def _sparse(points: NDArray, k: int) -> object:
    """Build the graph of many points; components are joined through their closest pairs of sampled points."""
    from scipy.sparse import csr_matrix, lil_matrix
    from scipy.sparse.csgraph import connected_components
    from sklearn.neighbors import NearestNeighbors, kneighbors_graph

    graph = kneighbors_graph(points, min(k, len(points) - 1), mode="distance")
    graph.data = np.maximum(graph.data, TINY)
    graph = graph.maximum(graph.T)
    n, component = connected_components(graph, directed=False)
    while n > 1:  # each pass ties every component but the first to its nearest outside point
        links = lil_matrix(graph.shape)
        for label in range(1, n):
            inside, outside = np.flatnonzero(component == label), np.flatnonzero(component != label)
            length, at = NearestNeighbors(n_neighbors=1).fit(points[outside]).kneighbors(points[inside])
            best = int(length.argmin())
            links[inside[best], outside[at[best, 0]]] = max(float(length[best, 0]), TINY)
        links = csr_matrix(links)
        graph = graph.maximum(links).maximum(links.T)
        n, component = connected_components(graph, directed=False)
    return graph
