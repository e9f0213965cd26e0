from itertools import product

import numpy as np
import pytest

from interp.errors import InputError
from interp.stats import benjamini_hochberg, permutation_p, sign_flip


def enumerated_p(values, alternative):
    """Readable reference: count the sign patterns one by one."""
    sums = [sum(s * v for s, v in zip(signs, values, strict=True)) for signs in product([1, -1], repeat=len(values))]
    measure = {"greater": lambda x: x, "less": lambda x: -x, "two-sided": abs}[alternative]
    return np.mean([measure(x) >= measure(sum(values)) - 1e-9 for x in sums])


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_sign_flip_equals_the_enumeration(n, alternative):
    rng = np.random.default_rng(n)
    for values in (rng.normal(0.5, 1, n), rng.integers(-2, 4, n) / 10):
        assert sign_flip(values, alternative).p == pytest.approx(enumerated_p(list(values), alternative), abs=1e-12)


def test_the_smallest_p_of_five_donors_is_one_in_32():
    outcome = sign_flip([0.1, 0.2, 0.3, 0.1, 0.7])
    assert outcome.p == outcome.smallest_p == 1 / 32
    assert outcome.statistic == pytest.approx(0.28)
    assert sign_flip([0.1] * 5, "two-sided").p == sign_flip([0.1] * 5, "two-sided").smallest_p == 1 / 16


def test_no_difference_is_never_significant():
    assert sign_flip([0.0] * 6).p == 1


def test_draws_replace_the_enumeration_beyond_20_donors():
    values = np.random.default_rng(0).normal(0.25, 1, 24)
    outcome = sign_flip(values)
    assert outcome == sign_flip(values)
    assert outcome.smallest_p == 1e-5
    # The normal approximation of the sign-flip distribution is good at this size.
    from scipy.stats import norm

    assert outcome.p == pytest.approx(norm.sf(values.sum() / np.sqrt((values**2).sum())), abs=0.01)
    assert sign_flip([1.0] * 40).p == 1e-5


def test_sign_flip_holds_its_level():
    rng = np.random.default_rng(1)
    rejected = np.mean([sign_flip(rng.normal(size=8)).p < 0.05 for _ in range(2000)])
    assert 0.03 < rejected < 0.065


@pytest.mark.parametrize("values", [[], [0.1, np.nan], [[0.1]]])
def test_differences_that_cannot_be_tested_are_refused(values):
    with pytest.raises(InputError, match="one finite difference per donor"):
        sign_flip(values)


def test_an_unknown_alternative_is_refused():
    with pytest.raises(InputError, match="two-sided"):
        sign_flip([1.0], "bigger")


def test_permutation_p_counts_ties_and_itself():
    assert permutation_p(2, [0, 1, 2, 3]).p == 3 / 5
    assert permutation_p(2, [0, 1, 2, 3], higher_is_better=False).p == 4 / 5
    floor = permutation_p(9, np.zeros(199))
    assert (floor.p, floor.n, floor.at_floor) == (1 / 200, 199, True)
    assert not permutation_p(0, np.zeros(199)).at_floor


def test_draws_that_failed_speak_for_the_null():
    assert permutation_p(9, [0, np.nan]).p == 2 / 3
    assert np.isnan(permutation_p(np.nan, [0, 1]).p)
    with pytest.raises(InputError, match="needs null draws"):
        permutation_p(1, [])


def test_fdr_by_hand_and_by_scipy():
    from scipy.stats import false_discovery_control

    assert benjamini_hochberg([0.01, 0.02, 0.9]).tolist() == pytest.approx([0.03, 0.03, 0.9])
    p = np.random.default_rng(2).uniform(size=(3, 7)) ** 2
    assert benjamini_hochberg(p).ravel() == pytest.approx(false_discovery_control(p.ravel()), rel=1e-12)


def test_tests_that_were_not_computed_do_not_count():
    q = benjamini_hochberg([0.04, np.nan, 0.03])
    assert q[[0, 2]].tolist() == pytest.approx([0.04, 0.04])
    assert np.isnan(q[1])
    assert np.isnan(benjamini_hochberg([np.nan])).all()
    with pytest.raises(InputError, match="between 0 and 1"):
        benjamini_hochberg([1.2])
