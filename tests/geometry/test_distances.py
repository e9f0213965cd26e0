from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import pairwise_distances

from interp.errors import InputError
from interp.geometry import point_distances
from interp.geometry.distances import METRICS
from interp.geometry.graph import graph_of_distances, neighbour_graph, shortest_ways


@pytest.fixture
def points():
    points = np.random.default_rng(0).standard_normal((60, 4))
    points[40:] += 30  # a second component
    return points


def test_arcs_are_the_angles_of_the_cosine(points):
    found = point_distances(points, "arc")
    cosine = 1 - pairwise_distances(points, metric="cosine")
    off = ~np.eye(len(points), dtype=bool)
    np.testing.assert_allclose(np.cos(found[off]), np.clip(cosine[off], -1 + 1e-7, 1 - 1e-7), atol=1e-12)
    np.testing.assert_allclose(point_distances(7 * points, "arc"), found, atol=1e-9)


def test_a_way_along_an_arc_is_as_long_as_the_arc():
    turn = np.linspace(0, np.pi, 100)
    half = np.column_stack([np.cos(turn), np.sin(turn)])
    assert point_distances(half, "euclidean")[0, -1] == pytest.approx(2.0)
    assert point_distances(half, "geodesic", k=2)[0, -1] == pytest.approx(np.pi, rel=1e-3)
    assert point_distances(half, "arc geodesic", k=2)[0, -1] == pytest.approx(np.pi)


@pytest.mark.parametrize("metric", METRICS)
def test_distances_are_symmetric_and_do_not_know_the_order(points, metric):
    points = np.round(points, 1)  # ties among the neighbours
    found = point_distances(points, metric, k=4)
    np.testing.assert_array_equal(found, found.T)
    assert not found.diagonal().any()
    order = np.random.default_rng(1).permutation(len(points))
    np.testing.assert_allclose(point_distances(points[order], metric, k=4), found[np.ix_(order, order)], atol=1e-9)


def test_components_are_joined_by_their_closest_pair():
    line = np.array([[0.0], [1.0], [5.0], [6.5], [20.0], [21.0]])
    graph = neighbour_graph(line, k=1).toarray()
    joined = {(i, j) for i, j in zip(*np.nonzero(graph), strict=True) if i < j}
    assert joined == {(0, 1), (2, 3), (4, 5), (1, 2), (3, 4)}
    np.testing.assert_allclose(graph, graph_of_distances(np.abs(line - line.T), k=1).toarray())


def test_all_that_tie_for_the_last_neighbour_join():
    square = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    assert neighbour_graph(square, k=1).toarray().astype(bool).sum() == 8


def test_coinciding_points_are_reached():
    ways = shortest_ways(neighbour_graph(np.zeros((5, 2)), k=1))
    assert np.isfinite(ways).all()
    assert ways.max() < 1e-200


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: point_distances(x, "cosine"), "expected one of arc, euclidean"),
        (lambda x: point_distances(x[0]), r"\(point, dimension\)"),
        (lambda x: point_distances(np.where(x > 1, np.nan, x)), "finite"),
        (lambda x: neighbour_graph(x, k=0), "at least 1"),
        (lambda x: neighbour_graph(np.full((3, 2), np.inf)), "finite"),
        (lambda x: graph_of_distances(x), r"\(point, point\)"),
    ],
)
def test_what_cannot_be_used_is_an_error(points, call, message):
    with pytest.raises(InputError, match=message):
        call(points)
