from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from sklearn.manifold import trustworthiness as library

from interp.errors import InputError
from interp.geometry import continuity, neighbourhoods, trustworthiness
from interp.geometry.kernels import FEW


def ranks_of(points):
    """Rank of every point among the others by distance from each, 1 for the nearest."""
    n = len(points)
    ranks = np.zeros((n, n), dtype=int)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        ranks[i, sorted(others, key=lambda j: np.linalg.norm(points[i] - points[j]))] = np.arange(1, n)
    return ranks


def readable(near, far, k):
    """Venna & Kaski 2001 and Lee & Verleysen 2007, written out: neighbours by `near`, judged by `far`."""
    n = len(near)
    near, far = ranks_of(near), ranks_of(far)
    neighbours = [(i, j) for i in range(n) for j in range(n) if i != j and near[i, j] <= k]
    intruded = sum(far[i, j] - k for i, j in neighbours if far[i, j] > k)
    moved = sum(abs(far[i, j] - near[i, j]) / near[i, j] for i, j in neighbours)
    worst = n * sum(abs(n - 2 * r + 1) / r for r in range(1, k + 1))
    return 1 - 2 / (n * k * (2 * n - 3 * k - 1)) * intruded, moved / worst


@pytest.fixture
def spaces():
    rng = np.random.default_rng(0)
    high = rng.standard_normal((60, 6))
    return high, high[:, :2] + 0.3 * rng.standard_normal((60, 2))


def values(found):
    return [
        found.trustworthiness.value,
        found.continuity.value,
        found.rank_error_low.value,
        found.rank_error_high.value,
    ]


@pytest.mark.parametrize("k", [1, 5, 29])
def test_all_four_equal_their_definitions(spaces, k):
    high, low = spaces
    (trusted, low_error), (kept, high_error) = readable(low, high, k), readable(high, low, k)
    np.testing.assert_allclose(
        values(neighbourhoods(high, low, k=k)), [trusted, kept, low_error, high_error], rtol=1e-12
    )
    assert trustworthiness(high, low, k=k).value == pytest.approx(trusted, abs=1e-12)
    assert continuity(high, low, k=k).value == pytest.approx(kept, abs=1e-12)


@pytest.mark.parametrize(("n_features", "k"), [(5, 7), (5, FEW + 20), (200, 15)])
def test_equals_scikit_learn(n_features, k):
    rng = np.random.default_rng(1)
    high = rng.standard_normal((300, n_features)) + 1e3
    low = high[:, :3] + rng.standard_normal((300, 3))
    assert trustworthiness(high, low, k=k).value == pytest.approx(library(high, low, n_neighbors=k), abs=1e-12)
    assert continuity(high, low, k=k).value == pytest.approx(library(low, high, n_neighbors=k), abs=1e-12)


def test_precomputed_distances_are_read_by_blocks(spaces, tmp_path):
    high, low = spaces
    distances = np.linalg.norm(high[:, None] - high[None], axis=2)
    path = tmp_path / "distances.npy"
    np.save(path, distances)
    stored = np.load(path, mmap_mode="r")
    expected = values(neighbourhoods(high, low, k=6))
    assert values(neighbourhoods(stored, low, k=6, metric="precomputed")) == pytest.approx(expected, abs=1e-12)
    assert library(distances, low, n_neighbors=6, metric="precomputed") == pytest.approx(expected[0], abs=1e-12)


@pytest.mark.parametrize("n_features", [4, 90])
def test_neither_order_nor_threads_nor_blocks_matter(n_features):
    rng = np.random.default_rng(2)
    high = np.round(rng.standard_normal((150, n_features)), 1)  # many ties
    low = np.round(rng.standard_normal((150, 3)), 3)
    expected = values(neighbourhoods(high, low, k=6, n_threads=1))
    order = rng.permutation(150)
    row = 2 * 150 * 8
    assert values(neighbourhoods(high, low, k=6, n_threads=3)) == expected
    assert values(neighbourhoods(high, low, k=6, memory=row)) == pytest.approx(expected, abs=1e-12)
    assert values(neighbourhoods(high[order], low[order], k=6)) == pytest.approx(expected, abs=1e-6)


def test_points_that_compete_for_the_last_place_share_it():
    line = np.array([[0.0], [1.0], [-1.0], [10.0], [11.5]])
    # of 0, the points 1 and -1 share the one place; in the other space one is the nearest and one the farthest
    other = np.array([[0.0], [1.0], [-30.0], [10.0], [11.5]])
    found = trustworthiness(other, line, k=1).value
    intruded = 0.5 * (4 - 1) + 0  # -1 counts by half, at rank 4; the nearest of -1 is 0 in both spaces
    assert found == pytest.approx(1 - 2 / (5 * 1 * (10 - 3 - 1)) * intruded)


def test_memory_stays_within_the_budget():
    rng = np.random.default_rng(3)
    high, low = rng.standard_normal((4000, 3)), rng.standard_normal((4000, 2))
    trustworthiness(high[:50], low[:50], k=5)  # compiles
    budget = 2**20
    tracemalloc.start()
    trustworthiness(high, low, k=15, memory=budget, n_threads=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    points = 4 * (high.nbytes + low.nbytes)
    assert peak < budget + points + 2**20
    assert peak < 4000**2  # an eighth of one matrix of distances


@pytest.mark.parametrize(
    "measure", [trustworthiness, continuity, lambda *a, **b: neighbourhoods(*a, **b).rank_error_low]
)
@pytest.mark.parametrize(
    ("change", "k", "reason"),
    [
        (lambda high, low: (high, low), 30, "60 points; more than 60 are needed at k = 30"),
        (lambda high, low: (high, np.zeros_like(low)), 5, "59 of 60 points in the embedding coincide"),
        (lambda high, low: (np.ones_like(high), low), 5, "59 of 60 points in the original space coincide"),
        (lambda high, low: (np.repeat(high[:30], 2, axis=0), low), 5, "30 of 60 points in the original space coincide"),
    ],
)
def test_what_says_nothing_is_not_computable_and_never_passes(spaces, measure, change, k, reason):
    found = measure(*change(*spaces), k=k)
    assert found.against(0.0) == "not computable"
    assert reason in found.reason
    assert np.isnan(found.value)


@pytest.mark.parametrize(
    ("distances", "reason"), [(np.ones((60, 60)) - np.eye(60), "equal"), (np.zeros((60, 60)), "coincide")]
)
def test_precomputed_distances_that_say_nothing(spaces, distances, reason):
    found = trustworthiness(distances, spaces[1], k=5, metric="precomputed")
    assert found.against(0.8) == "not computable"
    assert reason in found.reason


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda high, low: trustworthiness(high, low[:-1]), "60 points were given in the original space and 59"),
        (lambda high, low: trustworthiness(high, low, k=0), "at least 1"),
        (lambda high, low: trustworthiness(high, low, metric="cosine"), "'euclidean' or 'precomputed'"),
        (lambda high, low: trustworthiness(high, low, metric="precomputed"), r"\(point, point\)"),
        (lambda high, low: trustworthiness(high, low, memory=100), "give at least 960"),
        (lambda high, low: trustworthiness(high, np.where(low > 2, np.nan, low)), "not finite"),
        (lambda high, low: trustworthiness(high, low[:, 0]), r"\(point, dimension\)"),
        (lambda high, low: trustworthiness(high, low, n_threads=0), "at least 1"),
    ],
)
def test_what_cannot_be_used_is_an_error(spaces, call, message):
    with pytest.raises(InputError, match=message):
        call(*spaces)
