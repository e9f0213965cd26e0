"""The same cells in any form, in memory and on disk, give the same store."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from interp.capture import attention_sums, capture
from interp.cells import open_cells

OPTIONS = {"sites": "resid_post", "layers": [0, 2], "reduce": "mean"}


@pytest.fixture(scope="module")
def labelled(mixed):
    """Counts in X, a layer and raw; symbols in a column; labels of every kind that a file keeps."""
    cells = mixed.copy()
    cells.obs["maybe"] = pd.array([None, *range(1, 23)], dtype="Int64")
    cells.obs["whole"] = pd.array(range(23), dtype="Int64")
    cells.obs["perhaps"] = pd.array([None, *([True, False] * 11)], dtype="boolean")
    cells.obs["real"] = np.linspace(0, 1, 23).astype(np.float32)
    cells.var["symbol"] = cells.var_names
    cells.raw = cells.copy()
    cells.layers["counts"] = cells.X.copy()
    return cells


@pytest.fixture(scope="module")
def whole(model, labelled, tree, tmp_path_factory):
    folder = tmp_path_factory.mktemp("forms") / "store"
    capture(model, labelled, out=folder, **OPTIONS)
    return tree(folder)


def by_id(cells):
    """The same with ids in the index and logs in X, so that only layer= and gene_key= lead to the counts."""
    other = cells.copy()
    other.var_names = [f"ENSG{i:011d}" for i in range(other.n_vars)]
    other.raw = other.copy()
    other.X = other.X.log1p()
    return other


def write(cells, path, version=None):
    if version is None:
        cells.write_h5ad(path)
    else:
        with anndata.settings.override(zarr_write_format=version, auto_shard_zarr_v3=False):
            cells.write_zarr(path)
    return path


@pytest.mark.filterwarnings("ignore")  # anndata's own, about formats to come
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("form", ["memory", "view", "backed", "backed view", "h5ad", "zarr v2", "zarr v3", "text"])
def test_the_bytes_do_not_depend_on_where_the_cells_are(model, labelled, whole, tree, tmp_path, form, dense):
    cells = labelled.copy()
    if dense:
        cells.X = cells.X.toarray()
    path = tmp_path / "cells"
    if form == "view":
        cells = anndata.concat([cells, cells[:3]], index_unique="-")  # what the view leaves out
        cells.obs_names = [*labelled.obs_names, "x", "y", "z"]
        cells.obs = pd.concat([labelled.obs, labelled.obs[:3]]).set_axis(cells.obs_names)
        cells = cells[np.arange(26) < 23]
    elif form in ("backed", "backed view"):
        order = np.arange(23)[::-1] if form == "backed view" else np.arange(23)
        write(cells[order].copy(), path)
        cells = anndata.read_h5ad(path, backed="r")
        cells = cells[order] if form == "backed view" else cells
    elif form in ("zarr v2", "zarr v3"):
        cells = write(cells, path, int(form[-1]))
    elif form != "memory":
        cells = write(cells, path)
        cells = str(cells) if form == "text" else cells
    capture(model, cells, out=tmp_path / "store", **OPTIONS)
    assert tree(tmp_path / "store") == whole


@pytest.mark.parametrize("layer", ["counts", "raw"])
@pytest.mark.parametrize("on_disk", [False, True])
def test_layers_raw_and_symbols_lead_to_the_same_bytes(model, labelled, whole, tree, tmp_path, layer, on_disk):
    cells = by_id(labelled)
    cells = open_cells(write(cells, tmp_path / "cells") if on_disk else cells, layer=layer, gene_key="symbol")
    capture(model, cells, out=tmp_path / "store", **OPTIONS)
    assert tree(tmp_path / "store") == whole


def test_a_reader_serves_attention_sums_too(model, labelled):
    panel = ["G1", "G5"]
    found = attention_sums(model, open_cells(by_id(labelled), layer="counts", gene_key="symbol"), panel)
    np.testing.assert_array_equal(found.sum, attention_sums(model, labelled, panel).sum)


def test_labels_come_back_whatever_they_are(model, mixed, tmp_path):
    cells = mixed[:3].copy()
    cells.obs = pd.DataFrame(
        {
            "text": ["a", None, "b"],
            "mixed": ["a", 1, None],
            "lists": [[1], [2, 3], []],
            "dates": pd.date_range("2020", periods=3),
            "ranges": pd.cut(pd.Series([1.0, 2.0, 3.0]), 2).array,
            "numbers": pd.Categorical([2, 1, 2]),
            "ordered": pd.Categorical(["x", None, "y"], categories=["y", "x", "z"], ordered=True),
            "maybe": pd.array([True, None, False], dtype="boolean"),
            "count": pd.array([1, None, 2**60], dtype="Int64"),
            "float": pd.array([1.5, None, 2.5], dtype="Float64"),
            "nothing": [None, None, None],
        },
        index=cells.obs_names,
    )
    obs = capture(model, cells, out=tmp_path / "store", **OPTIONS).obs
    assert obs.columns.tolist() == cells.obs.columns.tolist()
    assert obs["text"].astype(object).where(obs["text"].notna(), None).tolist() == ["a", None, "b"]
    assert obs["mixed"].tolist()[:2] == ["a", "1"]
    assert obs["lists"].tolist() == ["[1]", "[2, 3]", "[]"]
    assert obs["dates"].tolist() == ["2020-01-01", "2020-01-02", "2020-01-03"]
    assert obs["ranges"].tolist() == ["(0.998, 2.0]", "(0.998, 2.0]", "(2.0, 3.0]"]
    assert obs["numbers"].tolist() == [2, 1, 2]
    assert obs["ordered"].dtype == cells.obs["ordered"].dtype
    assert obs["maybe"].dtype == "boolean"
    assert obs["count"].tolist()[2] == 2**60
    assert np.isnan(obs["float"].iloc[1])
    assert obs["nothing"].isna().all()


def test_cells_by_gene_in_memory_are_read_too(model, labelled, whole, tree, tmp_path):
    cells = labelled.copy()
    cells.X = sparse.csc_matrix(cells.X)
    capture(model, cells, out=tmp_path / "store", **OPTIONS)
    assert tree(tmp_path / "store") == whole
