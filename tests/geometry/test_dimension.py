from __future__ import annotations

import numpy as np
import pytest

from interp.errors import InputError
from interp.geometry import participation_ratio


def test_a_line_has_one_dimension_wherever_it_lies():
    line = np.outer(np.arange(5.0), [1.0, 2.0, 3.0]) + 7
    assert participation_ratio(line) == pytest.approx(1)


def test_equals_the_eigenvalues_of_the_covariance():
    points = np.random.default_rng(0).standard_normal((40, 6)) * np.arange(1, 7)
    values = np.linalg.eigvalsh(np.cov(points.T))
    assert participation_ratio(points) == pytest.approx(values.sum() ** 2 / (values**2).sum())


@pytest.mark.parametrize("points", [np.ones((4, 2)), np.ones((1, 2)), np.ones(3)])
def test_points_that_do_not_differ_are_refused(points):
    with pytest.raises(InputError, match="two different points"):
        participation_ratio(points)
