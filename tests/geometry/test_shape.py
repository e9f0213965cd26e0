from __future__ import annotations

import numpy as np
import pytest

from interp.errors import InputError
from interp.geometry import curvature, flatness

CATALAN = 0.915965594177219


def circle(n, radius=1.0):
    turn = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return radius * np.column_stack([np.cos(turn), np.sin(turn)])


def test_flatness_is_the_share_of_the_first_two_eigenvalues():
    points = np.random.default_rng(0).standard_normal((60, 5)) * [5, 3, 1, 1, 1]
    values = np.sort(np.linalg.eigvalsh(np.cov(points.T)))[::-1]
    found = flatness(points)
    assert found.value == pytest.approx(values[:2].sum() / values.sum())
    assert found.lo < found.value < found.hi
    assert found.value > found.null_mean + 10 * found.null_sd


def test_noise_is_as_flat_as_its_null():
    found = flatness(np.random.default_rng(1).standard_normal((80, 30)))
    assert abs(found.value - found.null_mean) < 4 * found.null_sd
    assert found.null_mean > 2 / 30  # the best plane holds more than its share


@pytest.mark.parametrize("shape", [(50, 8), (8, 50)])
def test_flatness_knows_neither_order_nor_place(shape):
    points = np.random.default_rng(2).standard_normal(shape)
    found = flatness(points, n_boot=0, n_null=0).value
    assert flatness(points[::-1] + 1e4, n_boot=0, n_null=0).value == pytest.approx(found, abs=1e-9)


def test_a_line_is_straight_and_a_circle_has_its_known_detour():
    line = np.outer(np.arange(40.0), [1.0, 2.0])
    assert curvature(line, k=3, n_boot=0, n_null=0).value == pytest.approx(0.0, abs=1e-12)
    for radius in (1.0, 50.0):
        assert curvature(circle(400, radius), k=2, n_boot=0, n_null=0).value == pytest.approx(
            4 * CATALAN / np.pi - 1, rel=0.01
        )


def test_a_bent_sheet_stands_out_from_a_flat_cloud_of_its_covariance():
    rng = np.random.default_rng(3)
    turn = 1.5 * np.pi * (1 + 2 * rng.random(500))
    roll = np.column_stack([turn * np.cos(turn), 20 * rng.random(500), turn * np.sin(turn)])
    bent, flat = curvature(roll, k=8), curvature(rng.standard_normal((500, 3)), k=8)
    assert bent.value > bent.null_mean + 10 * bent.null_sd
    assert bent.lo < bent.value < bent.hi
    assert abs(flat.value - flat.null_mean) < 4 * flat.null_sd


def test_curvature_knows_neither_order_nor_copies_and_samples_many_points():
    points = np.random.default_rng(4).standard_normal((700, 2))
    options = {"k": 6, "n_boot": 0, "n_null": 0}
    found = curvature(points, **options).value
    assert curvature(points[::-1], **options).value == pytest.approx(found, abs=1e-12)
    assert curvature(np.vstack([points, points]), **options).value == pytest.approx(found, abs=1e-12)


def test_donors_are_drawn_where_they_are_given():
    rng = np.random.default_rng(5)
    points, donors = rng.standard_normal((120, 4)), np.repeat(np.arange(4), 30)
    points[donors == 0] *= [1, 0.01, 0.01, 0.01]
    for measure in (flatness, curvature):
        wide, narrow = measure(points, donors=donors, n_null=0), measure(points, n_null=0)
        assert wide.value == narrow.value
        assert wide.hi - wide.lo > narrow.hi - narrow.lo


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (lambda: flatness(np.random.default_rng(0).random((20, 2))), "whatever they are"),
        (lambda: flatness(np.random.default_rng(0).random((3, 9))), "whatever they are"),
        (lambda: flatness(np.ones((20, 5))), "coincide"),
        (lambda: curvature(np.random.default_rng(0).random((16, 2))), "16 different points; more than 16"),
        (lambda: curvature(np.ones((60, 2))), "1 different points"),
    ],
)
def test_not_computable_with_the_reason(found, reason):
    measured = found()
    assert measured.against(0.0) == "not computable"
    assert reason in measured.reason


@pytest.mark.parametrize("measure", [flatness, curvature])
def test_what_cannot_be_used_is_an_error(measure):
    with pytest.raises(InputError, match=r"\(point, dimension\)"):
        measure(np.ones(3))
    with pytest.raises(InputError, match="at least 1"):
        flatness(np.eye(9), n_dims=0)
