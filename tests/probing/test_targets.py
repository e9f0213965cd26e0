from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from interp.errors import InputError
from interp.probing.relabel import CELL, GROUP, mapped, relabelled, unit_of
from interp.probing.targets import read_task


def labels(**donors: dict[str, int]) -> pd.DataFrame:
    """Cells of each donor and type; branch is the type's first letter, depth its length."""
    rows = [(donor, name) for donor, types in donors.items() for name, n in types.items() for _ in range(n)]
    obs = pd.DataFrame(rows, columns=["donor", "cell_type"])
    return obs.assign(branch=obs["cell_type"].str[0], depth=obs["cell_type"].str.len().astype(np.float32))


FOUR = {"a": 9, "ab": 9, "bcd": 9, "cdef": 9}


def test_every_cell_of_a_plain_panel_counts():
    obs = labels(d1=FOUR, d2=FOUR, d3=FOUR)
    task = read_task(obs, "branch")
    assert task.reason is None
    assert task.classes == ("a", "b", "c")
    assert len(task.rows) == 108
    assert not len(task.left_out)
    assert [task.classes[code] for code in task.values] == obs["branch"].tolist()
    assert [task.donors[code] for code in task.donor] == obs["donor"].tolist()


def test_a_class_in_one_donor_and_too_small_groups_are_left_out_and_listed():
    obs = labels(d1=FOUR, d2=FOUR, d3=FOUR | {"new": 20}, d4={"a": 9, "bcd": 4}, d5={"a": 4, "bcd": 9})
    task = read_task(obs, "cell_type")
    assert "new" not in task.classes
    assert task.donors == ("d1", "d2", "d3")
    reasons = task.left_out.set_index("what")["reason"].to_dict()
    assert reasons == {
        "bcd of d4": "fewer than 5 cells",
        "a of d5": "fewer than 5 cells",
        "new": "in one donor only",
        "d4": "one class only",
        "d5": "one class only",
    }
    assert task.left_out.set_index("what")["n_cells"]["new"] == 20


def test_leaving_a_donor_out_may_leave_a_class_alone():
    obs = labels(d1=FOUR, d2=FOUR, d3=FOUR | {"x": 9}, d4={"x": 9})
    task = read_task(obs, "cell_type")
    assert "x" not in task.classes
    assert task.donors == ("d1", "d2", "d3")


@pytest.mark.parametrize(
    ("obs", "target", "reason"),
    [
        (labels(d1=FOUR, d2=FOUR), "branch", "2 donors can be scored, 3 are needed"),
        (labels(d1={"a": 9}, d2={"a": 9}, d3={"a": 9}), "branch", "d1: one class only"),
        (labels(d1={"a": 9}, d2={"b": 9}, d3={"c": 9}), "branch", "a: in one donor only"),
        (labels(d1={"a": 12}, d2={"a": 12}, d3={"b": 12}), "depth", "d1: one value only"),
        (labels(d1={"a": 1}, d2={"b": 1}, d3={"c": 1}), "branch", "a of d1: fewer than 5 cells"),
        (labels(d1={"a": 3}, d2={"bb": 3}, d3={"c": 3}), "depth", "d1: fewer than 10 cells"),
    ],
)
def test_what_cannot_be_probed_says_why(obs, target, reason):
    assert reason in read_task(obs, target).reason


def test_numbers_keep_their_values_and_missing_ones_are_left_out():
    obs = labels(d1=FOUR, d2=FOUR, d3=FOUR)
    obs.loc[3, "depth"] = np.nan
    task = read_task(obs, "depth")
    assert task.is_number
    assert 3 not in task.rows
    np.testing.assert_array_equal(task.values, obs["depth"].to_numpy(np.float64)[task.rows])


