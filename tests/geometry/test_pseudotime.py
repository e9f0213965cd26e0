from __future__ import annotations

import numpy as np
import pytest

from interp.errors import InputError
from interp.geometry import geodesic_pseudotime
from interp.geometry import graph as module


def readable(points, root, k):
    """Floyd-Warshall on the neighbour graph, whose components are joined by Kruskal's tree."""
    x = np.vstack([root, points])
    d = np.linalg.norm(x[:, None] - x[None], axis=2)
    n = len(x)
    way = np.full((n, n), np.inf)
    for i in range(n):
        for j in sorted((j for j in range(n) if j != i), key=lambda j: (d[i, j], j))[:k]:
            way[i, j] = way[j, i] = d[i, j]
    group = list(range(n))
    for i, j in zip(*np.nonzero(np.isfinite(way)), strict=True):
        group = [group[i] if g == group[j] else g for g in group]
    pairs = [(a, b) for a in range(n) for b in range(a)]
    for i, j in sorted(pairs, key=lambda pair: d[pair]):
        if group[i] != group[j]:
            old, new = group[i], group[j]
            group = [new if g == old else g for g in group]
            way[i, j] = way[j, i] = d[i, j]
    for m in range(n):
        way = np.minimum(way, way[:, m, None] + way[None, m])
    return way[0, 1:]


@pytest.mark.parametrize("k", [1, 2, 5])
def test_equals_the_readable_reference(k):
    rng = np.random.default_rng(k)
    points, root = rng.standard_normal((25, 3)), rng.standard_normal(3)
    points[15:] += 20  # a second component
    np.testing.assert_allclose(geodesic_pseudotime(points, root, k=k), readable(points, root, k), rtol=1e-12)


def test_time_runs_along_an_arc_not_across_it():
    angle = np.linspace(0, 1.9 * np.pi, 60)
    arc = np.column_stack([np.cos(angle), np.sin(angle)])
    time = geodesic_pseudotime(arc[1:], arc[0], k=2)
    assert (np.diff(time) > 0).all()
    assert time[-1] == pytest.approx(1.9 * np.pi, rel=0.01)


def test_few_points_and_coinciding_points_are_reached():
    assert geodesic_pseudotime(np.array([[3.0, 4.0]]), np.zeros(2)).tolist() == [5.0]
    assert geodesic_pseudotime(np.zeros((3, 2)), np.zeros(2)) == pytest.approx([0, 0, 0])


def test_many_points_agree_with_few(monkeypatch):
    rng = np.random.default_rng(0)
    points, root = rng.standard_normal((80, 2)), np.zeros(2)
    dense = geodesic_pseudotime(points, root, k=6)
    monkeypatch.setattr(module, "DENSE_POINTS", 10)
    np.testing.assert_allclose(geodesic_pseudotime(points, root, k=6), dense, rtol=1e-12)
    far = points + 50.0 * (np.arange(80) // 20)[:, None]  # four components
    joined = geodesic_pseudotime(far, root, k=6)
    monkeypatch.undo()
    np.testing.assert_allclose(geodesic_pseudotime(far, root, k=6), joined, rtol=1e-12)


def test_wrong_shapes_are_an_error():
    with pytest.raises(InputError, match="do not fit"):
        geodesic_pseudotime(np.zeros((3, 2)), np.zeros(3))
