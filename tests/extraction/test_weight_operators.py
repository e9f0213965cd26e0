"""Operators of weights against readable loops over the model's own parameters."""

import math

import numpy as np
import pytest
import torch

from interp.errors import InputError, VocabularyError
from interp.extraction.operators import ModelWeights, Operator, weight_operators
from interp.extraction.weight_operators import needed_weights
from interp.scgpt.config import ScGPTConfig
from interp.scgpt.model import HookedScGPT

PANEL = ["G3", "G17", "G0", "G29", "G8", "G5", "G11"]


@pytest.fixture(scope="module")
def operators(small_model):
    found = {one.name: one for one in weight_operators(ModelWeights.of(small_model, PANEL), provenance={"a": 1})}
    assert len(found) == 3 * 2 * 2 * 2 + 2
    return found


def normed_embedding(model, gene):
    """LayerNorm by its definition."""
    raw = model.encoder.embedding.weight[model.vocabulary.ids([gene])[0]].double()
    scale = (raw.var(unbiased=False) + model.config.eps).sqrt()
    return (raw - raw.mean()) / scale * model.encoder.enc_norm.weight.double() + model.encoder.enc_norm.bias.double()


@pytest.mark.parametrize("kind", ["qk", "ov"])
def test_head_circuits_equal_a_loop_over_genes_and_weights(small_model, operators, kind):
    for layer, head in np.ndindex(3, 2):
        attn = small_model.blocks[layer].attn
        wanted = np.zeros((len(PANEL), len(PANEL)))
        for i, query in enumerate(PANEL):
            for j, key in enumerate(PANEL):
                one, other = normed_embedding(small_model, query), normed_embedding(small_model, key)
                if kind == "qk":
                    q, k = one @ attn.W_Q[head].double(), other @ attn.W_K[head].double()
                    wanted[i, j] = (q @ k) / math.sqrt(4)
                else:
                    wanted[i, j] = (one @ attn.W_V[head].double() @ attn.W_O[head].double()) @ other
        found = operators[f"L{layer}H{head}.{kind}.out"]
        np.testing.assert_allclose(found.matrix, wanted, rtol=1e-5, atol=1e-6)
        assert found.heads == ((layer, head),)
        turned = operators[f"L{layer}H{head}.{kind}.in"]
        np.testing.assert_allclose(turned.feature_map, wanted.T, rtol=1e-5, atol=1e-6)


def test_qk_is_the_score_of_the_first_layer_without_biases_and_values(small_model, operators):
    """Where the token is the gene's vector alone, the model's own scores are the operator."""
    embedding = small_model.encoder(torch.from_numpy(small_model.vocabulary.ids(PANEL)))[None]
    attn = small_model.blocks[0].attn
    kept = attn.b_Q.clone(), attn.b_K.clone()
    seen = {}
    try:
        attn.b_Q.zero_(), attn.b_K.zero_()
        attn.hook_attn_scores.add_hook(lambda scores, hook: seen.update(scores=scores[0]))
        attn(embedding, None)
    finally:
        attn.hook_attn_scores.remove_hooks()
        attn.b_Q.copy_(kept[0]), attn.b_K.copy_(kept[1])
    for head in range(2):
        found = operators[f"L0H{head}.qk.out"].matrix
        np.testing.assert_allclose(found, seen["scores"][head].numpy(), rtol=1e-4, atol=1e-5)


def test_rank_is_at_most_the_width_of_a_head(operators):
    for name, operator in operators.items():
        limit = 8 if "gram" in name else 4
        values = np.linalg.svd(operator.matrix, compute_uv=False)
        assert (values[limit:] < 1e-10 * values[0]).all()
        assert (values[: min(limit, 7)] > 1e-6 * values[0]).all()
        assert operator.left.shape[1] == limit
        assert operator.spectrum.rank == min(limit, 7)


def test_gram_is_the_inner_product_of_gene_embeddings(small_model, operators):
    vectors = torch.stack([normed_embedding(small_model, gene) for gene in PANEL]).numpy()
    np.testing.assert_allclose(operators["gram.out"].matrix, vectors @ vectors.T, rtol=1e-5, atol=1e-5)


def test_mvc_gram_is_that_of_the_decoders_queries(small_model, operators):
    ids = torch.from_numpy(small_model.vocabulary.ids(PANEL))[None]
    _, cache = small_model.run_with_cache(ids, torch.ones(1, len(PANEL)), names_filter="mvc_decoder.hook_query")
    queries = cache["mvc_decoder.hook_query"][0].double().numpy()
    np.testing.assert_allclose(operators["mvc_gram.out"].matrix, queries @ queries.T, rtol=1e-5)
    assert operators["mvc_gram.out"].heads == ()


def test_both_orientations_of_a_symmetric_operator_agree(operators):
    x = np.random.default_rng(0).random((5, len(PANEL)))
    for name, operator in operators.items():
        alike = np.allclose(operator.apply(x, "out"), operator.apply(x, "in"))
        assert alike == operator.support.symmetric == ("gram" in name)
    assert not {"gram.in", "mvc_gram.in"} & set(operators)


def test_weights_of_a_subset_give_the_block_of_its_genes(small_model, operators):
    part = weight_operators(ModelWeights.of(small_model, PANEL).subset(["G29", "G3"]))
    for operator in part:
        whole = operators[operator.name].matrix[np.ix_([3, 0], [3, 0])]
        np.testing.assert_allclose(operator.matrix, whole, rtol=1e-12)
        assert operator.genes == ("G29", "G3")
    with pytest.raises(InputError, match="1 genes are not among these weights, such as"):
        ModelWeights.of(small_model, PANEL).subset(["G1", "G3"])


def test_they_are_saved_as_factors(tmp_path, operators):
    for name in ("L1H1.ov.in", "mvc_gram.out"):
        again = Operator.load(operators[name].save(tmp_path / "x.safetensors"))
        assert again.factored
        np.testing.assert_array_equal(again.matrix, operators[name].matrix)
        assert again.provenance == {"a": 1}


def test_a_model_without_gene_queries_has_no_mvc_gram(small_model):
    for options in ({"mvc": False}, {"mvc_style": "sum query"}):
        sizes = {"n_vocab": 33, "n_layers": 1, "n_heads": 2, "d_model": 8, "d_hid": 8}
        model = HookedScGPT(ScGPTConfig(**sizes, **options), small_model.vocabulary)
        model = model.initialize(torch.Generator().manual_seed(0)).requires_grad_(requires_grad=False)
        weights = ModelWeights.of(model, PANEL)
        assert weights.queries is None
        with pytest.raises(InputError, match="leave mvc_gram out"):
            weight_operators(weights)
        with pytest.raises(InputError, match="leave mvc_gram out"):
            needed_weights(model, PANEL, ["mean", "mvc_gram"])
        assert [one.name for one in weight_operators(weights, kinds=["gram", "mean"])] == ["gram.out"]


def test_weights_are_read_where_a_kind_needs_them(small_model):
    assert needed_weights(small_model, PANEL, ["mean", "sum", "drift"]) is None
    assert needed_weights(small_model, PANEL, ["mean", "ov"]).genes == tuple(PANEL)
    with pytest.raises(VocabularyError):
        ModelWeights.of(small_model, ["NOT_A_GENE"])
