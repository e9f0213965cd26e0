"""The graph of nearest neighbours with its degrees and without its geometry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from interp.evidence.panel import FloatArray, IntArray

# Neighbours of the graph (k = 15, as for trustworthiness and pseudotime), and tries to swap per edge: with ten a
# rewired graph shares no more edges with the first than chance has it (a test holds that).
N_NEIGHBOURS, SWAPS_PER_EDGE = 15, 10


def neighbour_edges(values: FloatArray, k: int = N_NEIGHBOURS) -> IntArray:
    """Return the edges of the k-nearest-neighbour graph, each once, int64 (edge, 2).

    Parameters
    ----------
    values
        Points, (point, feature).
    k
        Neighbours; fewer where there are not so many points.
    """
    from sklearn.neighbors import NearestNeighbors

    k = min(k, len(values) - 1)
    found = NearestNeighbors(n_neighbors=k).fit(values).kneighbors(return_distance=False)
    pairs = np.sort(np.column_stack([np.repeat(np.arange(len(values)), k), found.ravel()]), axis=1)
    return np.unique(pairs, axis=0).astype(np.int64)


def rewired(edges: IntArray, rng: np.random.Generator, swaps_per_edge: int = SWAPS_PER_EDGE) -> IntArray:
    """Exchange the ends of random pairs of edges, which keeps every degree; no edge is made twice or to itself.

    Parameters
    ----------
    edges
        Edges, each once, (edge, 2).
    rng
        Random stream.
    swaps_per_edge
        Tries per edge.

    Returns
    -------
    numpy.ndarray
        As many edges, (edge, 2), the smaller point first.
    """
    ends = [(int(a), int(b)) for a, b in edges]
    known = set(ends)
    n_tries = swaps_per_edge * len(ends)
    chosen, turned = rng.integers(len(ends), size=(n_tries, 2)), rng.random(n_tries) < 0.5
    for (one, two), turn in zip(chosen.tolist(), turned.tolist(), strict=True):
        (a, b), (c, d) = ends[one], ends[two]
        if turn:
            c, d = d, c
        first, second = (min(a, d), max(a, d)), (min(c, b), max(c, b))
        if a == d or c == b or first in known or second in known or first == second:
            continue
        known -= {ends[one], ends[two]}
        known |= {first, second}
        ends[one], ends[two] = first, second
    return np.array(sorted(ends), dtype=np.int64).reshape(-1, 2)


def neighbour_means(values: FloatArray, edges: IntArray) -> FloatArray:
    """Return the mean of every point's neighbours, (point, feature); a point without any keeps its own values."""
    total, degree = np.zeros_like(values), np.zeros(len(values))
    for near, far in (edges.T, edges.T[::-1]):
        np.add.at(total, near, values[far])
        np.add.at(degree, near, 1.0)
    return np.where(degree[:, None] > 0, total / np.maximum(degree, 1.0)[:, None], values)
