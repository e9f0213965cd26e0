from __future__ import annotations

import logging
import warnings

import numpy as np
import pytest
import torch
from anndata import AnnData
from scipy import sparse

import interp
from interp.capture import capture
from interp.capture import plan as plans
from interp.capture.reduce import BatchReducer
from interp.errors import InputError, VocabularyError
from interp.scgpt.config import ScGPTConfig
from interp.scgpt.model import HookedScGPT

PANEL = ["G4", "G29", "G0", "G11"]
PER_TOKEN = [
    "encoder.enc_norm.hook_scale",
    "hook_embed",
    "hook_value_embed",
    "hook_tokens",
    "blocks.0.attn.hook_q",
    "blocks.1.attn.hook_z",
    "blocks.1.attn.hook_result",
    "blocks.1.ln1.hook_scale",
    "blocks.1.mlp.hook_pre",
    "blocks.1.mlp.hook_post",
    "blocks.2.hook_resid_post",
    "decoder.fc.hook_post_0",
    "decoder.fc.hook_out",
    "mvc_decoder.hook_query",
    "mvc_decoder.hook_out",
]
PER_PAIR = ["blocks.0.attn.hook_attn_scores", "blocks.2.attn.hook_pattern"]
PER_CELL = ["hook_cell"]


@pytest.fixture(scope="module")
def alone(model, mixed):
    """Every activation of every cell, run alone and without padding: tokens and a cache by cell."""
    tokens = model.tokenize(mixed)
    with torch.no_grad():
        return [(tokens[i], model.run_with_cache(tokens[i])[1]) for i in range(len(tokens))]


def expected(alone, model, site, reduce, longest):
    """The definition of a reduction, one cell after the other."""
    rows = []
    place = {int(i): g for g, i in enumerate(model.vocabulary.ids(PANEL))}
    for tokens, cache in alone:
        value = cache[site][0].float().numpy()
        ids = tokens.gene_ids[0].tolist()
        if site in PER_CELL:
            rows.append(value)
        elif reduce == "cls":
            rows.append(value[0])
        elif reduce == "mean":
            rows.append(value[1:].mean(0) if len(ids) > 1 else np.full(value.shape[1:], np.nan, np.float32))
        else:
            size = len(PANEL) if reduce == "genes" else longest
            where = [(t, place[i]) for t, i in enumerate(ids) if i in place]
            where = where if reduce == "genes" else [(t, t) for t in range(len(ids))]
            if site in PER_PAIR:
                row = np.full((value.shape[0], size, size), np.nan, np.float32)
                for t, g in where:
                    for u, h in where:
                        row[:, g, h] = value[:, t, u]
            else:
                row = np.full((size, *value.shape[1:]), np.nan, np.float32)
                for t, g in where:
                    row[g] = value[t]
            rows.append(row)
    return np.stack(rows)


@pytest.mark.parametrize("reduce", ["cls", "mean", "genes", "full"])
def test_values_are_those_of_run_with_cache_for_every_kind_of_site(model, mixed, alone, small_parts, reduce):
    sites = PER_TOKEN + PER_CELL + (PER_PAIR if reduce in ("genes", "full") else [])
    store = capture(model, mixed, sites=sites, reduce=reduce, genes=PANEL if reduce == "genes" else None)
    assert set(store.sites) == set(sites)
    longest = int(store.lengths.max())
    for site in sites:
        wanted = expected(alone, model, site, reduce, longest)
        assert store[site].shape == wanted.shape
        np.testing.assert_allclose(store[site][:], wanted, rtol=0, atol=1e-5, err_msg=site)


def test_a_cell_without_genes_and_genes_that_are_not_expressed_are_nan(model, mixed, small_parts):
    mean = capture(model, mixed, sites="resid_post", layers=2, reduce="mean")["blocks.2.hook_resid_post"][:]
    assert np.flatnonzero(np.isnan(mean).any(1)).tolist() == [7]
    genes = capture(model, mixed, sites="resid_post", layers=2, reduce="genes", genes=PANEL)["blocks.2.hook_resid_post"]
    expressed = mixed[:, PANEL].X.toarray() > 0
    np.testing.assert_array_equal(~np.isnan(genes[:]).any(-1), expressed)
    np.testing.assert_array_equal(~np.isnan(genes[:]).all(-1), expressed)


