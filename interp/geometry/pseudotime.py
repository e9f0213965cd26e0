"""Pseudotime as distance along the manifold from a root."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from interp.errors import InputError
from interp.geometry.graph import NEIGHBOURS, neighbour_graph, shortest_ways

if TYPE_CHECKING:
    from numpy.typing import NDArray


def geodesic_pseudotime(latents: NDArray, root: NDArray, *, k: int = NEIGHBOURS) -> NDArray[np.float64]:
    """Return the shortest way from a root to every point along a nearest-neighbour graph.

    Components of the graph are joined by a minimum spanning tree over them, so every point is reached.

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
    latents, root = np.asarray(latents, np.float64), np.asarray(root, np.float64)
    if latents.ndim != 2 or latents.shape[1:] != root.shape or len(latents) == 0:
        given = f"latents of shape {latents.shape} and a root of shape {root.shape}"
        msg = f"{given} do not fit; give (point, latent) and (latent,)"
        raise InputError(msg)
    graph = neighbour_graph(np.vstack([root, latents]), k=min(k, len(latents)))
    return shortest_ways(graph, np.array([0]))[0, 1:]
