"""Cells in memory and on disk, in any form that anndata writes, are read as the same counts and labels."""

from __future__ import annotations

from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from anndata import AnnData
from scipy import sparse

from interp.cells import reader as module
from interp.cells.reader import CellReader, open_cells
from interp.cells.survey import survey
from interp.errors import InputError

N, GENES = 19, [f"ENSG{i:011d}" for i in range(12)]


def make(kind=sparse.csr_matrix, dtype=np.float32) -> AnnData:
    """Counts in a layer and in raw, logs in X, symbols and labels of all kinds."""
    counts = np.random.default_rng(0).poisson(0.7, (N, len(GENES)))
    counts[4] = 0
    obs = pd.DataFrame(
        {
            "donor": pd.Categorical([f"d{i % 3}" for i in range(N)], categories=["d2", "d0", "d1", "unused"]),
            "text": [f"t{i}" for i in range(N)],
            "age": np.arange(N),
            "score": np.linspace(0, 1, N).astype(np.float32),
            "flag": np.arange(N) % 2 == 0,
            "maybe": pd.array([None, *range(1, N)], dtype="Int64"),
            "perhaps": pd.array([None, *([True, False] * 9)], dtype="boolean"),
        },
        index=[f"cell{i}" for i in range(N)],
    )
    symbols = [f"S{i}" for i in range(10)] + [None, ""]
    adata = AnnData(
        kind(counts.astype(dtype)), obs=obs, var=pd.DataFrame({"symbol": pd.Series(symbols, index=GENES)}, index=GENES)
    )
    adata.raw = adata.copy()
    adata.layers["counts"] = adata.X.copy()
    adata.X = kind(np.log1p(counts).astype(np.float32))
    return adata


COUNTS = make(np.asarray).layers["counts"]


def write(adata: AnnData, path: Path) -> Path:
    """Write by the ending of the path: .h5ad, .v2.zarr or .v3.zarr."""
    if path.suffix == ".h5ad":
        adata.write_h5ad(path)
    else:
        with anndata.settings.override(zarr_write_format=int(path.suffixes[-2][2:]), auto_shard_zarr_v3=False):
            adata.write_zarr(path)
    return path


@pytest.mark.filterwarnings("ignore")  # anndata's own, about formats to come
@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csr_array, np.asarray])
@pytest.mark.parametrize("dtype", [np.float32, np.int64])
@pytest.mark.parametrize("layer", ["counts", "raw"])
def test_all_places_give_the_same_cells(tmp_path, kind, dtype, layer):
    adata = make(kind, dtype)
    names = ("a.h5ad", "a.v2.zarr", "a.v3.zarr")
    places = [adata, adata[np.arange(N)], *(write(adata, tmp_path / name) for name in names)]
    places += [anndata.read_h5ad(tmp_path / "a.h5ad", backed="r"), str(tmp_path / "a.h5ad")]
    seen = []
    for place in places:
        reader = open_cells(place, layer=layer, gene_key="symbol")
        assert len(reader) == N
        assert reader.genes.tolist() == [*(f"S{i}" for i in range(10)), *GENES[10:]]  # two have no symbol
        np.testing.assert_array_equal(reader.counts(0, N).toarray(), COUNTS)
        np.testing.assert_array_equal(reader.counts(3, 7).toarray(), COUNTS[3:7])
        assert reader.counts(5, 5).shape == (0, 12)
        assert reader.names(3, 6).tolist() == ["cell3", "cell4", "cell5"]
        assert reader.counts(0, N).dtype == np.float32
        seen.append(survey(reader).identity)
        columns = dict(reader.columns())
        assert list(columns) == list(adata.obs)
        for name, values in columns.items():
            pd.testing.assert_series_equal(
                pd.Series(values).astype(object),
                adata.obs[name].reset_index(drop=True).astype(object),
                check_names=False,
            )
    assert all(identity == seen[0] for identity in seen)


