"""Operators of attention sums: what is listed, what each kind is by hand, what is pooled."""

from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest
import torch

from interp.capture import AttentionSums, attention_sums
from interp.errors import InputError
from interp.extraction.operators import attention_operators, operators_from_sums

GENES = ("A", "B", "C")


@pytest.fixture
def sums():
    return np.random.default_rng(0).random((3, 2, 3, 3))


@pytest.fixture
def count():
    return np.array([[4, 2, 0], [2, 5, 1], [0, 1, 2]])


@pytest.fixture
def all_sums(sums, count):
    """Sums with every optional part."""
    rng = np.random.default_rng(1)
    return AttentionSums(
        sums, rng.random((3, 3)), count, GENES, 7, None, rng.random(sums.shape), rng.random(sums.shape)
    )


def by_name(operators):
    found = {operator.name: operator for operator in operators}
    assert len(found) == len(operators)
    return found


def test_by_default_every_head_kind_and_orientation_and_one_drift_per_kind(all_sums):
    operators = attention_operators(all_sums)
    names = [f"L{layer}H{head}.{kind}.{turned}" for layer in range(3) for head in range(2) for kind in ("mean", "sum")
             for turned in ("out", "in")]  # fmt: skip
    assert [operator.name for operator in operators] == [*names, "drift.mean.out", "drift.sum.out"]
    assert by_name(operators)["L2H1.sum.in"].heads == ((2, 1),)
    assert len(by_name(operators)["drift.mean.out"].heads) == 6
    assert all(operator.n_cells == 7 and operator.genes == GENES for operator in operators)


def test_bare_arrays_give_the_same_list(all_sums, sums, count):
    wanted = attention_operators(all_sums, provenance={"split": "fold0"})
    found = operators_from_sums(sums, count, GENES, n_cells=7, provenance={"split": "fold0"})
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one.matrix, other.matrix)
        assert (one.name, one.provenance) == (other.name, {"split": "fold0"})


@pytest.mark.parametrize(
    ("kind", "source"), [("mean", "sum"), ("sum", "sum"), ("lift", "lifted"), ("value_weighted", "weighted")]
)
def test_a_kind_is_its_sum_divided_where_both_genes_were_tokens(all_sums, kind, source):
    operators = by_name(attention_operators(all_sums, kinds=[kind]))
    assert len(operators) == 12
    x = np.random.default_rng(2).random((4, 3))
    for layer, head in np.ndindex(3, 2):
        wanted = getattr(all_sums, source)[layer, head].copy()
        for row, column in np.ndindex(3, 3):
            wanted[row, column] /= max(all_sums.count[row, column], 1) if kind != "sum" else 1
        np.testing.assert_allclose(operators[f"L{layer}H{head}.{kind}.out"].matrix, wanted)
        np.testing.assert_allclose(operators[f"L{layer}H{head}.{kind}.in"].apply(x), x @ wanted.T)


@pytest.mark.parametrize(("n_layers", "thirds"), [(3, [[0], [1], [2]]), (4, [[0, 1], [2], [3]])])
def test_pooled_blocks_are_the_means_of_the_thirds_and_the_drift_their_difference(count, n_layers, thirds):
    rng = np.random.default_rng(1)
    sums, lifted, x = rng.random((n_layers, 2, 3, 3)), rng.random((n_layers, 2, 3, 3)), rng.random((4, 3))
    parts = AttentionSums(sums, count / 9, count, GENES, 7, lifted=lifted)
    operators = by_name(attention_operators(parts, kinds=("mean", "lift", "pooled", "drift")))
    for kind, array in (("mean", sums), ("lift", lifted)):
        blocks = [array[layers].mean(axis=(0, 1)) / np.maximum(count, 1) for layers in thirds]
        for name, block, layers in zip(("early", "mid", "late"), blocks, thirds, strict=True):
            np.testing.assert_allclose(operators[f"{name}.{kind}.out"].matrix, block)
            np.testing.assert_allclose(operators[f"{name}.{kind}.in"].apply(x), x @ block.T)
            heads = tuple((layer, head) for layer in layers for head in range(2))
            assert operators[f"{name}.{kind}.out"].heads == heads
        early, mid, late = blocks
        drift = operators[f"drift.{kind}.out"]
        np.testing.assert_allclose(drift.apply(x), np.hstack([x @ early - x @ mid, x @ mid - x @ late]))
        turned = np.hstack([x @ (early - mid).T, x @ (mid - late).T])
        np.testing.assert_allclose(drift.apply(x, "in"), turned)
    assert len(operators) == 2 * (n_layers * 2 * 2 + 6 + 1)


