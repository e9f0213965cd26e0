from __future__ import annotations

import numpy as np
import pytest

from interp.errors import InputError
from interp.geometry import levina_bickel, participation_ratio, two_nn

ALL = [participation_ratio, two_nn, levina_bickel]


def swiss_roll(n, rng):
    turn, width = 1.5 * np.pi * (1 + 2 * rng.random(n)), 21 * rng.random(n)
    return np.column_stack([turn * np.cos(turn), width, turn * np.sin(turn)])


def sphere(n, rng, dimension=2):
    points = rng.standard_normal((n, dimension + 1))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


MANIFOLDS = [
    (lambda n, rng: np.outer(rng.random(n), [1.0, 2.0, -1.0]), 1),
    (sphere, 2),
    (swiss_roll, 2),
    (lambda n, rng: rng.random((n, 3)) @ rng.standard_normal((3, 20)), 3),
    (lambda n, rng: sphere(n, rng, 5), 5),
]


def test_a_line_has_one_dimension_wherever_it_lies():
    line = np.outer(np.arange(5.0), [1.0, 2.0, 3.0]) + 7
    assert participation_ratio(line).value == pytest.approx(1)


def test_equals_the_eigenvalues_of_the_covariance():
    points = np.random.default_rng(0).standard_normal((40, 6)) * np.arange(1, 7)
    values = np.linalg.eigvalsh(np.cov(points.T))
    assert participation_ratio(points).value == pytest.approx(values.sum() ** 2 / (values**2).sum())


@pytest.mark.parametrize("shape", [(40, 6), (6, 40)])
def test_the_interval_of_the_participation_ratio_is_that_of_drawn_points(shape):
    points = np.random.default_rng(0).standard_normal(shape) + 5
    found = participation_ratio(points, n_boot=100, seed=3)
    from interp.geometry.resampling import draws

    values = []
    for weights in draws(len(points), None, 100, 3, "participation ratio"):
        drawn = np.repeat(points, weights.astype(int), axis=0)
        values.append(participation_ratio(drawn, n_boot=0).value)
    np.testing.assert_allclose([found.lo, found.hi], np.nanquantile(values, [0.025, 0.975]), rtol=1e-9)


def test_two_nn_by_hand():
    # nearest and second nearest of each: 0: 1, 3; 1: 1, 2; 3: 2, 3; 7: 4, 6 -> ratios 3, 2, 1.5, 1.5
    points = np.array([[0.0], [1.0], [3.0], [7.0]])
    # sorted 1.5, 1.5, 2, 3 with F = 1/4, 2/4, 3/4; the last one lies in the largest tenth
    x = np.log([1.5, 1.5, 2.0])
    y = -np.log([3 / 4, 2 / 4, 1 / 4])
    assert two_nn(points, n_boot=0).value == pytest.approx(float(x @ y / (x @ x)), rel=1e-12)


def test_levina_bickel_by_hand():
    points = np.array([[0.0], [1.0], [3.0], [7.0]])
    # T1, T2, T3 of each; at k = 2 the inverse is log(T2 / T1), at k = 3 the mean of log(T3 / T1) and log(T3 / T2)
    t = np.log([[1, 3, 7], [1, 2, 6], [2, 3, 4], [4, 6, 7]])
    second = (t[:, 1] - t[:, 0]).mean()
    third = (t[:, 2] - t[:, :2].mean(axis=1)).mean()
    found = levina_bickel(points, first_k=2, last_k=3, n_boot=0).value
    assert found == pytest.approx((1 / second + 1 / third) / 2, rel=1e-12)


@pytest.mark.parametrize("measure", [two_nn, levina_bickel])
@pytest.mark.parametrize(("make", "dimension"), MANIFOLDS)
def test_known_manifolds(measure, make, dimension):
    found = measure(make(2000, np.random.default_rng(1)))
    assert found.value == pytest.approx(dimension, rel=0.12)
    assert found.lo < found.value < found.hi
    assert found.hi - found.lo < 0.2 * dimension + 0.1


@pytest.mark.parametrize("measure", ALL)
def test_neither_order_nor_scale_nor_place_matter(measure):
    points = np.random.default_rng(2).standard_normal((120, 4))
    found = measure(points, n_boot=0).value
    assert measure(points[::-1], n_boot=0).value == pytest.approx(found, rel=1e-9)
    assert measure(100 * points + 1000, n_boot=0).value == pytest.approx(found, rel=1e-6)


@pytest.mark.parametrize("measure", [two_nn, levina_bickel])
def test_copies_of_points_change_nothing(measure):
    points = np.random.default_rng(3).standard_normal((100, 3))
    assert measure(np.vstack([points, points, points[:50]]), n_boot=0).value == measure(points, n_boot=0).value


@pytest.mark.parametrize("measure", ALL)
def test_donors_are_drawn_where_they_are_given(measure):
    rng = np.random.default_rng(4)
    donors = np.repeat(np.arange(6), 40)
    points = rng.standard_normal((240, 4)) * np.where(donors[:, None] < 3, [1, 1, 1, 1], [1, 0.02, 0.02, 0.02])
    wide, narrow = measure(points, donors=donors), measure(points)
    assert wide.value == narrow.value
    assert wide.hi - wide.lo > narrow.hi - narrow.lo
    assert np.isnan(measure(points, donors=np.zeros(240)).lo)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (lambda: participation_ratio(np.ones((4, 2))), "coincide"),
        (lambda: participation_ratio(np.ones((1, 2))), "1 points"),
        (lambda: two_nn(np.ones((9, 2))), "1 different points; at least 3"),
        (lambda: two_nn([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), "equally far"),
        (lambda: levina_bickel(np.repeat(np.arange(5.0), 9)[:, None]), "5 different points; more than 20"),
        (lambda: levina_bickel(np.eye(30), first_k=2, last_k=5), "equally far"),
    ],
)
def test_not_computable_with_the_reason(found, reason):
    measured = found()
    assert not measured.computable
    assert reason in measured.reason


@pytest.mark.parametrize("measure", ALL)
def test_what_cannot_be_used_is_an_error(measure):
    with pytest.raises(InputError, match=r"\(point, dimension\)"):
        measure(np.ones(3))
    with pytest.raises(InputError, match="finite"):
        measure([[0.0, np.inf], [1.0, 2.0]])
    with pytest.raises(InputError, match="One donor per point"):
        measure(np.random.default_rng(0).random((50, 2)), donors=["a"])
    with pytest.raises(InputError, match="2 <= first_k"):
        levina_bickel(np.eye(3), first_k=5, last_k=4)
