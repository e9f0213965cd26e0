import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import norm, ttest_1samp

from interp.errors import InputError
from interp.stats import detectable_effect, donors_needed, equivalence_interval, sign_flip, sign_flip_power
from interp.stats.power import SIMULATED


@pytest.mark.parametrize("n", [5, 6, 9, 14])
def test_the_detectable_effect_is_found_with_the_stated_power_by_the_test_itself(n):
    effect = detectable_effect(0.2, n)
    draws = np.random.default_rng(0).normal(effect, 0.2, size=(1_500, n))
    found = [sign_flip(values).p < 0.05 for values in draws]
    assert np.mean(found) == pytest.approx(0.80, abs=0.035)


def test_five_donors_need_all_differences_above_zero():
    # 1 of 32 patterns is the only p under 0.05, so the power is that all five are positive
    for effect in (0.5, 1.0, 2.0):
        assert sign_flip_power(effect, 1.0, 5) == pytest.approx(norm.cdf(effect) ** 5, abs=0.02)
    assert detectable_effect(1.0, 5) == pytest.approx(norm.ppf(0.8 ** (1 / 5)), rel=0.02)


def test_without_an_effect_the_power_is_the_level_that_the_patterns_allow():
    assert sign_flip_power(0.0, 1.0, 5) == pytest.approx(1 / 32, abs=0.01)
    assert sign_flip_power(0.0, 1.0, 15) == pytest.approx(0.05, abs=0.01)


def test_power_and_detectable_effect_are_inverse():
    for n in (6, 10, 20, 21, 60):
        assert sign_flip_power(detectable_effect(0.3, n), 0.3, n) == pytest.approx(0.80, abs=0.001)
    assert sign_flip_power(1.0, 1.0, 4) == 0.0
    assert sign_flip_power(1.0, 0.0, 5) == 1.0
    assert sign_flip_power(0.0, 0.0, 5) == 0.0


def test_simulation_and_t_test_meet_where_one_takes_over():
    values = [detectable_effect(1.0, n) * math.sqrt(n) for n in range(SIMULATED - 3, SIMULATED + 4)]
    assert max(values) / min(values) < 1.03
    powers = [sign_flip_power(0.5, 1.0, n) for n in range(5, 40)]
    assert all(after >= before - 0.005 for before, after in pairwise(powers))


def test_large_samples_agree_with_the_normal_formula():
    assert detectable_effect(1.0, 2000) == pytest.approx((1.6449 + 0.8416) / math.sqrt(2000), rel=2e-3)


def test_effects_scale_with_the_spread():
    assert detectable_effect(2.0, 7) == pytest.approx(2 * detectable_effect(1.0, 7))
    assert detectable_effect(0.0, 7) == 0


@pytest.mark.parametrize("n", [1, 2, 4])
def test_four_donors_can_show_nothing_by_sign_flips(n):
    assert detectable_effect(0.01, n) == math.inf


def test_donors_needed_is_the_first_number_that_suffices():
    n = donors_needed(0.1, 0.13)
    assert n == int(n)
    assert detectable_effect(0.13, int(n)) <= 0.1 < detectable_effect(0.13, int(n) - 1)
    assert donors_needed(10.0, 0.01) == 5
    assert donors_needed(0.0, 0.1) == donors_needed(-1.0, 0.1) == donors_needed(1e-6, 1.0) == math.inf


def test_the_equivalence_interval_is_that_of_two_one_sided_tests():
    values = np.random.default_rng(1).normal(0.02, 0.05, 8)
    expected = ttest_1samp(values, 0).confidence_interval(0.90)
    assert equivalence_interval(values) == pytest.approx((expected.low, expected.high))
    assert equivalence_interval([0.1]) == (-math.inf, math.inf)


def test_impossible_figures_are_refused():
    with pytest.raises(InputError, match="standard deviation"):
        detectable_effect(-1.0, 5)
    with pytest.raises(InputError, match="probabilities"):
        donors_needed(0.1, 0.1, power=80)
    with pytest.raises(InputError, match="finite mean difference"):
        sign_flip_power(math.nan, 0.1, 6)
    with pytest.raises(InputError, match="not finite"):
        equivalence_interval([0.1, np.nan])
