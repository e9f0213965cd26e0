"""Ablation finds the one head whose interaction of two genes a frozen readout reads, and names none where none is."""

from __future__ import annotations

import pytest

import interp

MIDDLE, LAST = (1, 2), (2, 0)


def screen(cells, model, **options):
    found = interp.ablate_heads(model, cells, "agreement", effects=(), **options).table
    own = found[found["metric"].str.endswith(".balanced_accuracy") & (found["role"] == "score")]
    return own.set_index("name").sort_values("value", ascending=False)


@pytest.mark.parametrize("place", [MIDDLE, LAST])
@pytest.mark.parametrize("replacement", ["mean", "resample"])
def test_the_head_that_knows_is_missed_most(planted_world, place, replacement):
    found = screen(*planted_world(place, 1), replacement=replacement)
    assert found.index[0] == f"L{place[0]}H{place[1]}"
    assert found["q"].iloc[0] < 0.001
    assert found["base"].iloc[0] > 0.65
    assert found["value"].iloc[0] > 0.12 > 0.06 > found["value"].iloc[1]


def test_without_the_edit_no_head_is_missed(planted_world):
    found = screen(*planted_world(None, 1))
    assert found["base"].iloc[0] < 0.6
    assert found.loc[["L1H2", "L2H0"], "value"].max() < 0.06
    assert (found["q"] >= 0.05).all()
    assert (found["p"] >= found["base_p"]).all()
