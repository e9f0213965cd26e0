from __future__ import annotations

import numpy as np
import pytest
import torch

from interp.capture import AttentionSums, attention_sums
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
