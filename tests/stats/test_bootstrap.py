import numpy as np
import pytest

from interp.errors import InputError
from interp.runs.seeds import stream
from interp.stats import bootstrap_interval


def test_the_fast_mean_equals_the_readable_loop():
    values = np.random.default_rng(0).normal(size=9)
    fast = bootstrap_interval(values, rng=stream(0, "b"))
    slow = bootstrap_interval(values, rng=stream(0, "b"), statistic=lambda rows: rows.sum() / len(rows))
    assert fast == pytest.approx(slow, abs=1e-12)


def test_rows_are_drawn_whole():
    pairs = np.column_stack([np.arange(8.0), np.arange(8.0) * 2 + 1])
    low, high = bootstrap_interval(
        pairs, rng=stream(0, "b"), n_boot=200, statistic=lambda rows: (rows[:, 1] - 2 * rows[:, 0]).mean()
    )
    assert (low, high) == (1.0, 1.0)


def test_the_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(400):
        low, high = bootstrap_interval(rng.normal(1.0, 1.0, 40), rng=rng, n_boot=300, level=0.8)
        inside += low <= 1.0 <= high
    assert 0.72 < inside / 400 < 0.86


def test_one_donor_has_no_interval():
    assert np.isnan(bootstrap_interval([1.0], rng=stream(0, "b"))).all()


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(InputError, match="1 values to bootstrap are not finite"):
        bootstrap_interval([1.0, np.nan], rng=stream(0, "b"))
    with pytest.raises(InputError, match="level"):
        bootstrap_interval([1.0, 2.0], rng=stream(0, "b"), level=95)
