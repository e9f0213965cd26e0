from __future__ import annotations

import errno
import shutil
from copy import deepcopy
from dataclasses import replace

import anndata
import numpy as np
import pytest
import torch
import zarr
from scipy import sparse
from zarr.storage import _local as zarr_files

from interp.capture import AttentionSums, attention_sums, capture, cell_embeddings
from interp.capture import plan as module
from interp.errors import InputError, StoreError, VocabularyError

PANEL = ["G4", "G1", "G20", "G9", "G7"]


def readable_sums(model, tokens, genes):
    """The definition, cell by cell and pair by pair."""
    n = len(genes)
    total = np.zeros((model.config.n_layers, model.config.n_heads, n, n))
    count, uniform = np.zeros((n, n), int), np.zeros((n, n))
    id_of = dict(zip(genes, model.vocabulary.ids(genes).tolist(), strict=True))
    for c in range(len(tokens)):
        one = tokens[c]
        with torch.no_grad():
            _, cache = model.run_with_cache(one)
        ids = one.gene_ids[0].tolist()
        for i, query in enumerate(genes):
            for j, key in enumerate(genes):
                if id_of[query] in ids and id_of[key] in ids:
                    q, k = ids.index(id_of[query]), ids.index(id_of[key])
                    count[i, j] += 1
                    uniform[i, j] += 1 / len(ids)
                    for layer in range(model.config.n_layers):
                        total[layer, :, i, j] += cache[f"blocks.{layer}.attn.hook_pattern"][0, :, q, k].numpy()
    return total, uniform, count


def test_sums_equal_the_definition(model, cells):
    tokens = model.tokenize(cells)
    sums = attention_sums(model, tokens, PANEL)
    total, uniform, count = readable_sums(model, tokens, PANEL)
    np.testing.assert_allclose(sums.sum, total, rtol=1e-5)
    np.testing.assert_allclose(sums.uniform, uniform)
    np.testing.assert_array_equal(sums.count, count)
    assert sums.n_cells == 17
    assert sums.genes == tuple(PANEL)


def test_sums_do_not_depend_on_batches(model, cells, monkeypatch):
    tokens = model.tokenize(cells)
    whole = attention_sums(model, tokens, PANEL)
    monkeypatch.setitem(module.PATTERN_ENTRIES, "cpu", 1)  # one cell at a time
    np.testing.assert_allclose(attention_sums(model, tokens, PANEL).sum, whole.sum, rtol=1e-5)


def test_sums_of_parts_add_up(model, cells):
    tokens = model.tokenize(cells)
    parts = attention_sums(model, tokens[:5], PANEL) + attention_sums(model, tokens[5:], PANEL)
    whole = attention_sums(model, tokens, PANEL)
    np.testing.assert_allclose(parts.sum, whole.sum, rtol=1e-5)
    np.testing.assert_array_equal(parts.count, whole.count)
    assert parts.n_cells == whole.n_cells


def test_rows_over_all_genes_and_cls_sum_to_detection_counts(model, cells):
    genes = list(cells.var_names)
    tokens = model.tokenize(cells)
    sums = attention_sums(model, tokens, genes)
    detected = np.asarray((cells.X > 0).sum(0)).ravel()
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens, names_filter=lambda name: name.endswith("pattern"))
    to_cls = np.zeros((model.config.n_layers, model.config.n_heads, len(genes)))
    position = {int(i): g for g, i in enumerate(model.vocabulary.ids(genes))}
    for layer in range(model.config.n_layers):
        pattern = cache[f"blocks.{layer}.attn.hook_pattern"].numpy()
        for c, ids in enumerate(tokens.gene_ids.tolist()):
            for t, gene in enumerate(ids):
                if gene in position:
                    to_cls[layer, :, position[gene]] += pattern[c, :, t, 0]
    np.testing.assert_allclose(sums.sum.sum(-1) + to_cls, np.broadcast_to(detected, to_cls.shape), rtol=1e-5)
    np.testing.assert_array_equal(np.diag(sums.count), detected)


def test_subset_picks_pairs_in_the_order_given(model, cells):
    sums = attention_sums(model, model.tokenize(cells), PANEL)
    part = sums.subset(["G20", "G4"])
    assert part.sum[1, 0, 0, 1] == sums.sum[1, 0, 2, 0]
    assert part.count[1, 0] == sums.count[0, 2]
    assert part.sum.flags.c_contiguous  # heads apart in memory, as whoever reads one of them needs it
    with pytest.raises(InputError, match="G99"):
        sums.subset(["G99"])