def test_large_groups_are_drawn_from_the_same_way_every_time():
    obs = labels(d1=FOUR, d2=FOUR, d3={"a": 300, "bcd": 9})
    task = read_task(obs, "branch", max_cells=20)
    assert (obs["donor"].iloc[task.rows] == "d3").sum() == 29
    np.testing.assert_array_equal(task.rows, read_task(obs, "branch", max_cells=20).rows)
    assert not np.array_equal(task.rows, read_task(obs, "branch", max_cells=20, seed=1).rows)


def test_a_named_pair_takes_exact_and_coarse_labels():
    types = {"CD4 T cell": 8, "CD8 T cell": 8, "B cell": 8}
    obs = labels(d1=types, d2=types, d3=types).assign(stage=None, branch=None)
    obs.loc[obs["cell_type"] == "CD8 T cell", "stage"] = "memory CD8 T"
    task = read_task(obs, "CD4/CD8")
    assert task.classes == ("CD4", "CD8")
    assert set(obs["cell_type"].iloc[task.rows]) == {"CD4 T cell", "CD8 T cell"}


def test_an_unknown_target_or_donor_column_is_an_error():
    obs = labels(d1=FOUR)
    with pytest.raises(InputError, match="did you mean 'branch'"):
        read_task(obs, "branhc")
    with pytest.raises(InputError, match="no column 'mouse'"):
        read_task(obs, "branch", donor="mouse")
    with pytest.raises(InputError, match="the pair 'CD4/CD8' is read from stage"):
        read_task(obs, "CD4/CD8")
    with pytest.raises(InputError, match="9 cells with a branch have no donor"):
        read_task(obs.assign(donor=obs["donor"].where(obs["branch"] != "b")), "branch")


def test_labels_dealt_within_donors_keep_groups_together():
    obs = labels(d1=FOUR, d2=FOUR, d3=FOUR)
    task = read_task(obs, "branch")
    assert unit_of(task) == GROUP
    maps = set()
    for draw in range(30):
        dealt = relabelled(task, draw, seed=0)
        frame = pd.DataFrame({"donor": task.donor, "type": task.cell_type, "dealt": dealt})
        one = frame.groupby(["donor", "type"])["dealt"].agg(["nunique", "first"])
        assert (one["nunique"] == 1).all()
        by_donor = [tuple(rows["first"]) for _, rows in one.groupby("donor")]
        assert all(sorted(row) == [0, 0, 1, 2] for row in by_donor)
        maps.add(len(set(by_donor)))
    assert maps > {1} or maps == {2, 3}  # donors are dealt to one by one
    np.testing.assert_array_equal(relabelled(task, 7, seed=0), relabelled(task, 7, seed=0))


def test_labels_that_vary_inside_groups_are_dealt_to_cells():
    obs = labels(d1=FOUR, d2=FOUR, d3=FOUR)
    obs["state"] = np.where(np.arange(len(obs)) % 3 == 0, "on", "off")
    task = read_task(obs, "state")
    assert unit_of(task) == CELL
    dealt = relabelled(task, 0, seed=0)
    for code in range(3):
        assert (dealt[task.donor == code] == 1).sum() == (task.values[task.donor == code] == 1).sum()
    assert not np.array_equal(dealt, task.values)
    assert mapped(task, 0, seed=0) == "the label varies within cell types"


def test_one_map_of_the_cell_types_holds_in_every_donor():
    obs = labels(d1=FOUR, d2=FOUR, d3=FOUR)
    for target in ("branch", "depth"):
        task = read_task(obs, target)
        seen = set()
        for draw in range(20):
            dealt = mapped(task, draw, seed=0)
            frame = pd.DataFrame({"type": task.cell_type, "dealt": dealt})
            assert (frame.groupby("type")["dealt"].nunique() == 1).all()
            assert sorted(dealt) == sorted(task.values)
            seen.add(tuple(frame.groupby("type")["dealt"].first()))
        assert len(seen) > 4


def test_a_map_of_classes_that_are_cell_types_would_only_rename_them():
    obs = labels(d1=FOUR, d2=FOUR, d3=FOUR)
    assert "only renames them" in mapped(read_task(obs, "cell_type"), 0, seed=0)
