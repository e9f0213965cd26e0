from __future__ import annotations

import numpy as np
import pytest
from anndata import AnnData
from scipy import sparse

from interp.cells import survey as module
from interp.cells.reader import open_cells
from interp.cells.survey import survey
from interp.errors import InputError


def panel(**changes) -> AnnData:
    counts = np.random.default_rng(2).poisson(0.6, (11, 6)).astype(np.float32)
    counts[3] = 0
    adata = AnnData(sparse.csr_matrix(counts))
    adata.obs_names = changes.get("cells", [f"cell{i}" for i in range(11)])
    adata.var_names = changes.get("genes", [f"G{i}" for i in range(6)])
    return adata


def test_totals_and_lengths_are_those_of_the_matrix():
    adata = panel()
    seen = survey(open_cells(adata))
    dense = adata.X.toarray()
    np.testing.assert_allclose(seen.counts_per_gene, dense.sum(0))
    assert seen.longest == (dense > 0).sum(1).max()
    assert seen.n_cells == 11
    known = np.array([True, False, True, False, False, True])
    assert survey(open_cells(adata), known).longest == (dense[:, known] > 0).sum(1).max()
    assert survey(open_cells(adata), np.zeros(6, bool)).longest == 0


@pytest.mark.parametrize("block", [1, 3, 11, 100])
def test_the_size_of_blocks_does_not_matter(monkeypatch, block):
    whole = survey(open_cells(panel()))
    monkeypatch.setattr(module, "BLOCK", block)
    other = survey(open_cells(panel()))
    assert other.identity == whole.identity
    np.testing.assert_allclose(other.counts_per_gene, whole.counts_per_gene)
    assert other.longest == whole.longest


def test_identity_knows_names_order_and_counts_and_nothing_else():
    first = survey(open_cells(panel())).identity
    other = panel()
    other.obs["label"] = 1
    other.X = sparse.csr_matrix(other.X.toarray().astype(np.int64))
    assert survey(open_cells(other)).identity == first
    moved = panel()
    moved.X.data[0] += 1
    changed = {
        "cells": panel(cells=[*(f"cell{i}" for i in range(10)), "other"]),
        "genes": panel(genes=[*(f"G{i}" for i in range(5)), "other"]),
        "counts": moved,
    }
    for name, adata in changed.items():
        found = survey(open_cells(adata)).identity
        assert {key for key in first if found[key] != first[key]} == {name}
    swapped = survey(open_cells(panel()[::-1])).identity
    assert swapped["genes"] == first["genes"]
    assert swapped["cells"] != first["cells"]
    assert swapped["counts"] != first["counts"]


def test_names_do_not_run_into_each_other():
    one = survey(open_cells(panel(cells=["a", "bc", *map(str, range(9))]))).identity
    other = survey(open_cells(panel(cells=["ab", "c", *map(str, range(9))]))).identity
    assert one["cells"] != other["cells"]


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_twins_and_no_cells_are_refused():
    with pytest.raises(InputError, match=r"2 cells have a name that another cell has, such as 'twin'"):
        survey(open_cells(panel(cells=["twin", *map(str, range(8)), "twin", "twin"])))
    with pytest.raises(InputError, match="holds no cells"):
        survey(open_cells(panel()[:0]))
