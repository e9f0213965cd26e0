from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from interp.errors import InputError
from interp.geometry import branch_separation, point_distances


@pytest.fixture
def world():
    rng = np.random.default_rng(0)
    branches = np.repeat(list("abcd"), [20, 15, 10, 1])
    points = rng.standard_normal((46, 5)) + 2 * (np.unique(branches, return_inverse=True)[1] == 1)[:, None]
    return point_distances(points, "euclidean"), branches


def test_the_silhouette_is_scikit_learns(world):
    distances, branches = world
    found = branch_separation(distances, branches).silhouette
    assert found.value == pytest.approx(silhouette_score(distances, branches, metric="precomputed"), abs=1e-12)
    assert found.value > found.null_mean + 3 * found.null_sd


def test_the_contrast_is_the_ratio_of_means_over_pairs(world):
    distances, branches = world
    pairs = [(i, j) for i in range(46) for j in range(i)]
    between = np.mean([distances[p] for p in pairs if branches[p[0]] != branches[p[1]]])
    within = np.mean([distances[p] for p in pairs if branches[p[0]] == branches[p[1]]])
    found = branch_separation(distances, branches).contrast
    assert found.value == pytest.approx(between / within)
    assert found.null_mean == pytest.approx(1.0, abs=0.05)


def test_branches_that_mean_nothing_lie_where_shuffled_ones_do(world):
    distances, branches = world
    found = branch_separation(distances, np.random.default_rng(3).permutation(branches))
    for part in (found.silhouette, found.contrast):
        assert abs(part.value - part.null_mean) < 4 * part.null_sd


def test_labels_are_shuffled_inside_blocks(world):
    distances, branches = world
    fixed = branch_separation(distances, branches, blocks=branches, n_null=20)
    assert fixed.silhouette.null_mean == pytest.approx(fixed.silhouette.value)
    assert fixed.silhouette.null_sd == pytest.approx(0, abs=1e-12)


def test_the_order_of_the_points_does_not_matter(world):
    distances, branches = world
    order = np.random.default_rng(1).permutation(46)
    found, again = (branch_separation(distances[np.ix_(o, o)], branches[o], n_null=0) for o in (np.arange(46), order))
    assert again.silhouette.value == pytest.approx(found.silhouette.value, abs=1e-12)
    assert again.contrast.value == pytest.approx(found.contrast.value, abs=1e-12)


@pytest.mark.parametrize(
    ("distances", "branches", "reason"),
    [
        (np.ones((4, 4)), list("aaaa"), "1 branches of 4 points"),
        (np.ones((4, 4)), list("abcd"), "4 branches of 4 points"),
        (np.zeros((4, 4)), list("aabb"), "coincide"),
    ],
)
def test_not_computable_with_the_reason(distances, branches, reason):
    found = branch_separation(distances, branches)
    for part in (found.silhouette, found.contrast):
        assert part.against(0.0) == "not computable"
        assert reason in part.reason


def test_what_cannot_be_used_is_an_error():
    with pytest.raises(InputError, match=r"\(point, point\)"):
        branch_separation(np.ones((4, 3)), list("aabb"))
    with pytest.raises(InputError, match="non-negative"):
        branch_separation(-np.ones((4, 4)), list("aabb"))
    with pytest.raises(InputError, match="One branch per point"):
        branch_separation(np.ones((4, 4)), list("aab"))
