from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp.errors import InputError
from interp.stats import donor_folds, leave_one_donor_out


@given(st.lists(st.sampled_from("abcdefghij"), min_size=20, max_size=60), st.integers(2, 4), st.integers(0, 9))
def test_every_donor_is_tested_once_and_never_trained_on_there(rows, n_splits, seed):
    donors = np.array([*rows, *"abcd"])
    splits = donor_folds(donors, n_splits, seed)
    tested = [donor for split in splits for donor in split.test_donors]
    assert sorted(tested) == sorted(set(donors))
    sizes = [len(split.test_donors) for split in splits]
    assert max(sizes) - min(sizes) <= 1
    for split in splits:
        assert set(donors[split.train]) == set(split.train_donors)
        assert set(donors[split.test]) == set(split.test_donors)
        assert not set(split.train_donors) & set(split.test_donors)
        assert sorted([*split.train, *split.test]) == list(range(len(donors)))


def test_folds_depend_on_the_seed_and_not_on_the_rows():
    donors = list("abcdefghij")
    folds = [split.test_donors for split in donor_folds(donors, 3, 0)]
    assert folds == [split.test_donors for split in donor_folds(donors[::-1] * 3, 3, 0)]
    assert any(folds != [split.test_donors for split in donor_folds(donors, 3, seed)] for seed in range(1, 4))


def test_each_stratum_is_spread_over_the_folds():
    donors = [f"k{i}" for i in range(6)] + [f"p{i}" for i in range(3)]
    studies = ["kang"] * 6 + ["paul"] * 3
    for seed in range(20):
        for split in donor_folds(donors, 3, seed, strata=studies):
            assert sorted(donor[0] for donor in split.test_donors) == ["k", "k", "p"]


def test_leaving_one_donor_out_tests_each_alone():
    splits = leave_one_donor_out(["b", "a", "b", "c"])
    assert [split.id for split in splits] == ["without a", "without b", "without c"]
    assert [split.test.tolist() for split in splits] == [[1], [0, 2], [3]]
    assert all(first.train_donors != second.train_donors for first, second in pairwise(splits))


@pytest.mark.parametrize(
    ("donors", "n_splits", "message"),
    [
        (["a", "a"], 2, "2 folds were asked of 1 donors"),
        (["a", "b"], 3, "3 folds were asked of 2 donors"),
        (["a", "b"], 1, "1 folds"),
        (["a", None, "b"], 2, "1 of 3 rows have no donor"),
        (["a", float("nan"), "b"], 2, "1 of 3 rows have no donor"),
        ([["a", "b"]], 2, "shape"),
    ],
)
def test_donors_that_cannot_be_split_are_refused(donors, n_splits, message):
    with pytest.raises(InputError, match=message):
        donor_folds(donors, n_splits, 0)


def test_one_donor_cannot_be_left_out():
    with pytest.raises(InputError, match="at least two donors"):
        leave_one_donor_out(["a", "a"])


def test_a_donor_in_two_strata_is_refused():
    with pytest.raises(InputError, match="Donor 'a' stands in the strata"):
        donor_folds(["a", "a", "b"], 2, 0, strata=["x", "y", "x"])