@pytest.mark.parametrize("kind", [sparse.csr_matrix, np.asarray])
@pytest.mark.parametrize(
    "rows", [[7, 2, 9, 4, 1], slice(3, 11), slice(None, None, -1), np.arange(N) % 2 == 0, [5]], ids=str
)
@pytest.mark.parametrize("layer", [None, "raw", "counts"])
def test_views_of_backed_cells_read_their_rows(tmp_path, kind, rows, layer):
    adata = make(kind)
    adata.X = adata.layers["counts"].copy()
    write(adata, tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    for view in (backed[rows], backed[rows, GENES[2:9]]):
        reader = open_cells(view, layer=layer)
        wanted = COUNTS[rows] if layer == "raw" or view.n_vars == 12 else COUNTS[rows][:, 2:9]
        np.testing.assert_array_equal(reader.counts(0, len(reader)).toarray(), wanted)
        stop = min(4, len(reader))
        np.testing.assert_array_equal(reader.counts(stop // 2, stop).toarray(), wanted[stop // 2 : stop])
        assert reader.names(0, len(reader)).tolist() == view.obs_names.tolist()


@pytest.mark.parametrize("entries", [1, 12, 30, 10**6])
def test_the_size_of_blocks_does_not_matter(monkeypatch, entries):
    monkeypatch.setattr(module, "DENSE_ENTRIES", entries)
    found = open_cells(make(np.asarray), layer="counts").counts(2, 13)
    np.testing.assert_array_equal(found.toarray(), COUNTS[2:13])
    assert found.has_canonical_format


def test_ranges_cut_the_cells():
    assert list(open_cells(make(), layer="counts").ranges(8)) == [(0, 8), (8, 16), (16, 19)]


def test_a_reader_is_returned_and_tells_where_it_reads(tmp_path):
    path = write(make(), tmp_path / "a.h5ad")
    reader = open_cells(path, layer="raw", gene_key="symbol")
    assert open_cells(reader) is reader
    assert isinstance(reader, CellReader)
    assert reader.origin == {"path": str(path), "layer": "raw", "gene_key": "symbol"}
    assert open_cells(make(), layer="raw").origin is None
    assert repr(reader) == f"CellReader({path}: 19 cells x 12 genes)"


@pytest.mark.parametrize("on_disk", [True, False])
@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"layer": "umi"}, "counts"),
        ({"layer": "counts", "gene_key": "names"}, "no column 'names'.*'symbol'"),
        ({}, r"log-transformed.*open_cells\(path, layer='counts'\)"),
    ],
)
def test_the_message_says_what_there_is(tmp_path, on_disk, options, complaint):
    cells = write(make(), tmp_path / "a.h5ad") if on_disk else make()
    with pytest.raises(InputError, match=complaint):
        open_cells(cells, **options).counts(0, 5)


@pytest.mark.parametrize("name", ["a.h5ad", "a.v3.zarr"])
def test_counts_by_gene_are_refused(tmp_path, name):
    adata = AnnData(sparse.csc_matrix(COUNTS))
    path = write(adata, tmp_path / name)
    with pytest.raises(InputError, match=r"X is stored as csc_matrix, .* store it as CSR \(X.tocsr\(\)\)"):
        open_cells(path)
    if name == "a.h5ad":
        with pytest.raises(InputError, match="stored as csc_matrix"):
            open_cells(anndata.read_h5ad(path, backed="r"))
    np.testing.assert_array_equal(open_cells(adata).counts(2, 5).toarray(), COUNTS[2:5])


def test_paths_that_are_no_cells_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.h5ad").write_text("no HDF5")
    with pytest.raises(InputError, match="there is no file"):
        open_cells(tmp_path / "missing.h5ad")
    with pytest.raises(InputError, match="is no zarr folder"):
        open_cells(tmp_path / "empty")
    with pytest.raises(InputError, match="is not an h5ad file"):
        open_cells(tmp_path / "text.h5ad")
    zarr.open_group(tmp_path / "other.zarr", mode="w")
    with pytest.raises(InputError, match="has no X"):
        open_cells(tmp_path / "other.zarr")
    for lost in ("obs", "var"):
        path = write(make(), tmp_path / f"{lost}.h5ad")
        with h5py.File(path, "a") as file:
            del file[lost]
        with pytest.raises(InputError, match=f"has no {lost}, so it holds no AnnData"):
            open_cells(path)
    with pytest.raises(InputError, match="got a list"):
        open_cells([1, 2])


def test_obs_without_an_index_is_refused(tmp_path):
    path = write(make(), tmp_path / "a.h5ad")
    with h5py.File(path, "a") as file:
        del file["obs"].attrs["_index"]
    with pytest.raises(InputError, match=r"obs has no index as anndata 0\.7"):
        open_cells(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["a.h5ad", "a.v2.zarr", "a.v3.zarr"])
def test_names_are_read_as_nullable_texts_too(tmp_path, name):
    adata = make()
    adata.obs.index = adata.obs.index.astype("string")
    with anndata.settings.override(allow_write_nullable_strings=True):
        write(adata, tmp_path / name)
    reader = open_cells(tmp_path / name, layer="counts")
    assert reader.names(3, 5).tolist() == ["cell3", "cell4"]
    assert len(reader) == N


def test_sparse_matrices_of_old_files_are_read(tmp_path):
    path = write(make(), tmp_path / "a.h5ad")
    with h5py.File(path, "a") as file:
        matrix = file["layers/counts"]
        for name in ("encoding-type", "encoding-version"):
            del matrix.attrs[name]
        matrix.attrs["h5sparse_format"], matrix.attrs["h5sparse_shape"] = "csr", matrix.attrs["shape"]
    np.testing.assert_array_equal(open_cells(path, layer="counts").counts(2, 9).toarray(), COUNTS[2:9])


def test_an_empty_x_is_refused(tmp_path):
    adata = AnnData(obs=pd.DataFrame(index=["a"]), var=pd.DataFrame(index=["x"]))
    with pytest.raises(InputError, match="X is empty"):
        open_cells(adata)
    with pytest.raises(InputError, match=r"no \.raw"):
        open_cells(adata, layer="raw")
    with pytest.raises(InputError, match="has no X"):
        open_cells(write(adata, tmp_path / "a.h5ad"))
