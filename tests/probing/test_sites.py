from __future__ import annotations

import numpy as np
import pytest

import interp
from interp.errors import InputError
from interp.probing.sites import representations


@pytest.fixture(scope="module")
def model():
    return interp.load_model("scgpt-sim", device="cpu")


@pytest.fixture(scope="module")
def cells():
    return interp.simulate(n_donors=2, n_cells=12, n_genes=60, seed=1)


def test_layers_and_heads_of_a_store_are_told_apart(model, cells):
    store = interp.capture(model, cells, sites=["resid_post", "z", "result"], layers=[1, 3], reduce="mean")
    rows = np.array([4, 2, 7])
    found = {item.name: item for item in representations(store, rows, None)}
    n_heads = model.config.n_heads
    assert len(found) == 2 * (1 + 2 * n_heads)
    assert (found["L3H2.z"].layer, found["L3H2.z"].head, found["L3H2.z"].site) == (3, 2, "z")
    assert found["L1.resid_post"].head is None
    np.testing.assert_array_equal(found["L3H2.z"].features, np.asarray(store["blocks.3.attn.hook_z"])[rows, 2])
    result = np.asarray(store["blocks.1.attn.hook_result"])[rows, 0]
    np.testing.assert_array_equal(found["L1H0.result"].features, result)
    assert [item.name for item in representations(store, rows, "resid_post")] == ["L1.resid_post", "L3.resid_post"]


def test_rows_of_chosen_genes_are_set_side_by_side_and_absent_ones_are_zero(model, cells):
    counts = np.asarray(cells.X.sum(axis=0)).ravel()
    genes = [cells.var_names[i] for i in np.argsort(counts)[[-1, 5]]]
    store = interp.capture(model, cells, sites=["pattern", "z", "resid_post"], layers=0, reduce="genes", genes=genes)
    rows = np.arange(12)
    found = {item.name: item.features for item in representations(store, rows, None)}
    pattern, z = (np.asarray(store[f"blocks.0.attn.hook_{word}"]) for word in ("pattern", "z"))
    assert np.isnan(z).any()
    assert found["L0H1.pattern"].shape == (12, 4)
    np.testing.assert_array_equal(found["L0H1.pattern"], np.nan_to_num(pattern[:, 1].reshape(12, 4)))
    np.testing.assert_array_equal(found["L0H1.z"], np.nan_to_num(z[:, :, 1].reshape(12, -1)))
    assert found["L0.resid_post"].shape == (12, 2 * model.config.d_model)


def test_activations_of_all_tokens_are_refused(model, cells):
    store = interp.capture(model, cells, sites=["z"], layers=0, reduce="full")
    with pytest.raises(InputError, match="keep every token"):
        representations(store, np.arange(3), None)


def test_arrays_need_their_axes():
    with pytest.raises(InputError, match="head, feature"):
        representations({"blocks.0.attn.hook_z": np.zeros((4, 3))}, np.arange(4), None)
    own = representations({"mine": np.zeros((4, 2, 3))}, np.arange(4), None)
    assert [(item.name, item.layer, item.head) for item in own] == [("H0.mine", None, 0), ("H1.mine", None, 1)]
