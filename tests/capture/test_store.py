from __future__ import annotations

import json
import shutil

import anndata
import numpy as np
import pandas as pd
import pytest
import zarr

from interp.capture import ActivationStore, attention_sums, capture
from interp.errors import StoreError

SITE = "blocks.0.hook_resid_post"


@pytest.fixture(scope="module")
def kept(model, mixed, tmp_path_factory):
    """A store on disk in parts of 4 cells, all tokens kept."""
    from interp.capture import plan

    folder = tmp_path_factory.mktemp("kept") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "PART_CELLS", 4)
        capture(model, mixed, sites=["resid_post", "hook_cell"], layers=0, reduce="full", out=folder)
    return folder


@pytest.fixture
def folder(kept, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(kept, tmp_path / "store")


def read_all(folder) -> None:
    store = ActivationStore.open(folder)
    for site in store:
        store[site][:]
    store.token_genes[:], store.cell_ids, store.lengths, store.obs


def test_an_opened_store_is_the_captured_one(model, mixed, kept):
    store, memory = ActivationStore.open(kept), capture(model, mixed, sites="resid_post", layers=0, reduce="full")
    np.testing.assert_allclose(store[SITE][:], memory[SITE][:], atol=1e-6)
    assert list(store) == [SITE, "hook_cell"]
    assert SITE in store
    assert "blocks.1.hook_resid_post" not in store
    assert len(store) == len(store[SITE]) == 23
    assert store.reduce == "full"
    assert store[SITE].dtype == np.float32
    assert store[SITE].zarr.shape == store[SITE].shape
    assert f"  {SITE}: (23, " in repr(store)
    assert repr(store[SITE]).startswith(f"StoredActivation({SITE}: (23, ")


def test_obs_comes_back(mixed, kept):
    obs = ActivationStore.open(kept).obs
    assert obs.index.tolist() == mixed.obs_names.tolist()
    assert obs["donor"].dtype == mixed.obs["donor"].dtype
    for name in mixed.obs:
        assert obs[name].tolist() == mixed.obs[name].tolist()


@pytest.mark.parametrize(
    "index",
    [
        3,
        np.int64(-2),
        slice(2, 9, 3),
        ...,
        [5, 1, 1, 22],
        [],
        np.arange(23) % 3 == 0,
        pd.Series(np.arange(23) > 19),
        (slice(0, 6), 0),
        (slice(None), slice(0, 2), [3, 1]),
        ([7, 2], 1),
        ([7, 2], slice(1, 3), 0),
        (..., 0),
    ],
)
def test_slices_are_those_of_numpy(kept, index):
    stored = ActivationStore.open(kept)[SITE]
    whole = np.asarray(stored)
    wanted = whole[np.asarray(index, int) if isinstance(index, list) else index]
    np.testing.assert_array_equal(stored[index], wanted)


@pytest.mark.parametrize("index", [23, [0, 23], np.ones(5, bool)])
def test_an_index_outside_is_the_users_error(kept, index):
    with pytest.raises(IndexError):
        ActivationStore.open(kept)[SITE][index]


def test_a_site_that_was_not_captured_is_named_with_the_nearest(kept):
    with pytest.raises(StoreError, match=r"holds no 'blocks.0.hook_resid_pre'.*blocks\.0\.hook_resid_post"):
        ActivationStore.open(kept)["blocks.0.hook_resid_pre"]


def test_rows_are_found_by_name(mixed, kept):
    store = ActivationStore.open(kept)
    assert store.rows(pd.Series(["cell4", "cell0"], index=["x", "y"])).tolist() == [4, 0]
    with pytest.raises(StoreError, match=r"2 of 3 cells are not in .*such as 'other'"):
        store.rows(pd.Series(["cell4", "other", "more"], index=["x", "y", "z"]))


@pytest.mark.parametrize("change", ["names", "order", "counts", "genes"])
def test_other_cells_are_told_apart(mixed, kept, change):
    cells = mixed.copy()
    if change == "names":
        cells.obs_names = [f"x{name}" for name in cells.obs_names]
    elif change == "order":
        cells = cells[::-1]
    elif change == "counts":
        cells.X.data[0] += 1
    else:
        cells = cells[:, ::-1]
    words = {"names": "other cells", "order": "other cells", "counts": "other counts", "genes": "other genes"}[change]
    with pytest.raises(StoreError, match=words):
        ActivationStore.open(kept, cells=cells)
    assert len(ActivationStore.open(kept, cells=mixed)) == 23


@pytest.mark.parametrize("name", ["missing", "empty", "file", "sums", "anndata"])
def test_what_is_no_store_is_refused(model, mixed, tmp_path, name):
    folder = tmp_path / name
    if name == "empty":
        folder.mkdir()
    elif name == "file":
        folder.write_text("")
    elif name == "sums":
        attention_sums(model, mixed, ["G1"]).save(folder)
    elif name == "anndata":
        with anndata.settings.override(zarr_write_format=3):
            mixed.write_zarr(folder)
    with pytest.raises(StoreError, match=r"holds no activations; make them with interp\.capture"):
        ActivationStore.open(folder)


def test_another_schema_is_refused(model, mixed, folder):
    meta = json.loads((folder / "zarr.json").read_text())
    meta["attributes"]["schema"] = 99
    (folder / "zarr.json").write_text(json.dumps(meta))
    with pytest.raises(StoreError, match="has schema 99, this version reads 1"):
        ActivationStore.open(folder)
    with pytest.raises(StoreError, match="has schema 99, this version writes 1"):
        capture(model, mixed, sites=["resid_post", "hook_cell"], layers=0, reduce="full", out=folder)


def chunks(folder):
    return [item for item in sorted(folder.rglob("c/**/*")) if item.is_file()] + [
        item for item in sorted(folder.rglob("c")) if item.is_file()
    ]


def test_any_missing_chunk_is_found_at_the_opening_and_at_the_repeat(model, mixed, kept, folder):
    for chunk in chunks(kept):
        lost = folder / chunk.relative_to(kept)
        lost.unlink()
        with pytest.raises(StoreError, match=r"is damaged: 1 chunks of .* are gone; remove the store"):
            ActivationStore.open(folder)
        shutil.copy(chunk, lost)
    lost.unlink()
    with pytest.raises(StoreError, match="are gone"):
        capture(model, mixed, sites=["resid_post", "hook_cell"], layers=0, reduce="full", out=folder)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "longer"])