def test_two_layers_or_chosen_heads_pool_nothing(all_sums, sums, count):
    kinds = ("mean", "pooled", "drift")
    of_two = attention_operators(replace(all_sums, sum=sums[:2]), kinds=kinds)
    chosen = attention_operators(AttentionSums(sums[1], count / 9, count, GENES, 7, ((1, 0), (1, 1))), kinds=kinds)
    assert [operator.name.split(".")[0] for operator in of_two[::2]] == ["L0H0", "L0H1", "L1H0", "L1H1"]
    assert [operator.name for operator in chosen] == ["L1H0.mean.out", "L1H0.mean.in", "L1H1.mean.out", "L1H1.mean.in"]
    np.testing.assert_array_equal(chosen[2].matrix, by_name(of_two)["L1H1.mean.out"].matrix)


def test_matrices_are_made_on_demand_and_never_copied_into_the_list(sums, count):
    operators = by_name(operators_from_sums(sums, count, GENES))
    before = operators["L0H0.mean.out"].matrix
    sums[0, 0] *= 2
    np.testing.assert_allclose(operators["L0H0.mean.out"].matrix, 2 * before)
    assert np.shares_memory(operators["L0H0.sum.out"].matrix, sums)


def test_rows_of_sum_over_all_keys_are_detection_counts(small_model):
    """All genes of the tokens are in the panel, so what a row lacks is what went to <cls>."""
    rng, genes = np.random.default_rng(0), [f"G{i}" for i in range(30)]
    counts = rng.poisson(rng.uniform(0.1, 2.0, (9, 1)), (9, 30)).astype(np.float32)
    tokens = small_model.tokenize(anndata.AnnData(counts, var=pd.DataFrame(index=genes)))
    sums = attention_sums(small_model, tokens, genes)
    with torch.no_grad():
        _, cache = small_model.run_with_cache(tokens, names_filter=lambda name: name.endswith("pattern"))
    ids = small_model.vocabulary.ids(genes)
    for operator in attention_operators(sums, kinds=["sum"])[::2]:
        layer, head = operator.heads[0]
        to_cls = cache[f"blocks.{layer}.attn.hook_pattern"][:, head, :, 0].numpy()
        lacking = np.array([to_cls[tokens.gene_ids.numpy() == i].sum() for i in ids])
        np.testing.assert_allclose(operator.matrix.sum(axis=1) + lacking, (counts > 0).sum(axis=0), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s, c, a: operators_from_sums(s, c, GENES, kinds=["median"]), "no operator kind 'median'"),
        (lambda s, c, a: operators_from_sums(s, c, ("A", "B")), "do not fit 2 genes"),
        (lambda s, c, a: attention_operators(a, kinds=["mean", "mean"]), "give each once"),
        (lambda s, c, a: attention_operators(a, kinds=[]), "at least one of"),
        (lambda s, c, a: attention_operators(a, kinds=["pooled", "qk"]), "pooled pool attention over heads: add one"),
        (lambda s, c, a: attention_operators(replace(a, lifted=None), kinds=["lift"]), "lift=True"),
        (lambda s, c, a: attention_operators(replace(a, weighted=None), kinds=["value_weighted"]), "weighted=True"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(sums, count, all_sums, call, message):
    with pytest.raises(InputError, match=message):
        call(sums, count, all_sums)
