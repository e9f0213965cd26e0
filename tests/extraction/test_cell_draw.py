import numpy as np
import pytest

from interp.errors import InputError
from interp.extraction.cell_draw import cell_keys, draw_cells


def panel(seed=0):
    """A large and a small donor, a rare stage."""
    rng = np.random.default_rng(seed)
    donors = np.array(["big"] * 1500 + ["small"] * 60)
    stages = rng.choice(["GMP", "NK"], size=len(donors))
    stages[:7] = "HSC"
    return [f"cell{i}" for i in range(len(donors))], donors, stages


def test_more_than_500_cells_of_a_stage_are_drawn_down_and_rare_ones_stay():
    names, donors, stages = panel()
    rows = draw_cells(stages, donors, cell_keys(names))
    assert {s: int((stages[rows] == s).sum()) for s in set(stages)} == {"GMP": 500, "NK": 500, "HSC": 7}
    assert len(set(rows.tolist())) == len(rows)


def test_donors_take_turns():
    names, donors, stages = panel()
    rows = draw_cells(stages, donors, cell_keys(names), per_stage=40)
    for stage in ("GMP", "NK"):
        drawn = donors[rows][stages[rows] == stage]
        assert (drawn == "small").sum() == min(20, ((stages == stage) & (donors == "small")).sum())


def test_the_draw_is_the_same_whatever_the_order_of_the_cells():
    names, donors, stages = panel()
    order = np.random.default_rng(1).permutation(len(names))
    first = draw_cells(stages, donors, cell_keys(names))
    shuffled = draw_cells(stages[order], donors[order], cell_keys([names[i] for i in order]))
    assert [names[i] for i in first] == [names[order[i]] for i in shuffled]


def test_a_cell_s_key_knows_nothing_of_the_others_and_follows_the_seed():
    assert cell_keys(["a", "b"])[1] == cell_keys(["c", "b", "d"])[1]
    assert cell_keys(["a"], seed=1) != cell_keys(["a"])


def test_a_smaller_draw_begins_each_stage_of_a_larger_one():
    names, donors, stages = panel()
    keys = cell_keys(names)
    small, large = (draw_cells(stages, donors, keys, per_stage=n) for n in (30, 200))
    for stage in set(stages):
        mine = small[stages[small] == stage]
        assert mine.tolist() == large[stages[large] == stage][: len(mine)].tolist()


def test_misuse_is_refused():
    with pytest.raises(InputError, match="1 of 3 cell names"):
        cell_keys(["a", "b", "a"])
    with pytest.raises(InputError, match="differ in shape"):
        draw_cells(["HSC"] * 3, ["a"] * 2, np.zeros(3))
    with pytest.raises(InputError, match="at least one"):
        draw_cells(["HSC"], ["a"], np.zeros(1), per_stage=0)
    assert draw_cells([], [], np.zeros(0)).tolist() == []
