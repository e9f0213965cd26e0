import numpy as np
import pytest

from interp.evidence.rewiring import neighbour_edges, neighbour_means, rewired


def degrees(edges, n):
    return np.bincount(edges.ravel(), minlength=n)


@pytest.fixture
def points():
    return np.random.default_rng(0).standard_normal((60, 5))


def test_edges_are_the_nearest_neighbours_each_once(points):
    edges = neighbour_edges(points, k=4)
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    np.fill_diagonal(distance, np.inf)
    wanted = {tuple(sorted((i, int(j)))) for i in range(60) for j in np.argsort(distance[i])[:4]}
    assert set(map(tuple, edges.tolist())) == wanted
    assert len(edges) == len(wanted)


def test_rewiring_keeps_degrees_and_loses_neighbours(points):
    edges = neighbour_edges(points, k=8)
    other = rewired(edges, np.random.default_rng(1))
    np.testing.assert_array_equal(degrees(other, 60), degrees(edges, 60))
    assert (other[:, 0] < other[:, 1]).all()
    assert len(np.unique(other, axis=0)) == len(edges)
    kept = set(map(tuple, other.tolist())) & set(map(tuple, edges.tolist()))
    by_chance = len(edges) / (60 * 59 / 2)
    assert len(kept) < 2 * by_chance * len(edges)


def test_a_graph_without_another_wiring_stays_as_it_is():
    triangle = np.array([[0, 1], [0, 2], [1, 2]])
    np.testing.assert_array_equal(rewired(triangle, np.random.default_rng(0)), triangle)


def test_means_of_neighbours_by_hand():
    values = np.array([[0.0], [2.0], [4.0], [7.0]])
    edges = np.array([[0, 1], [0, 2]])
    assert neighbour_means(values, edges).ravel().tolist() == [3.0, 0.0, 0.0, 7.0]


def test_draws_follow_the_stream(points):
    edges = neighbour_edges(points, k=8)
    again = [rewired(edges, np.random.default_rng(3)) for _ in range(2)]
    np.testing.assert_array_equal(*again)
    assert not np.array_equal(again[0], rewired(edges, np.random.default_rng(4)))
