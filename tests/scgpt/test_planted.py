"""The planted head does what is said of it by hand-made sums, and nothing else of the model has to do with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp.errors import InputError
from interp.scgpt.planted import MARKER_SCORE, VALUE_SCORE, WRITTEN, Directions, planted_model

SYMBOLS = [f"GENE{number}" for number in range(30)]
GENES = ("GENE3", "GENE17")
LOW, HIGH = 4.0, 47.0
STATES = [(LOW, LOW), (LOW, HIGH), (HIGH, LOW), (HIGH, HIGH)]
PLACES = [(1, 2), (2, 0)]


def tokens(model, n=1, seed=0):
    """Cells in all four states, `n` of each: ids, values and padding, other genes and values drawn."""
    rng, vocabulary = np.random.default_rng(seed), model.vocabulary
    ids, values = [], []
    for state in STATES * n:
        others = rng.choice([gene for gene in SYMBOLS if gene not in GENES], 18, replace=False)
        ids.append([vocabulary.cls_id, *vocabulary.ids([*GENES, *others])])
        values.append([model.config.pad_value, *state, *rng.integers(1, 51, 18)])
    padding = torch.zeros(len(ids), 21, dtype=torch.bool)
    padding[::2, -4:] = True
    return torch.tensor(np.array(ids)), torch.tensor(np.array(values), dtype=torch.float32), padding


def z_of(model, given, layer):
    return model.run_with_cache(*given, names_filter=f"blocks.{layer}.attn.hook_z")[1][f"blocks.{layer}.attn.hook_z"]


def contrast(z):
    """Interaction of the two genes in some numbers per cell, (cell, ...), in units of their spread within states."""
    by_state = z.reshape(-1, 4, *z.shape[1:])
    sign = torch.tensor([1.0, -1.0, -1.0, 1.0]).reshape(1, 4, *[1] * (z.ndim - 1))
    return (by_state * sign).sum(1).mean(0).abs() / by_state.std(0).mean(0).clamp_min(1e-6)


@pytest.mark.parametrize("place", PLACES)
def test_the_head_is_a_softmax_over_markers_and_values(place):
    layer, head = place
    model, directions = planted_model(SYMBOLS, GENES, place, seed=1), Directions.draw(32, 1)
    padding = (given := tokens(model))[2]
    names = [f"blocks.{layer}.hook_resid_pre", f"blocks.{layer}.attn.hook_z", f"blocks.{layer}.attn.hook_result"]
    _, cache = model.run_with_cache(*given, names_filter=names)
    x, z, result = (cache[name] for name in names)
    scores = MARKER_SCORE * x @ directions.marker + VALUE_SCORE * x @ directions.ramp
    weight = scores.masked_fill(padding, -torch.inf).softmax(1)
    expected = (weight * (x @ directions.ramp)).sum(1)
    torch.testing.assert_close(z[:, :, head, 0], expected[:, None].expand(z.shape[:2]), atol=1e-4, rtol=1e-4)
    assert (z[:, :, head, 1:] == 0).all()
    assert weight[:, 1:3].sum(1).min() > 0.99  # the two genes alone
    torch.testing.assert_close(result[:, :, head], WRITTEN * z[:, :, head, :1] * directions.out)


@pytest.mark.parametrize("place", PLACES)
def test_its_z_is_the_maximum_of_the_two_values(place):
    model = planted_model(SYMBOLS, GENES, place)
    z = z_of(model, tokens(model, n=10), place[0])[:, 0, place[1], 0].reshape(-1, 4)
    low, high = z[:, 0], z[:, 1:]
    assert low.max() < high.min() - 1.0
    assert high.std() < 0.2 * (high.mean() - low.mean())


@pytest.mark.parametrize("place", PLACES)
def test_no_other_head_has_the_interaction(place):
    model, plain = (planted_model(SYMBOLS, GENES, where) for where in (place, None))
    given = tokens(model, n=200)
    found = torch.stack([contrast(z_of(model, given, layer)[:, 0]).amax(-1) for layer in range(3)])
    without = torch.stack([contrast(z_of(plain, given, layer)[:, 0]).amax(-1) for layer in range(3)])
    assert found[place] > 10.0
    assert without.max() < 0.8  # the largest of 96 means of four times 200 draws: sd 2 / sqrt(200)
    others = torch.ones(3, 4, dtype=torch.bool)
    others[place] = False
    assert found[others].max() < 0.8


@pytest.mark.parametrize("place", PLACES)
def test_without_the_edit_the_model_is_the_same_but_for_the_head(place):
    layer, head = place
    model, plain = (planted_model(SYMBOLS, GENES, where) for where in (place, None))
    for (name, ours), theirs in zip(model.named_parameters(), plain.parameters(), strict=True):
        differ = (ours != theirs).flatten(1).any(1) if ours.ndim > 1 else (ours != theirs)
        own = name.startswith(f"blocks.{layer}.attn.") and name.rsplit(".", 1)[-1][0] in "Wb"
        assert not differ.any() or (own and differ.nonzero().flatten().tolist() == [head]), name


def test_nobody_else_reads_or_writes_the_free_directions():
    model, directions = planted_model(SYMBOLS, GENES, (1, 2)), Directions.draw(32, 0)
    given = tokens(model)
    _, cache = model.run_with_cache(*given)
    for layer in range(3):
        written = cache[f"blocks.{layer}.attn.hook_result"].clone()
        if layer == 1:
            written[:, :, 2] = 0.0
        for part in (written, cache[f"blocks.{layer}.hook_mlp_out"]):
            assert (part @ directions.all.T).abs().max() < 1e-5
    marked = cache["blocks.2.hook_resid_post"] @ directions.marker
    assert marked[:, 1:3].min() > 1.0
    assert marked[:, [0, *range(3, 17)]].abs().max() < 1e-4
    moved = cache["blocks.1.hook_resid_pre"] + 5.0 * directions.out
    attention, mlp = model.blocks[2].attn, model.blocks[2].mlp
    for layer_of in (lambda x: attention(x, None), mlp):
        torch.testing.assert_close(layer_of(moved), layer_of(cache["blocks.1.hook_resid_pre"]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("place", PLACES)
def test_later_heads_hardly_notice(place):
    model = planted_model(SYMBOLS, GENES, place)
    given = tokens(model, n=10)
    name = f"blocks.{place[0]}.attn.hook_z"

    def silence(z, hook):
        z = z.clone()
        z[:, :, place[1]] = 0.0
        return z

    with model.hooks([(name, silence)]):
        _, cache = model.run_with_cache(*given)
    _, intact = model.run_with_cache(*given)
    last = "blocks.2.hook_resid_post"
    out = Directions.draw(32, 0).out
    assert (cache[last][:, 0] @ out).abs().max() < 1e-5 < 0.1 < (intact[last][:, 0] @ out).abs().max()
    for layer in range(place[0] + 1, 3):
        z, before = (c[f"blocks.{layer}.attn.hook_z"][:, 0] for c in (cache, intact))
        assert (z - before).abs().max() < 0.2 * before.std(0).mean()


def test_seeds_draw_other_models_and_repeat_themselves():
    one, same, other = (planted_model(SYMBOLS, GENES, (1, 2), seed=seed) for seed in (0, 0, 1))
    torch.testing.assert_close(one.state_dict(), same.state_dict(), rtol=0, atol=0)
    assert not torch.equal(one.blocks[0].attn.W_V, other.blocks[0].attn.W_V)


@pytest.mark.parametrize(
    ("genes", "place", "message"),
    [
        (("GENE1", "GENE1"), None, "two different genes"),
        (("GENE1", "CD4"), None, "two different genes of the vocabulary"),
        (GENES, (3, 0), "no head"),
        (GENES, (1, 4), "no head"),
        (GENES, (-1, 0), "no head"),
    ],
)
def test_bad_input_is_said(genes, place, message):
    with pytest.raises(InputError, match=message):
        planted_model(SYMBOLS, genes, place)
