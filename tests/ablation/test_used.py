import dataclasses
import json

import numpy as np
import pytest

from interp.ablation.used import judge_used
from interp.errors import InputError

from .test_null import null


def nulls(named, others=0.0, *, n_sets=39, spread=0.001, **options):
    """Both ways of ablation: a named set whose donors drop by `named`, and random sets around `others`."""
    rng = np.random.default_rng(0)
    random = others + spread * rng.standard_normal((n_sets, len(named)))
    masked = rng.standard_normal((n_sets + 1, len(named)))
    masked[0] = 0.0
    drop = np.vstack([np.asarray(named, float), random])
    return {name: null(drop, masked, replacement=name, **options) for name in ("mean", "resample")}


CLEAR = (0.3, 0.25, 0.28, 0.31, 0.2)


def test_missed_more_than_all_random_sets_under_both():
    found = judge_used(nulls(CLEAR))
    assert found.status == "used"
    assert found.p == pytest.approx(1 / 40)
    assert "39 random sets" in found.reason
    assert found.against["mean"].excess == pytest.approx(np.mean(CLEAR), abs=0.01)
    assert json.loads(json.dumps(found.report()))["status"] == "used"


def test_the_answer_reads_in_one_line():
    found = judge_used(nulls(CLEAR))
    assert found.reason in repr(found)
    assert ": used; " in repr(found)
    assert "Ablated" not in repr(found)


def test_a_doubt_over_donors_is_said_beside_it():
    found = judge_used(nulls((1.0, -0.1, 0.6, -0.2, 0.4)))
    assert found.status == "used"
    assert "not surely in other donors under mean ablation (p = 0.1" in found.reason
    assert "but" not in judge_used(nulls(CLEAR)).reason


def test_both_ways_are_needed():
    only = judge_used({"mean": nulls(CLEAR)["mean"]})
    assert (only.status, only.reason) == ("undecided", "not measured under resample ablation")
    assert np.isnan(only.p)
    mixed = nulls(CLEAR) | {"resample": nulls((0.002, 0.0, 0.001, -0.001, 0.0))["resample"]}
    assert judge_used(mixed).status == "not used"


@pytest.mark.parametrize(
    ("n_sets", "whole", "words"), [(3, True, "there are only 3 other sets"), (19, False, "only 19")]
)
def test_too_few_sets_leave_it_undecided_and_say_how_many(n_sets, whole, words):
    found = judge_used(nulls(CLEAR, n_sets=n_sets, whole=whole))
    assert found.status == "undecided"
    assert words in found.reason
    assert f"no p under {1 / (1 + n_sets):.2g}" in found.reason


def test_twenty_sets_are_enough():
    assert judge_used(nulls(CLEAR, n_sets=20)).status == "used"


def test_within_the_random_sets_it_is_not_used_only_where_an_excess_is_excluded():
    close = judge_used(nulls((0.1, 0.1, 0.11, 0.1, 0.09), others=0.1, spread=0.05))
    assert close.status == "not used"
    wide = judge_used(nulls((0.5, -0.3, 0.4, -0.2, 0.2), others=0.1, spread=0.2))
    assert wide.status == "undecided"
    assert "is not excluded" in wide.reason


def test_a_readout_that_does_not_drop_is_never_used():
    found = judge_used(nulls((-0.01, -0.02, -0.01, 0.0, -0.01), others=-0.3))
    assert found.p < 0.05
    assert found.status == "undecided"
    assert "does not drop under mean ablation" in found.reason


def test_one_donor_decides_nothing_against():
    found = judge_used(nulls((0.0,), others=0.1, spread=0.05))
    assert found.status == "undecided"


def test_different_heads_are_refused():
    both = nulls(CLEAR)
    both["resample"] = dataclasses.replace(both["resample"], heads=(((1, 1),),))
    with pytest.raises(InputError, match="L0H0 auroc stage; L1H1 auroc stage"):
        judge_used(both)
    with pytest.raises(InputError, match="given: none"):
        judge_used({})