def test_sums_of_other_genes_are_not_added(model, cells):
    tokens = model.tokenize(cells)
    with pytest.raises(InputError, match="cannot be added"):
        attention_sums(model, tokens, PANEL) + attention_sums(model, tokens, PANEL[:3])


def test_unknown_gene_is_an_error(model, cells):
    with pytest.raises(VocabularyError):
        attention_sums(model, model.tokenize(cells), ["NOT_A_GENE"])


def test_no_hook_is_left(model, cells):
    attention_sums(model, model.tokenize(cells), PANEL)
    assert not any(point.fwd_hooks for point in model.hook_dict.values())


HEADS = [(2, 1), (0, 0), (2, 0)]


def readable_weighted(model, tokens, genes):
    """Pattern times the norm of the value after the head's output weights, by the full product."""
    n = len(genes)
    total = np.zeros((model.config.n_layers, model.config.n_heads, n, n))
    place = {int(i): g for g, i in enumerate(model.vocabulary.ids(genes))}
    for c in range(len(tokens)):
        with torch.no_grad():
            _, cache = model.run_with_cache(tokens[c])
        inside = [(t, place[i]) for t, i in enumerate(tokens[c].gene_ids[0].tolist()) if i in place]
        for layer, block in enumerate(model.blocks):
            pattern = cache[f"blocks.{layer}.attn.hook_pattern"][0].numpy()
            for head in range(model.config.n_heads):
                moved = cache[f"blocks.{layer}.attn.hook_v"][0, :, head] @ block.attn.W_O[head]  # (token, d_model)
                norms = moved.norm(dim=-1).numpy()
                for t, g in inside:
                    for u, h in inside:
                        total[layer, head, g, h] += pattern[head, t, u] * norms[u]
    return total


