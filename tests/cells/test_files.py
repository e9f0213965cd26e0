import anndata
import numpy as np
import pandas as pd
import pytest

from interp.cells import read_cells, write_cells


@pytest.fixture
def panel(make_file, columns):
    left, right = make_file(genes=["A", "B", "C"]), make_file(genes=["C", "D"])
    left.obs["plate"] = "p1"
    left.obs["cell_type"] = ["CD4 T cell", "nonsense"] * 12
    right.obs["flag"] = True
    left.obs["lab"], right.obs["lab"] = "z", "a"
    return read_cells([left, right], **columns, replicate=["plate", None], study="lab")


def assert_equal(a, b) -> None:
    assert a.X.dtype == b.X.dtype
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(a.X, name), getattr(b.X, name))
    pd.testing.assert_frame_equal(a.obs, b.obs)
    pd.testing.assert_frame_equal(a.var, b.var)
    pd.testing.assert_frame_equal(a.varm["measured"], b.varm["measured"])
    pd.testing.assert_frame_equal(a.uns["interp"]["labels"], b.uns["interp"]["labels"])
    assert a.uns["interp"]["panel"].keys() == b.uns["interp"]["panel"].keys()
    for name, value in a.uns["interp"]["panel"].items():
        np.testing.assert_array_equal(value, b.uns["interp"]["panel"][name])


@pytest.mark.parametrize("way", ["write_cells", "write_h5ad"])
def test_a_panel_survives_the_disk(panel, tmp_path, way) -> None:
    path = tmp_path / "new" / "panel.h5ad"
    if way == "write_cells":
        assert write_cells(panel, path) == path
    else:
        path.parent.mkdir()
        panel.copy().write_h5ad(path)
    assert_equal(panel, anndata.read_h5ad(path))


def test_cells_without_any_label_survive_too(make_file, tmp_path) -> None:
    panel = read_cells(make_file(), donor="donor", tissue=None, cell_type=None)
    assert_equal(panel, anndata.read_h5ad(write_cells(panel, tmp_path / "p.h5ad")))


def test_a_panel_from_disk_reads_as_the_same_panel(panel, columns, tmp_path) -> None:
    again = read_cells(write_cells(panel, tmp_path / "p.h5ad"), **columns)
    assert again.uns["interp"]["panel"]["sha256"] == panel.uns["interp"]["panel"]["sha256"]
    assert again.varm["measured"].equals(panel.varm["measured"])


def test_mixed_columns_are_written_as_texts_and_the_panel_is_left_alone(panel, tmp_path) -> None:
    panel.obs["mixed"] = [1, "two", None] * 16
    back = anndata.read_h5ad(write_cells(panel, tmp_path / "p.h5ad"))
    assert back.obs["mixed"].astype(object).iloc[:2].tolist() == ["1", "two"]
    assert back.obs["mixed"].isna().iloc[2]
    assert panel.obs["mixed"].iloc[0] == 1


def test_nothing_but_the_file_is_left_and_an_old_one_survives_a_failure(panel, tmp_path, monkeypatch) -> None:
    path = write_cells(panel, tmp_path / "p.h5ad")
    before = path.read_bytes()
    monkeypatch.setattr(anndata.AnnData, "write_h5ad", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_cells(panel, path)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["p.h5ad"]