def test_full_keeps_tokens_beside_rows(model, mixed, small_parts):
    tokens = model.tokenize(mixed)
    store = capture(model, mixed, sites="embed", reduce="full")
    np.testing.assert_array_equal(store.token_genes[:], np.where(tokens.padding, -1, tokens.gene_ids))
    np.testing.assert_array_equal(np.isnan(store["hook_embed"][:]).any(-1), tokens.padding)


@pytest.mark.parametrize(("part_cells", "batch_tokens"), [(1, 10), (2, 4096), (8, 31), (16, 100), (512, 1)])
def test_neither_parts_nor_batches_matter(model, mixed, monkeypatch, part_cells, batch_tokens):
    whole = capture(model, mixed, sites=["resid_post", "z"], reduce="mean")
    monkeypatch.setattr(plans, "PART_CELLS", part_cells)
    monkeypatch.setitem(plans.BATCH_TOKENS, "cpu", batch_tokens)
    other = capture(model, mixed, sites=["resid_post", "z"], reduce="mean")
    assert other.attrs["plan"] != whole.attrs["plan"]
    np.testing.assert_array_equal(other.lengths, whole.lengths)
    assert list(other.cell_ids) == list(mixed.obs_names)
    for site in whole:
        np.testing.assert_allclose(other[site][:], whole[site][:], atol=1e-5)


def test_the_order_of_cells_does_not_matter(model, mixed, small_parts):
    order = np.random.default_rng(0).permutation(len(mixed))
    store = capture(model, mixed, sites="resid_post")
    shuffled = capture(model, mixed[order], sites="resid_post")
    rows = shuffled.rows(mixed.obs_names)
    for site in store:
        np.testing.assert_allclose(shuffled[site][rows], store[site][:], atol=1e-5)
    np.testing.assert_array_equal(shuffled.lengths[rows], store.lengths)


def test_explicit_attention_gives_what_the_fused_kernel_gives(model, mixed, small_parts):
    fused = capture(model, mixed, sites=["z", "resid_post"], reduce="genes", genes=PANEL)
    explicit = capture(model, mixed, sites=["pattern", "z", "resid_post"], reduce="genes", genes=PANEL)
    for site in fused:
        np.testing.assert_allclose(explicit[site][:], fused[site][:], atol=1e-5)


def test_layers_choose_and_nothing_is_computed_after_the_last_site(model, mixed):
    called = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: called.append(name))
        for name, module in model.named_modules()
        if name in ("blocks.0", "blocks.1", "blocks.2", "decoder", "blocks.1.attn", "blocks.1.mlp")
    ]
    try:
        trial = len(capture(model, mixed[:2], sites="z", layers=1, reduce="cls").sites)
        assert trial == 1
        calls = called[called.index("decoder", called.index("decoder") + 1) + 1 :]  # after the two trial passes
    finally:
        for handle in handles:
            handle.remove()
    assert calls == ["blocks.0"]  # block 1 stops inside its attention, so it never returns
    assert capture(model, mixed[:2], sites=["z", "embed"], layers=range(1, 3)).sites == (
        "hook_embed",
        "blocks.1.attn.hook_z",
        "blocks.2.attn.hook_z",
    )


@pytest.mark.parametrize("site", ["resid_post", "z"])
def test_float16_on_disk_is_the_rounded_float32(model, mixed, small_parts, site):
    exact = capture(model, mixed, sites=site, reduce="mean")
    half = capture(model, mixed, sites=site, reduce="mean", dtype="float16")
    for name in exact:
        assert half[name].dtype == np.float16
        np.testing.assert_array_equal(half[name][:], exact[name][:].astype(np.float16))


def test_what_float16_cannot_hold_is_warned_of_once_a_site(model, mixed, small_parts, caplog):
    with model.hooks([("hook_tokens", lambda x, hook: x * 1e6)]), caplog.at_level(logging.WARNING):
        store = capture(model, mixed, sites=["tokens", "resid_post"], dtype="float16")
    assert np.isinf(store["hook_tokens"][:]).any()
    said = [record.getMessage() for record in caplog.records if "infinite" in record.getMessage()]
    assert len(said) == 1
    assert "hook_tokens" in said[0]
    assert "dtype='float32'" in said[0]