def test_weighted_sums_equal_the_definition(model, mixed):
    tokens = model.tokenize(mixed)
    sums = attention_sums(model, tokens, PANEL, value_weighted=True)
    np.testing.assert_allclose(sums.weighted, readable_weighted(model, tokens, PANEL), rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(sums.sum, attention_sums(model, tokens, PANEL).sum)


def test_lift_by_hand_on_two_cells_of_different_length(model, cells):
    counts = sparse.csr_matrix(np.zeros((2, 30), np.float32)).tolil()
    counts[0, [1, 4]] = 3  # G1 and G4: 3 tokens with <cls>
    counts[1, [1, 4, 9, 20]] = 2  # 5 tokens
    tokens = model.tokenize(anndata.AnnData(counts.tocsr(), var=cells.var))
    assert tokens.lengths.tolist() == [3, 5]
    sums = attention_sums(model, tokens, ["G1", "G4", "G9"], lift=True)
    for layer, head in np.ndindex(3, 2):
        short, long = (pattern_between(model, tokens[c], ["G1", "G4", "G9"], layer, head) for c in range(2))
        wanted = np.nan_to_num(short) * 3 + long * 5
        np.testing.assert_allclose(sums.lifted[layer, head], wanted, rtol=1e-5)
    assert np.isnan(short[2]).all()
    assert not np.isnan(long).any()


def pattern_between(model, one, genes, layer, head):
    """Pattern between genes of one cell; NaN where a gene is no token of it."""
    name = f"blocks.{layer}.attn.hook_pattern"
    with torch.no_grad():
        _, cache = model.run_with_cache(one, names_filter=name)
    ids, found = one.gene_ids[0].tolist(), np.full((len(genes), len(genes)), np.nan)
    at = {g: ids.index(i) for g, i in enumerate(model.vocabulary.ids(genes).tolist()) if i in ids}
    for g, q in at.items():
        for h, k in at.items():
            found[g, h] = cache[name][0, head, q, k]
    return found


def test_a_head_that_attends_evenly_has_lift_one(mixed, model):
    even = deepcopy(model)
    for block in even.blocks:
        block.attn.W_Q.zero_()
        block.attn.b_Q.zero_()
    sums = attention_sums(even, mixed, PANEL, lift=True)
    np.testing.assert_allclose(sums.lifted, np.broadcast_to(sums.count, sums.lifted.shape), rtol=1e-5)
    np.testing.assert_allclose(sums.sum, np.broadcast_to(sums.uniform, sums.sum.shape), rtol=1e-5)


def test_lift_does_not_depend_on_batches_or_parts(model, mixed, monkeypatch):
    whole = attention_sums(model, mixed, PANEL, lift=True)
    monkeypatch.setattr(module, "PART_CELLS", 4)
    monkeypatch.setitem(module.PATTERN_ENTRIES, "cpu", 1)  # one cell at a time, never padded
    np.testing.assert_allclose(attention_sums(model, mixed, PANEL, lift=True).lifted, whole.lifted, rtol=1e-5)


def test_chosen_heads_come_in_the_order_given(model, mixed):
    whole = attention_sums(model, mixed, PANEL, value_weighted=True)
    chosen = attention_sums(model, mixed, PANEL, heads=HEADS, value_weighted=True)
    assert chosen.sum.shape == chosen.weighted.shape == (3, 5, 5)
    for place, (layer, head) in enumerate(HEADS):
        np.testing.assert_allclose(chosen.sum[place], whole.sum[layer, head], rtol=1e-5)
        np.testing.assert_allclose(chosen.weighted[place], whole.weighted[layer, head], rtol=1e-5)
        np.testing.assert_array_equal(chosen.head(layer, head), chosen.sum[place])
        np.testing.assert_array_equal(whole.head(layer, head), whole.sum[layer, head])
    with pytest.raises(InputError, match="L1H1 is not among"):
        chosen.head(1, 1)
    with pytest.raises(InputError, match="L3H0 is not among"):
        whole.head(3, 0)


def test_nothing_is_computed_after_the_last_chosen_head(model, mixed):
    called = []
    handle = model.blocks[1].attn.register_forward_hook(lambda *_: called.append(1))
    try:
        attention_sums(model, mixed, PANEL, heads=[(1, 0)])
    finally:
        handle.remove()
    assert not called


@pytest.mark.parametrize("heads", [None, HEADS])
def test_tokens_cells_files_and_parts_give_the_same_sums(model, mixed, monkeypatch, tmp_path, heads):
    options = {"heads": heads, "value_weighted": True}
    whole = attention_sums(model, model.tokenize(mixed), PANEL, **options)
    mixed.write_h5ad(tmp_path / "cells.h5ad")
    monkeypatch.setattr(module, "PART_CELLS", 4)
    for cells in (mixed, tmp_path / "cells.h5ad", model.tokenize(mixed)):
        parts = attention_sums(model, cells, PANEL, **options)
        np.testing.assert_allclose(parts.sum, whole.sum, rtol=1e-5)
        np.testing.assert_allclose(parts.weighted, whole.weighted, rtol=1e-5)
        np.testing.assert_allclose(parts.uniform, whole.uniform, rtol=1e-12)
        np.testing.assert_array_equal(parts.count, whole.count)
        assert (parts.n_cells, parts.genes, parts.heads) == (23, tuple(PANEL), whole.heads)


def test_cells_are_cut_and_seeded_as_asked(model, mixed):
    tokens = model.tokenize(mixed, seed=5, max_tokens=6)
    cut = attention_sums(model, mixed, PANEL, seed=5, max_tokens=6)
    np.testing.assert_allclose(cut.sum, attention_sums(model, tokens, PANEL).sum, rtol=1e-5)


@pytest.mark.parametrize(
    ("heads", "complaint"),
    [
        ([(3, 0)], r"\['L3H0'\] do not exist; this model has layers 0 to 2 and heads 0 to 1"),
        ([(0, 0), (1, 2)], r"\['L1H2'\] do not exist"),
        ([(-1, 0)], "do not exist"),
        ([(0, 1), (0, 1)], "given twice"),
        ([], "no head is given"),
    ],
)
def test_heads_that_cannot_be_summed_are_refused(model, mixed, heads, complaint):
    with pytest.raises(InputError, match=complaint):
        attention_sums(model, mixed, PANEL, heads=heads)


@pytest.mark.parametrize(
    ("genes", "complaint"), [([], "at least one"), ("G1", "a list"), (["G1", "G2", "G1"], "twice: G1")]
)
def test_panels_that_cannot_be_summed_are_refused(model, mixed, genes, complaint):
    with pytest.raises(InputError, match=complaint):
        attention_sums(model, mixed, genes)


def test_tokens_of_another_vocabulary_are_refused(model, mixed):
    tokens = replace(model.tokenize(mixed), vocab_sha256="other")
    with pytest.raises(InputError, match="another vocabulary"):
        attention_sums(model, tokens, PANEL)
    with pytest.raises(InputError, match="another vocabulary"):
        cell_embeddings(model, tokens)


@pytest.mark.parametrize("heads", [None, HEADS])
@pytest.mark.parametrize(
    "asked", [{}, {"value_weighted": True}, {"lift": True}, {"value_weighted": True, "lift": True}]
)
def test_saved_sums_keep_heads_and_weights(model, mixed, tmp_path, heads, asked):
    sums = attention_sums(model, mixed, PANEL, heads=heads, **asked)
    sums.save(tmp_path / "sums.zarr")
    again = AttentionSums.load(str(tmp_path / "sums.zarr"))
    for name in ("sum", "uniform", "count", "weighted", "lifted"):
        np.testing.assert_array_equal(getattr(again, name), getattr(sums, name))
    assert (again.genes, again.n_cells, again.heads) == (sums.genes, sums.n_cells, sums.heads)
    assert repr(again) == repr(sums)
    assert (again + sums).n_cells == 46


def test_sums_of_other_heads_or_weights_are_not_added(model, mixed):
    sums = attention_sums(model, mixed, PANEL, heads=HEADS)
    for options in (
        {"heads": HEADS[::-1]},
        {"heads": HEADS, "value_weighted": True},
        {"heads": HEADS, "lift": True},
        {},
    ):
        with pytest.raises(InputError, match="cannot be added"):
            sums + attention_sums(model, mixed, PANEL, **options)


def test_subset_keeps_heads_and_weights(model, mixed):
    sums = attention_sums(model, mixed, PANEL, heads=HEADS, value_weighted=True, lift=True)
    part = sums.subset(["G9", "G4"])
    np.testing.assert_array_equal(part.lifted[:, 1, 0], sums.lifted[:, 0, 3])
    np.testing.assert_array_equal(part.weighted[:, 0, 1], sums.weighted[:, 3, 0])
    assert part.heads == sums.heads


@pytest.mark.parametrize("damage", ["remove", "flip", "cut", "array"])
def test_damaged_sums_are_refused(model, mixed, tmp_path, damage):
    attention_sums(model, mixed, PANEL).save(tmp_path / "sums")
    for name in ("sum", "uniform", "count"):
        folder = tmp_path / name
        shutil.copytree(tmp_path / "sums", folder)
        chunk = next(item for item in sorted((folder / name / "c").rglob("*")) if item.is_file())
        data = bytearray(chunk.read_bytes())
        data[len(data) // 2] ^= 16
        if damage == "remove":
            chunk.unlink()
        elif damage == "array":
            shutil.rmtree(folder / name)
        else:
            chunk.write_bytes(data if damage == "flip" else data[:-3])
        with pytest.raises(StoreError, match="is damaged or gone"):
            AttentionSums.load(folder)


def test_sums_of_the_schema_before_lift_are_read_and_of_the_next_refused(model, mixed, tmp_path):
    sums = attention_sums(model, mixed, PANEL)
    sums.save(tmp_path / "sums")
    for schema in (3, 5):
        zarr.open_group(tmp_path / "sums", mode="r+").attrs["schema"] = schema
        if schema == 3:
            np.testing.assert_array_equal(AttentionSums.load(tmp_path / "sums").sum, sums.sum)
        else:
            with pytest.raises(StoreError, match="has schema 5, this version reads 3 and 4"):
                AttentionSums.load(tmp_path / "sums")


def test_zero_sums_are_not_taken_for_lost_ones(model, mixed, tmp_path):
    cells = mixed[7:8]  # it expresses nothing
    attention_sums(model, cells, PANEL).save(tmp_path / "sums")
    assert AttentionSums.load(tmp_path / "sums").sum.max() == 0


def test_a_full_disk_leaves_the_sums_that_were_there(model, mixed, monkeypatch, tmp_path):
    attention_sums(model, mixed, PANEL).save(tmp_path / "sums")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(zarr_files, "_put", full)
        with pytest.raises(StoreError, match="No space left"):
            attention_sums(model, mixed[:3], PANEL).save(tmp_path / "sums")
    assert AttentionSums.load(tmp_path / "sums").n_cells == 23
    assert [item.name for item in tmp_path.iterdir()] == ["sums"]


def test_a_store_of_activations_is_no_sums(model, mixed, tmp_path):
    capture(model, mixed, out=tmp_path / "store")
    with pytest.raises(StoreError, match="something else than attention sums"):
        AttentionSums.load(tmp_path / "store")


def test_saved_sums_are_the_same(model, cells, tmp_path):
    sums = attention_sums(model, model.tokenize(cells), PANEL)
    sums.save(tmp_path / "sums.zarr")
    again = AttentionSums.load(tmp_path / "sums.zarr")
    np.testing.assert_array_equal(again.sum, sums.sum)
    np.testing.assert_array_equal(again.count, sums.count)
    assert (again.genes, again.n_cells) == (sums.genes, sums.n_cells)


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(StoreError, match="no attention sums"):
        AttentionSums.load(tmp_path)
