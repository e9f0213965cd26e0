from __future__ import annotations

import numpy as np
import pytest

from interp.probing.table import pooled_p


def test_an_outlier_gets_the_smallest_p_that_all_draws_allow():
    rng = np.random.default_rng(0)
    draws = [rng.standard_normal((20, 6)) for _ in range(10)]
    values = [np.full(6, 9.0), *rng.standard_normal((9, 6))]
    found = pooled_p(values, draws)
    assert found[0] == pytest.approx(1 / 201)
    assert found[1:].min() > 1 / 201


def test_p_is_uniform_when_observed_values_are_like_the_draws_whatever_their_scale():
    rng = np.random.default_rng(1)
    scales = np.geomspace(0.01, 10, 8)
    found = []
    for _ in range(150):
        everything = rng.standard_normal((8, 21, 3)) * scales[:, None, None] + scales[:, None, None]
        found += pooled_p(list(everything[:, 0]), list(everything[:, 1:])).tolist()
    for level in (0.01, 0.05, 0.25, 0.5):
        assert np.mean(np.array(found) <= level) == pytest.approx(level, abs=3 * np.sqrt(level / len(found)) + 0.01)


def test_rows_with_a_signal_do_not_make_the_others_look_good():
    rng = np.random.default_rng(2)
    found = []
    for _ in range(100):
        everything = rng.standard_normal((10, 21, 4))
        everything[:9, 0] += 50.0
        found.append(pooled_p(list(everything[:, 0]), list(everything[:, 1:]))[9])
    assert np.mean(np.array(found) <= 0.1) < 0.2


def test_a_missing_value_has_no_p_and_few_draws_give_none():
    draws = [np.zeros((5, 2)), np.random.default_rng(0).standard_normal((5, 2))]
    assert np.isnan(pooled_p([np.full(2, np.nan), np.ones(2)], draws)).tolist() == [True, False]
    assert np.isnan(pooled_p([np.ones(2)], [np.ones((2, 2))])).all()
