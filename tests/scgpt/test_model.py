"""Hooks, patterns and the two ways of attention; equality with scGPT itself is in test_parity.py."""

import math

import pytest
import torch

from interp.errors import InputError

IDS = torch.tensor([[38, 3, 5, 7, 11], [38, 4, 9, 37, 37], [38, 37, 37, 37, 37]])
VALUES = torch.tensor([[-2.0, 1, 50, 7, -1], [-2, 12, 3, -2, -2], [-2, -2, -2, -2, -2]])
PADDING = IDS == 37
BATCH = (IDS, VALUES, PADDING)
OUTPUTS = ("resid", "cell", "expression", "mvc")


def live_hooks(model):
    return [name for name, point in model.hook_dict.items() if point.fwd_hooks or point.bwd_hooks]


def test_the_output_has_the_stated_shapes(model):
    output = model(*BATCH)
    assert output.resid.shape == (3, 5, 16)
    assert torch.equal(output.cell, output.resid[:, 0])
    assert output.expression.shape == output.mvc.shape == (3, 5)


def test_patterns_sum_to_one_and_leave_padding_out(model):
    _, cache = model.run_with_cache(*BATCH, names_filter=lambda name: name.endswith("hook_pattern"))
    for layer in range(2):
        pattern = cache[f"blocks.{layer}.attn.hook_pattern"]
        torch.testing.assert_close(pattern.sum(-1), torch.ones(3, 2, 5), atol=1e-6, rtol=0)
        assert (pattern.transpose(1, 3)[PADDING] == 0).all()  # (cell, key, query, head)
        assert (pattern[2, :, :, 0] == 1).all()  # a cell of <cls> alone attends to it


def test_a_pattern_is_the_softmax_of_its_queries_and_keys(model):
    _, cache = model.run_with_cache(*BATCH)
    q, k = (cache[f"blocks.1.attn.hook_{name}"][0, :, 1] for name in "qk")  # cell 0, head 1
    expected = torch.softmax(q @ k.T / math.sqrt(8), -1)
    torch.testing.assert_close(cache["blocks.1.attn.hook_pattern"][0, 1], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("hooked", ["hook_pattern", "hook_attn_scores", "hook_result"])
def test_explicit_and_fused_attention_agree(model, hooked):
    fused = model(*BATCH)
    explicit, _ = model.run_with_cache(*BATCH, names_filter=lambda name: name.endswith(hooked))
    for name in OUTPUTS:
        torch.testing.assert_close(getattr(explicit, name), getattr(fused, name), atol=1e-5, rtol=1e-5)


def test_head_results_sum_to_the_attention_output(model):
    _, cache = model.run_with_cache(*BATCH)
    total = cache["blocks.0.attn.hook_result"].sum(2) + model.blocks[0].attn.b_O
    torch.testing.assert_close(total, cache["blocks.0.hook_attn_out"], atol=1e-5, rtol=1e-5)


def test_padding_changes_nothing_for_the_tokens_before_it(model):
    padded, alone = model(*BATCH), model(IDS[1:2, :3], VALUES[1:2, :3], PADDING[1:2, :3])
    torch.testing.assert_close(padded.resid[1, :3], alone.resid[0], atol=1e-5, rtol=1e-5)


def test_an_ablation_acts_on_its_head_and_leaves_no_hook(model):
    def silence(z, hook):
        z[:, :, 1] = 0
        return z

    before = model(*BATCH)
    ablated = model.run_with_hooks(*BATCH, fwd_hooks=[("blocks.0.attn.hook_z", silence)])
    assert (ablated.cell - before.cell).abs().max() > 1e-3
    assert live_hooks(model) == []
    assert torch.equal(model(*BATCH).cell, before.cell)


def test_an_ablation_equals_a_model_without_the_head(model):
    def silence(z, hook):
        z[:, :, 1] = 0
        return z

    ablated = model.run_with_hooks(*BATCH, fwd_hooks=[("blocks.0.attn.hook_z", silence)])
    model.blocks[0].attn.W_O[1] = 0
    torch.testing.assert_close(model(*BATCH).resid, ablated.resid, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("site", ["blocks.0.attn.hook_pattern", "blocks.1.attn.hook_z", "hook_embed"])
def test_a_hook_that_raises_leaves_no_hook(model, site):
    def fail(value, hook):
        msg = "on purpose"
        raise RuntimeError(msg)

    before = model(*BATCH)
    with pytest.raises(RuntimeError, match="on purpose"):
        model.run_with_hooks(*BATCH, fwd_hooks=[(site, fail)])
    assert live_hooks(model) == []
    assert not any(block.attn.explicit for block in model.blocks)
    assert torch.equal(model(*BATCH).resid, before.resid)


def test_a_cached_run_leaves_no_hook(model):
    model.run_with_cache(*BATCH)
    assert live_hooks(model) == []


def test_a_pattern_hook_changes_what_the_layer_does(model):
    def uniform(pattern, hook):
        return torch.where(pattern > 0, 1.0, 0.0) / (pattern > 0).sum(-1, keepdim=True)

    _, cache = model.run_with_cache(*BATCH)
    z = None

    def keep(value, hook):
        nonlocal z
        z = value

    hooks = [("blocks.0.attn.hook_pattern", uniform), ("blocks.0.attn.hook_z", keep)]
    model.run_with_hooks(*BATCH, fwd_hooks=hooks)
    mean_value = cache["blocks.0.attn.hook_v"][0].mean(0)  # cell 0 has no padding: every query sees the plain mean
    torch.testing.assert_close(z[0], mean_value.expand(5, 2, 8), atol=1e-6, rtol=1e-5)


def test_gene_ids_without_values_are_refused(model):
    with pytest.raises(InputError, match="without values"):
        model(IDS)
