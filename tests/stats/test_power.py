import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from interp.errors import InputError
from interp.stats import detectable_effect, donors_needed, equivalence_interval


def test_the_detectable_effect_is_found_with_the_stated_power():
    effect = detectable_effect(0.2, 9)
    draws = np.random.default_rng(0).normal(effect, 0.2, size=(20_000, 9))
    found = ttest_1samp(draws, 0, axis=1, alternative="greater").pvalue < 0.05
    assert found.mean() == pytest.approx(0.80, abs=0.01)


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
    with pytest.raises(InputError, match="not finite"):
        equivalence_interval([0.1, np.nan])
