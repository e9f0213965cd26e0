"""Compiled loops of the cell adaptor: arcs and their pulls, in blocks of points and along edges of a neighbour graph.

Import this module on first use only. Latents are unit vectors, (point, latent); gradients are by these.
"""

import math

import numpy as np

from interp.extraction.let_kernel import COSINE_MARGIN, arccos, compiled

LIMIT = 1.0 - COSINE_MARGIN


@compiled
def block_arcs(unit, bounds, codes, hops, cosines, arcs):
    """Write the arcs of all pairs of each block, and add them up.

    Block b holds the points ``bounds[b]`` to ``bounds[b + 1]``; ``codes`` (point,) index ``hops`` (stage, stage). The
    upper triangles of ``cosines`` and ``arcs`` (point, widest block) are written. Returns the sums over pairs of
    arc * hop, arc^2 and hop^2, and their number.
    """
    across, square, hop_square, pairs = 0.0, 0.0, 0.0, 0
    for block in range(bounds.shape[0] - 1):
        first, last = bounds[block], bounds[block + 1]
        size = last - first
        part = unit[first:last]
        gram = np.dot(part, part.T)
        for i in range(size - 1):
            cosine = cosines[first + i, i + 1 : size]
            arc = arcs[first + i, i + 1 : size]
            for j in range(size - i - 1):
                cosine[j] = min(max(gram[i, i + 1 + j], -LIMIT), LIMIT)
            arccos(cosine, arc)
            row = hops[codes[first + i]]
            for j in range(size - i - 1):
                hop = row[codes[first + i + 1 + j]]
                across += arc[j] * hop
                square += arc[j] * arc[j]
                hop_square += hop * hop
        pairs += size * (size - 1) // 2
    return across, square, hop_square, pairs


@compiled
def block_pull(unit, bounds, codes, hops, cosines, arcs, beta, weight, pull):
    """Add the gradient of ``weight`` times the sum over pairs of (beta arc - hop)^2 to ``pull`` (point, latent)."""
    for block in range(bounds.shape[0] - 1):
        first, last = bounds[block], bounds[block + 1]
        size = last - first
        slopes = np.zeros((size, size))
        for i in range(size - 1):
            cosine = cosines[first + i, i + 1 : size]
            arc = arcs[first + i, i + 1 : size]
            row = hops[codes[first + i]]
            for j in range(size - i - 1):
                inside = abs(cosine[j]) < LIMIT  # a clipped cosine has no slope
                steep = 1.0 / math.sqrt(1.0 - cosine[j] * cosine[j])
                off = beta * arc[j] - row[codes[first + i + 1 + j]]
                slopes[i, i + 1 + j] = -2.0 * weight * beta * off * steep if inside else 0.0
        for i in range(size):
            for j in range(i + 1, size):
                slopes[j, i] = slopes[i, j]
        pull[first:last] += np.dot(slopes, unit[first:last])


@compiled
def edge_pull(unit, neighbours, pull):
    """Return the mean of arc^2 over edges and write its gradient into ``pull`` (point, latent).

    ``neighbours`` (point, k): the points that each point is joined to.
    """
    n, k = neighbours.shape
    n_latent = unit.shape[1]
    share = 1.0 / (n * k)
    total = 0.0
    pull[:] = 0.0
    cosine, arc = np.empty(k), np.empty(k)
    for i in range(n):
        for e in range(k):
            near = neighbours[i, e]
            product = 0.0
            for d in range(n_latent):
                product += unit[i, d] * unit[near, d]
            cosine[e] = min(max(product, -LIMIT), LIMIT)
        arccos(cosine, arc)
        for e in range(k):
            total += arc[e] * arc[e]
            if abs(cosine[e]) < LIMIT:
                slope = -2.0 * share * arc[e] / math.sqrt(1.0 - cosine[e] * cosine[e])
                near = neighbours[i, e]
                for d in range(n_latent):
                    pull[i, d] += slope * unit[near, d]
                    pull[near, d] += slope * unit[i, d]
    return total * share