@pytest.mark.parametrize("reduce", ["cls", "mean", "genes", "full"])
def test_bfloat16_runs_are_near_and_reduce_in_float32(model, mixed, small_parts, reduce):
    genes = PANEL if reduce == "genes" else None
    sites = ["resid_post", "z"]
    exact = capture(model, mixed, sites=sites, reduce=reduce, genes=genes)
    rough = capture(model, mixed, sites=sites, reduce=reduce, genes=genes, precision="bfloat16")
    for name in exact:
        difference = np.abs(rough[name][:] - exact[name][:])
        assert 0 < np.nanmax(difference) < 0.2
        np.testing.assert_array_equal(np.isnan(rough[name][:]), np.isnan(exact[name][:]))


def test_a_mean_in_bfloat16_is_the_float32_mean_of_what_full_keeps(model, mixed):
    options = {"sites": "resid_post", "layers": 2, "precision": "bfloat16"}
    rows = capture(model, mixed, reduce="full", **options)["blocks.2.hook_resid_post"][:]
    mean = capture(model, mixed, reduce="mean", **options)["blocks.2.hook_resid_post"][:]
    keep = np.arange(len(mixed)) != 7
    np.testing.assert_allclose(mean[keep], np.nanmean(rows[keep, 1:], axis=1), atol=1e-6)


def test_model_hooks_and_gradients_are_left_as_they_were(model, mixed):
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    seen = []
    with model.hooks([("blocks.1.hook_resid_post", lambda x, hook: seen.append(1))]):
        capture(model, mixed, sites=["pattern", "resid_post"], reduce="genes", genes=PANEL)
        assert len(model.list_hooks("blocks.1.hook_resid_post")["blocks.1.hook_resid_post"]) == 1
    assert seen
    assert not any(point.has_hooks() for point in model.hook_dict.values())
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.parameters())
    assert not model.training


def test_hooks_are_gone_after_an_error(model, mixed, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(BatchReducer, "__call__", broken)
    with pytest.raises(ZeroDivisionError):
        capture(model, mixed, sites="z")
    assert not any(point.has_hooks() for point in model.hook_dict.values())


def test_the_cells_are_left_as_they_were(model):
    stored_zero = sparse.csr_matrix(
        (np.array([0.0, 2.0, 1.0, 3.0], np.float32), np.array([2, 1, 0, 1]), np.array([0, 3, 4])), shape=(2, 30)
    )
    cells = AnnData(stored_zero)
    cells.var_names = [f"G{i}" for i in range(30)]
    before = cells.X.data.copy(), cells.X.indices.copy()
    capture(model, cells, sites="embed")
    np.testing.assert_array_equal(cells.X.data, before[0])
    np.testing.assert_array_equal(cells.X.indices, before[1])


def test_live_hooks_act_and_are_kept_apart(model, mixed, tmp_path):
    plain = capture(model, mixed, sites="resid_post", layers=2, out=tmp_path / "plain")
    with model.hooks([("blocks.0.attn.hook_z", lambda z, hook: z * 0)]):
        ablated = capture(model, mixed, sites="resid_post", layers=2)
        with pytest.raises(interp.StoreError, match=r"hooks: .none. there, .blocks\.0\.attn\.hook_z: 1 forward"):
            capture(model, mixed, sites="resid_post", layers=2, out=tmp_path / "plain")
        with pytest.raises(InputError, match="workers have no live hooks"):
            capture(model, mixed, sites="resid_post", client=object())
    name = "blocks.2.hook_resid_post"
    assert np.abs(ablated[name][:] - plain[name][:]).max() > 1e-3


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"sites": "resid_pots"}, "did you mean blocks.0.hook_resid_post"),
        ({"sites": []}, "no sites were given"),
        ({"sites": "scale"}, "ambiguous.*'ln1.scale'"),
        ({"layers": 3}, "layers 0 to 2"),
        ({"layers": "all"}, "layers 0 to 2"),
        ({"layers": []}, "names none"),
        ({"sites": "blocks.2.hook_resid_post", "layers": 0}, "lies in none of the layers"),
        ({"reduce": "median"}, "expected one of cls, mean, genes, full"),
        ({"reduce": "genes"}, "with 0 genes"),
        ({"genes": ["G1"]}, "reduce='genes' alone"),
        ({"reduce": "genes", "genes": ["G1", "G2", "G1"]}, "given twice: G1"),
        ({"sites": "pattern"}, "one number per pair"),
        ({"sites": "pattern", "reduce": "mean"}, "interp.attention_sums"),
        ({"dtype": "float64"}, "expected one of float16, float32"),
        ({"precision": "float16"}, "expected one of float32, bfloat16"),
        ({"max_tokens": 1}, "give at least 2"),
        ({"max_tokens": 0}, "give at least 2"),
        ({"max_tokens": -4}, "give at least 2"),
        ({"memory": 1000}, "memory budget of 0 MiB is too small.*needs about"),
    ],
)
def test_options_that_make_no_sense_are_refused(model, mixed, tmp_path, options, complaint):
    with pytest.raises(InputError, match=complaint):
        capture(model, mixed, out=tmp_path / "store", **options)
    assert not (tmp_path / "store").exists()