def test_any_damaged_chunk_is_found_when_it_is_read(kept, folder, damage):
    read_all(folder)
    rng = np.random.default_rng(0)
    assert len(chunks(kept)) > 20
    for chunk in chunks(kept):
        data = bytearray(chunk.read_bytes())
        if damage == "flip":
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        data = {"flip": data, "cut": data[:-1], "empty": b"", "longer": data + b"x"}[damage]
        (folder / chunk.relative_to(kept)).write_bytes(data)
        with pytest.raises(StoreError, match="is damaged"):
            read_all(folder)
        shutil.copy(chunk, folder / chunk.relative_to(kept))
    read_all(folder)


@pytest.mark.filterwarnings("ignore:Object at:zarr.errors.ZarrUserWarning")
@pytest.mark.parametrize("how", ["remove", "cut"])
def test_a_damaged_description_of_an_array_is_found(kept, folder, how):
    for meta in sorted(kept.rglob("zarr.json"))[:-1]:
        place = folder / meta.relative_to(kept)
        place.unlink() if how == "remove" else place.write_bytes(meta.read_bytes()[:40])
        with pytest.raises(StoreError):
            read_all(folder)
        shutil.copy(meta, place)
    read_all(folder)


def test_a_store_is_a_plain_zarr_group(kept):
    group = zarr.open_group(kept, mode="r")
    assert dict(group.attrs)["complete"] is True
    assert group[SITE].shape[0] == 23
