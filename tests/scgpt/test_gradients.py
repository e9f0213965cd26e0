"""Gradients of outputs with respect to activations, in a model whose weights are frozen."""

import pytest
import torch

from interp.errors import InputError

IDS = torch.tensor([[38, 3, 5, 7, 11], [38, 4, 9, 37, 37]])
BATCH = (IDS, torch.tensor([[-2.0, 1, 50, 7, -1], [-2, 12, 3, -2, -2]]), IDS == 37)
DIRECTION = torch.linspace(-1, 1, 16)
EVERYWHERE = [
    "encoder.enc_norm.hook_in", "value_encoder.hook_hidden_pre", "blocks.0.hook_resid_pre",
    "blocks.0.attn.hook_pattern", "blocks.0.attn.hook_z", "blocks.1.attn.hook_result", "blocks.1.mlp.hook_post",
    "blocks.1.ln2.hook_scale", "hook_cell",
]  # fmt: skip


def metric(output):
    return output.cell @ DIRECTION.to(output.cell) @ torch.tensor([1.0, 0.5]).to(output.cell)


@pytest.mark.parametrize("name", EVERYWHERE)
def test_a_cached_gradient_is_the_slope_of_the_metric(model, name):
    model = model.double()
    batch = (IDS, BATCH[1].double(), BATCH[2])
    _, cache = model.run_with_cache(*batch, names_filter=name, incl_bwd=True, metric=metric)
    direction = torch.randn(cache[name].shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    direction = direction * (cache[name] != 0)  # a padded key stays out of the pattern

    def at(step):
        hooks = [(name, lambda value, hook: value + step * direction)]
        return float(metric(model.run_with_hooks(*batch, fwd_hooks=hooks)))

    slope = (at(1e-5) - at(-1e-5)) / 2e-5
    assert float((cache[f"{name}_grad"] * direction).sum()) == pytest.approx(slope, rel=1e-5, abs=1e-9)


def test_attribution_of_heads_predicts_small_ablations(model):
    """The recipe: gradient times activation, summed over all but heads, is the effect of scaling a head down."""
    names = ["blocks.0.attn.hook_z", "blocks.1.attn.hook_z"]
    plain, cache = model.run_with_cache(*BATCH, names_filter=names, incl_bwd=True, metric=metric)
    attributions = {name: (cache[name] * cache[f"{name}_grad"]).sum((0, 1, 3)) for name in names}  # (head,)
    for name in names:
        for head in range(2):

            def scaled(z, hook, head=head):
                return torch.cat([z[:, :, :head], 0.99 * z[:, :, head : head + 1], z[:, :, head + 1 :]], 2)

            effect = metric(model.run_with_hooks(*BATCH, fwd_hooks=[(name, scaled)])) - metric(plain)
            assert float(effect.detach()) == pytest.approx(-0.01 * float(attributions[name][head]), rel=0.05, abs=1e-5)


def test_every_hook_point_before_the_metric_has_a_gradient_without_warnings(model, recwarn):
    _, cache = model.run_with_cache(
        *BATCH, incl_bwd=True, metric=lambda output: output.expression.sum() + output.mvc.sum()
    )
    assert {f"{name}_grad" for name in model.hook_dict} <= set(cache)
    assert all(cache[name].shape == cache[f"{name}_grad"].shape for name in model.hook_dict)
    assert not recwarn.list


def test_a_backward_hook_can_change_the_gradient(model):
    name, seen = "blocks.0.hook_resid_post", {}

    def run(bwd_hooks):
        with model.gradients(), model.hooks(bwd_hooks=bwd_hooks):
            metric(model(*BATCH)).backward()

    def watch(grad, hook):
        seen["below"] = grad.clone()

    below = ("blocks.0.attn.hook_z", watch)
    run([below])
    plain = seen.pop("below")
    run([(name, lambda grad, hook: 2 * grad), below])
    torch.testing.assert_close(seen["below"], 2 * plain)
    assert not model.list_hooks()


def test_a_hook_may_return_a_leaf_of_its_own(model):
    """Without `gradients()`: autograd follows what a hook puts in, from there on."""
    leaf = {}

    def enter(z, hook):
        leaf["z"] = z.clone().requires_grad_()
        return leaf["z"]

    output = model.run_with_hooks(*BATCH, fwd_hooks=[("blocks.1.attn.hook_z", enter)])
    metric(output).backward()
    _, cache = model.run_with_cache(*BATCH, names_filter="blocks.1.attn.hook_z", incl_bwd=True, metric=metric)
    torch.testing.assert_close(leaf["z"].grad, cache["blocks.1.attn.hook_z_grad"])


def test_writing_into_an_activation_works_with_gradients(model):
    def silence(value, hook):
        value[:, 1] = 0

    for name in model.hook_dict:
        seen = []
        hooks = {"fwd_hooks": [(name, silence)], "bwd_hooks": [(name, lambda grad, hook, seen=seen: seen.append(grad))]}
        with model.gradients(), model.hooks(**hooks):
            metric(model(*BATCH)).backward()
        if not name.endswith("hook_scale"):  # a scale of zero divides by zero
            assert all(grad is None or torch.isfinite(grad).all() for grad in seen), name


def test_gradients_end_with_their_block_and_the_weights_have_none(model):
    with model.gradients():
        assert model(*BATCH).resid.requires_grad
    assert not model(*BATCH).resid.requires_grad
    assert all(not p.requires_grad and p.grad is None for p in model.parameters())
    with torch.no_grad(), model.gradients():
        assert model(*BATCH).resid.requires_grad


def test_weights_can_be_trained_after_all(model):
    model.requires_grad_()
    metric(model(*BATCH)).backward()
    assert model.blocks[0].attn.W_Q.grad.abs().sum() > 0


@pytest.mark.parametrize("options", [{"incl_bwd": True}, {"metric": metric}])
def test_gradients_and_their_metric_are_asked_for_together(model, options):
    with pytest.raises(InputError, match="go together"):
        model.run_with_cache(*BATCH, **options)


def test_a_scaled_value_has_a_gradient_too(config, vocabulary):
    from dataclasses import replace

    from interp.scgpt.model import HookedScGPT

    scaling = HookedScGPT(replace(config, input_emb_style="scaling"), vocabulary)
    scaling.initialize(torch.Generator().manual_seed(1)).eval().requires_grad_(requires_grad=False)
    _, cache = scaling.run_with_cache(*BATCH, names_filter="hook_value_embed", incl_bwd=True, metric=metric)
    assert cache["hook_value_embed_grad"].abs().sum() > 0
    assert not BATCH[1].requires_grad
