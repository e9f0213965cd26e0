from __future__ import annotations

import gc
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from interp.capture import attention_sums, attention_sums_by_group, parts
from interp.capture import plan as plans
from interp.capture.accumulator import Accumulator
from interp.errors import InputError, StoreError

PANEL = ["G4", "G1", "G20", "G9", "G7"]
HEADS = [(2, 1), (0, 0)]
ONE = (2 + 2) * 25 * 8  # bytes of one group: two heads, the uniform sum and the count


@pytest.fixture
def labels():
    """Groups b, a and c, of cells that are no neighbours; every fifth cell belongs to none."""
    names = np.array(["b", "a", "c"], dtype=object)[np.arange(23) % 3]
    names[::5] = None
    return names


@pytest.fixture(autouse=True)
def parts_of_four(monkeypatch):
    monkeypatch.setattr(plans, "PART_CELLS", 4)


def same(found, wanted):
    np.testing.assert_allclose(found.sum, wanted.sum, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(found.uniform, wanted.uniform, rtol=1e-12)
    np.testing.assert_array_equal(found.count, wanted.count)
    assert (found.n_cells, found.heads, found.genes) == (wanted.n_cells, wanted.heads, wanted.genes)
    assert (found.weighted is None) == (wanted.weighted is None)
    if found.weighted is not None:
        np.testing.assert_allclose(found.weighted, wanted.weighted, rtol=1e-5, atol=1e-9)
    if wanted.lifted is not None:
        np.testing.assert_allclose(found.lifted, wanted.lifted, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("asked", [{}, {"value_weighted": True}, {"lift": True}])
@pytest.mark.parametrize("memory", [2**30, 2 * ONE, 1.6 * ONE])
def test_sums_by_group_are_those_of_each_groups_cells(model, mixed, labels, memory, asked):
    options = {"heads": HEADS, **asked}
    for cells in (mixed, model.tokenize(mixed)):
        grouped = attention_sums_by_group(model, cells, PANEL, labels, memory=memory, **options)
        assert grouped.on_disk == (memory < 2**20)
        assert list(grouped) == ["a", "b", "c"]
        assert len(grouped) == 3
        for name, sums in grouped.items():
            same(sums, attention_sums(model, mixed[labels == name], PANEL, **options))


def test_all_heads_of_all_groups_add_up(model, mixed):
    groups = mixed.obs["donor"]
    grouped = attention_sums_by_group(model, mixed, PANEL, groups, memory=9 * 25 * 8)
    total = grouped["d0"] + grouped["d1"] + grouped["d2"]
    same(total, attention_sums(model, mixed, PANEL))


@pytest.mark.parametrize("passes", [1, 2, 3])
def test_a_pass_reads_the_parts_with_its_groups_once(model, mixed, labels, monkeypatch, passes):
    labels[:4] = None  # the first part belongs to no group, the last one to group c alone
    labels[20:] = "c"
    read, true = [], parts.read_tokens
    monkeypatch.setattr(parts, "read_tokens", lambda *args, **kw: read.append(len(kw["rows"])) or true(*args, **kw))
    memory = {1: 3, 2: 2, 3: 1}[passes] * ONE
    among = {1: ["abc"], 2: ["ab", "c"], 3: ["a", "b", "c"]}[passes]
    attention_sums_by_group(model, mixed, PANEL, labels, heads=HEADS, memory=memory)
    pieces = [labels[start : start + 4] for start in range(0, 23, 4)]
    assert sum(read) == sum(len(piece) for names in among for piece in pieces if np.isin(piece, list(names)).any())


@pytest.mark.parametrize(
    "groups",
    [
        lambda names: list(names),
        lambda names: pd.Series(names),
        lambda names: pd.Series(names, dtype="category"),
        lambda names: pd.array(names, dtype="string"),
        lambda names: np.where(pd.isna(names), np.nan, names),
    ],
)
def test_groups_come_in_any_container(model, mixed, labels, groups):
    grouped = attention_sums_by_group(model, mixed, PANEL, groups(labels), heads=HEADS)
    assert {name: sums.n_cells for name, sums in grouped.items()} == {
        name: int((labels == name).sum()) for name in ("a", "b", "c")
    }


def test_groups_of_one_text_are_one_group(model, mixed):
    groups = np.array([1, "1"] * 11 + [2], dtype=object)
    grouped = attention_sums_by_group(model, mixed, PANEL, groups, heads=HEADS)
    assert {name: sums.n_cells for name, sums in grouped.items()} == {"1": 22, "2": 1}


def test_groups_that_do_not_fit_are_refused(model, mixed, labels):
    with pytest.raises(InputError, match="22 groups were given for 23 cells"):
        attention_sums_by_group(model, mixed, PANEL, labels[1:])
    with pytest.raises(InputError, match="no cell belongs to a group"):
        attention_sums_by_group(model, mixed, PANEL, [None] * 23)
    with pytest.raises(InputError, match=r"the sums of one group take .*give more, or fewer heads"):
        attention_sums_by_group(model, mixed, PANEL, labels, memory=100)
    with pytest.raises(InputError, match="at least one"):
        attention_sums_by_group(model, mixed, [], labels)
    grouped = attention_sums_by_group(model, mixed, PANEL, labels, heads=HEADS)
    with pytest.raises(InputError, match="no group 'x'; there are: a, b, c"):
        grouped["x"]
    assert "x" not in grouped
    assert grouped.get("x") is None
    assert grouped.get("a").n_cells == grouped["a"].n_cells
    assert repr(grouped) == "GroupedSums(3 groups, in memory)"


def test_sums_stay_in_a_given_folder(model, mixed, labels, tmp_path):
    options = {"heads": HEADS, "memory": ONE}
    grouped = attention_sums_by_group(model, mixed, PANEL, labels, spill=tmp_path / "new" / "folder", **options)
    kept = {name: sums.n_cells for name, sums in grouped.items()}
    del grouped
    gc.collect()
    assert len(list((tmp_path / "new" / "folder").iterdir())) == len(kept) == 3
    with pytest.raises(InputError, match="holds other things; give a new or an empty folder"):
        attention_sums_by_group(model, mixed, PANEL, labels, spill=tmp_path / "new" / "folder", **options)


def test_a_folder_that_cannot_be_written_is_an_error_of_the_store(model, mixed, labels, tmp_path):
    (tmp_path / "file").write_text("")
    for spill, error in ((tmp_path / "file", InputError), (tmp_path / "file" / "below", StoreError)):
        with pytest.raises(error):
            attention_sums_by_group(model, mixed, PANEL, labels, heads=HEADS, memory=ONE, spill=spill)


def test_lost_sums_are_an_error_of_the_store(model, mixed, labels, tmp_path):
    grouped = attention_sums_by_group(model, mixed, PANEL, labels, heads=HEADS, memory=ONE, spill=tmp_path)
    (tmp_path / "00001" / "zarr.json").unlink()
    assert grouped["a"].n_cells
    with pytest.raises(StoreError):
        grouped["b"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("fails", [False, True])
def test_a_temporary_folder_goes_with_the_sums(model, mixed, labels, monkeypatch, tmp_path, fails):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if fails:
        monkeypatch.setattr(Accumulator, "result", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            attention_sums_by_group(model, mixed, PANEL, labels, heads=HEADS, memory=ONE)
    else:
        grouped = attention_sums_by_group(model, mixed, PANEL, labels, heads=HEADS, memory=ONE)
        assert len(list(next(Path(tmp_path).iterdir()).iterdir())) == 3
        assert repr(grouped) == "GroupedSums(3 groups, on disk)"
        del grouped
        gc.collect()
    assert not list(tmp_path.iterdir())
