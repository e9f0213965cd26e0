"""Candidates of a split, from attention of the other folds and from weights."""

from types import SimpleNamespace

import anndata
import numpy as np
import pandas as pd
import pytest

from interp.capture import attention_sums
from interp.errors import InputError
from interp.evidence import Candidates, randomised
from interp.evidence.controls import GENES as GENES_PERMUTED
from interp.extraction.crossfit import CrossFit
from interp.extraction.operators import KINDS, ModelWeights, attention_operators, weight_operators
from interp.scgpt.load import untrained_like
from interp.stats import Split

UNION = [f"G{i}" for i in range(12)]
GENES = {"fold0": UNION[:9], "fold1": UNION[3:]}
SPLITS = [
    Split("fold0", ("b",), ("a",), np.arange(4, 9), np.arange(4)),
    Split("fold1", ("a",), ("b",), np.arange(4), np.arange(4, 9)),
]


@pytest.fixture(scope="module")
def tokens(small_model):
    counts = np.random.default_rng(0).poisson(1.0, (9, 30)).astype(np.float32)
    return small_model.tokenize(anndata.AnnData(counts, var=pd.DataFrame(index=[f"G{i}" for i in range(30)])))


@pytest.fixture(scope="module")
def anchors():
    return SimpleNamespace(features=np.random.default_rng(1).random((5, 12)), genes=tuple(UNION))


def crossfit(model, tokens, anchors, *, weights=None, parts=None, **options):
    # the sums of a fold are over the cells of its test donors
    sums = {split.id: attention_sums(model, tokens[split.test], UNION, **(parts or {})) for split in SPLITS}
    return CrossFit(sums, GENES, anchors, weights=weights, **options)


def everything(model, tokens, anchors):
    parts = {"value_weighted": True, "lift": True}
    return crossfit(
        model,
        tokens,
        anchors,
        weights=ModelWeights.of(model, UNION),
        parts=parts,
        kinds=KINDS,
        provenance={"model": "m"},
    )


@pytest.fixture(scope="module")
def source(small_model, tokens, anchors):
    return everything(small_model, tokens, anchors)


def test_the_default_is_mean_sum_and_drift(small_model, tokens, anchors):
    names = [operator.name for operator in crossfit(small_model, tokens, anchors).operators(SPLITS[0])]
    heads = [f"L{layer}H{head}" for layer in range(3) for head in range(2)]
    wanted = [f"{head}.{kind}.{turned}" for head in heads for kind in ("mean", "sum") for turned in ("out", "in")]
    assert names == [*wanted, "drift.mean.out", "drift.sum.out"]


def test_candidates_come_from_the_other_folds_on_the_genes_of_the_split(small_model, tokens, source):
    for split in SPLITS:
        training = attention_sums(small_model, tokens[split.train], GENES[split.id], value_weighted=True, lift=True)
        wanted = attention_operators(training, kinds=KINDS)
        wanted += weight_operators(ModelWeights.of(small_model, GENES[split.id]))
        found = source.operators(split)
        assert [one.name for one in found] == [one.name for one in wanted]
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one.matrix, other.matrix, rtol=1e-5, atol=1e-7)
            assert one.genes == tuple(GENES[split.id])
            assert one.provenance == {"model": "m", "split": split.id}
        np.testing.assert_array_equal(source.counts(split), training.count)


def test_every_kind_is_there_and_names_are_unique(source):
    names = [operator.name for operator in source.operators(SPLITS[0])]
    assert len(set(names)) == len(names)
    per_head = 4 + 2  # of attention and of weights, each in both orientations
    assert len(names) == 6 * per_head * 2 + 4 * 3 * 2 + 4 + 2


def test_an_untrained_model_goes_through_the_very_same_list(small_model, tokens, anchors, source):
    untrained = everything(untrained_like(small_model, seed=1), tokens, anchors)
    for split in SPLITS:
        own, other = source.operators(split), untrained.operators(split)
        assert [(one.name, one.kind, one.matrix.shape) for one in own] == [
            (one.name, one.kind, one.matrix.shape) for one in other
        ]
        assert not any(np.allclose(one.matrix, two.matrix) for one, two in zip(own, other, strict=True))


def test_random_controls_take_every_kind(source):
    candidates = Candidates("chosen", source.operators, source.expression)
    control = randomised(candidates, GENES_PERMUTED, 0, seed=0)
    assert control.names(SPLITS[0]) == candidates.names(SPLITS[0])
    for own, drawn in zip(source.operators(SPLITS[0]), control.operators(SPLITS[0]), strict=True):
        assert not drawn.factored
        assert not np.allclose(own.matrix, drawn.matrix)
        values = np.linalg.svd(own.matrix)[1]
        np.testing.assert_allclose(np.linalg.svd(drawn.matrix)[1], values, atol=1e-6 * values[0])  # in float32


def test_what_the_kinds_are_made_of_must_be_there(small_model, tokens, anchors):
    with pytest.raises(InputError, match=r"qk are made of weights; give `weights`"):
        crossfit(small_model, tokens, anchors, kinds=("mean", "qk")).operators(SPLITS[0])
    with pytest.raises(InputError, match="lift=True"):
        crossfit(small_model, tokens, anchors, kinds=("lift",)).operators(SPLITS[0])


def test_bytes_count_what_is_held(small_model, tokens, anchors, source):
    plain = crossfit(small_model, tokens, anchors)
    one = next(iter(plain.sums.values()))
    assert one.nbytes == (6 + 2) * 12 * 12 * 8
    assert plain.nbytes == 5 * one.nbytes
    assert source.nbytes == 5 * (18 + 2) * 12 * 12 * 8 + source.weights.nbytes