def test_words_are_checked_before_the_cells_are_read(model):
    for options in ({"reduce": "median"}, {"sites": "nothing"}, {"max_tokens": 1}, {"reduce": "genes", "genes": ["?"]}):
        with pytest.raises(InputError) as caught:
            capture(model, "no such file.h5ad", **options)
        assert "no such file" not in str(caught.value)


def test_a_gene_that_the_vocabulary_lacks_is_named(model, mixed):
    with pytest.raises(VocabularyError, match="GATA1"):
        capture(model, mixed, reduce="genes", genes=["G1", "GATA1"])


def test_genes_come_in_any_container_and_one_alone(model, mixed):
    several = capture(model, mixed, sites="embed", reduce="genes", genes=mixed.var_names[[3, 5]])
    one = capture(model, mixed, sites="embed", reduce="genes", genes="G5")
    assert several.genes == ("G3", "G5")
    np.testing.assert_array_equal(one["hook_embed"][:, 0], several["hook_embed"][:, 1])


def test_numbers_come_in_any_type(model, mixed, tmp_path):
    options = {"seed": np.int64(3), "max_tokens": np.int32(5), "memory": 1e9, "layers": np.array([0, 2])}
    store = capture(model, mixed, sites="z", out=tmp_path / "store", **options)
    assert store.lengths.max() == 5
    assert len(store.sites) == 2
    assert capture(model, mixed, sites="z", out=tmp_path / "store", **options).attrs["seed"] == 3


@pytest.mark.parametrize("bad", ["none", "twins", "nan", "negative", "log"])
def test_cells_that_are_no_raw_counts_are_refused(model, mixed, tmp_path, bad):
    cells = mixed.copy()
    complaint = {
        "none": "no cells",
        "twins": "another cell has, such as 'cell0'",
        "nan": "NaN",
        "negative": "negative",
        "log": "log-transformed",
    }[bad]
    if bad == "none":
        cells = cells[:0]
    elif bad == "twins":
        cells.obs_names = ["cell0", *cells.obs_names[1:-1], "cell0"]
    elif bad == "log":
        cells.X = cells.X.log1p()
    else:
        cells.X.data[3] = np.nan if bad == "nan" else -1
    with pytest.raises(InputError, match=complaint):
        capture(model, cells, out=tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_nothing_warns(model, mixed, small_parts, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store = capture(model, mixed, sites="resid_post", reduce="full", out=tmp_path / "store")
        assert len(store.obs) == len(store.cell_ids) == 23


def test_tokens_are_not_cells(model, mixed):
    with pytest.raises(InputError, match="got a GeneTokens"):
        capture(model, model.tokenize(mixed))


def test_cells_without_any_count_can_be_captured_and_repeated(model, mixed, tmp_path):
    cells = mixed[:3].copy()
    cells.X.data[:] = 0
    for _ in range(2):
        store = capture(model, cells, sites="resid_post", reduce="mean", out=tmp_path / "store")
    assert np.isnan(store["blocks.0.hook_resid_post"][:]).all()
    assert store.lengths.tolist() == [1, 1, 1]


def test_a_model_that_draws_dropout_is_refused(model, mixed):
    model.train()
    try:
        with pytest.raises(InputError, match=r"model\.eval\(\)"):
            capture(model, mixed)
    finally:
        model.eval()


def test_a_model_that_needs_batches_is_refused(model, mixed):
    config = ScGPTConfig(
        n_vocab=33, n_layers=1, n_heads=1, d_model=8, d_hid=8, batch_norm="dsbn", batch_encoder=True, n_batches=2
    )
    needy = HookedScGPT(config, model.vocabulary).initialize(torch.Generator().manual_seed(0)).eval()
    with pytest.raises(InputError, match=r"run_with_cache\(tokens, batches=...\)"):
        capture(needy, mixed)
