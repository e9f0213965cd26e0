from __future__ import annotations

import shutil

import anndata
import numpy as np
import pytest

from interp.capture import parcel
from interp.capture.parcel import pack, unpack
from interp.capture.plan import BatchPlan
from interp.capture.reduce import Reduction
from interp.capture.sites import find_sites, measure_sites
from interp.capture.work import CaptureWork
from interp.cells.genes import match_genes
from interp.cells.reader import open_cells
from interp.errors import InputError


@pytest.fixture
def work_on(model):
    def make(cells, reduce="cls", genes=()):
        reader = open_cells(cells)
        sites = tuple(measure_sites(model, find_sites(model, ["resid_post", "mlp.post"], [0, 2])))
        match = match_genes(reader.genes, model.vocabulary.genes)
        plan = BatchPlan(8, 256, None, model.config.n_heads)
        return CaptureWork(model, reader, match, sites, Reduction(reduce, genes, 30), plan, "float16", 7, 20, "float32")

    return make


@pytest.fixture
def file(cells, tmp_path):
    path = tmp_path / "cells.h5ad"
    cells.write_h5ad(path)
    return path


def assert_same_parts(found, expected):
    for number in range(3):
        one, other = (work.compute(work.tokens(number)) for work in (found, expected))
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize("reduce", ["cls", "genes", "full"])
def test_what_is_unpacked_does_the_same_work(work_on, cells, tmp_path, reduce):
    work = work_on(cells, reduce, ("G3", "G1") if reduce == "genes" else ())
    pack(work, tmp_path / "parcel")
    found = unpack(tmp_path / "parcel", "cpu")
    assert (found.plan, found.reduction, found.sites) == (work.plan, work.reduction, work.sites)
    assert not any(p.requires_grad for p in found.model.parameters())
    assert_same_parts(found, work)


def test_cells_that_have_a_file_stay_there(work_on, file, tmp_path):
    work = work_on(file)
    pack(work, tmp_path / "parcel")
    assert sorted(item.name for item in (tmp_path / "parcel").iterdir()) == ["facts.json", "weights.safetensors"]
    assert_same_parts(unpack(tmp_path / "parcel", "cpu"), work)


def test_backed_cells_are_copied_block_by_block(work_on, file, tmp_path, monkeypatch):
    monkeypatch.setattr(parcel, "BLOCK", 5)
    work = work_on(anndata.read_h5ad(file, backed="r"))
    read, counts = [], type(work.reader).counts
    monkeypatch.setattr(type(work.reader), "counts", lambda self, a, b: read.append(b - a) or counts(self, a, b))
    pack(work, tmp_path / "parcel")
    assert read == [5, 5, 5, 2]
    monkeypatch.undo()
    assert_same_parts(unpack(tmp_path / "parcel", "cpu"), work)


def test_a_folder_that_is_not_seen_is_waited_for_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr(parcel, "SEEN_SECONDS", 0.3)
    with pytest.raises(InputError, match=r"nowhere/facts.json .*file system that all workers share"):
        unpack(tmp_path / "nowhere", "cpu")


def test_cells_that_are_not_seen_or_are_others_are_named(work_on, cells, file, tmp_path):
    pack(work_on(file), tmp_path / "parcel")
    shutil.move(file, tmp_path / "away.h5ad")
    with pytest.raises(InputError, match=r"cannot read the cells .*cells.h5ad.* seen by all workers"):
        unpack(tmp_path / "parcel", "cpu")
    cells[:9].copy().write_h5ad(file)
    with pytest.raises(InputError, match="9 cells x 30 genes, expected 17 cells"):
        unpack(tmp_path / "parcel", "cpu")
    renamed = cells.copy()
    renamed.var_names = list(reversed(renamed.var_names))
    renamed.write_h5ad(file)
    with pytest.raises(InputError, match="the same file everywhere"):
        unpack(tmp_path / "parcel", "cpu")
