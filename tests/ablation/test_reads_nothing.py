"""No head is missed by a readout that reads nothing."""

from __future__ import annotations

import numpy as np
import pytest

from interp.ablation.bench import Drops, _base_p
from interp.ablation.table import head_rows
from interp.stats import sign_flip

DONORS = tuple("abcdefgh")


def drops(base_p):
    drop = np.array([np.full(8, 0.1), np.linspace(-0.1, 0.1, 8)])
    none = np.zeros((2, 0, 8))
    return Drops("auroc", "state", DONORS, np.zeros(8, np.int64), np.full(8, 0.8), drop, none, base_p)


@pytest.mark.parametrize(("base_p", "expected"), [(0.0, 2.0**-8), (2.0**-8, 2.0**-8), (0.3, 0.3)])
def test_p_is_no_less_than_that_of_the_readout(base_p, expected):
    rows = head_rows(drops(base_p), [(0, 0), (0, 1)], "ablation.mean", seed=0).set_index("name")
    assert rows.loc["L0H0", "p"] == pytest.approx(expected)
    assert rows.loc["L0H1", "p"] == pytest.approx(max(0.5, base_p), abs=0.05)
    assert (rows["base_p"] == base_p).all()


def test_a_readout_is_held_against_chance_over_donors():
    areas = np.array([[0.6, 0.7, np.nan, 0.55, 0.45, 0.8], [np.nan] * 6])
    known = np.array([0.1, 0.2, 0.05, -0.05, 0.3])
    assert _base_p({"balanced_accuracy": areas, "auroc": areas}, 0) == sign_flip(known).p
    assert _base_p({"spearman": areas - 0.5, "r2": areas}, 0) == sign_flip(known).p
    assert _base_p({"auroc": 1.0 - areas}, 0) > 0.9
    assert _base_p({"neg_masked_loss": areas}, 0) == 0.0
    assert np.isnan(_base_p({"auroc": areas[1:]}, 0))
