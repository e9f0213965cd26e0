"""Gradients of ablation against finite differences and exact ablation."""

import copy
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from interp.ablation import ProjectOut, ReplaceHeads, Steer, Zero, exact_readings, gradient_readings
from interp.errors import InputError

HEADS = [(layer, head) for layer in range(4) for head in range(3)]


def objective_all(resid, tokens):
    inside = (~tokens.padding).to(resid)
    return (resid[..., 0] * resid[..., 1] * inside).sum(1) / inside.sum(1)


def objective_cls(resid, tokens):
    return resid[:, 0, 3] * resid[:, 0, 4] + resid[:, 0, 5]


objective_cls.rows = "cls"


@pytest.fixture(params=[objective_all, objective_cls], ids=["all rows", "cls"])
def objective(request):
    return request.param


def changes(model, tokens, sets, replacement, objective):
    """Exact change of the objective (set, cell)."""

    def read(resid, tokens):
        return {"value": objective(resid, tokens)}

    read.rows = getattr(objective, "rows", "all")
    found = exact_readings(model, tokens, sets, replacement, read)
    return found.ablated["value"] - found.base["value"]


@pytest.fixture(scope="module")
def exact_model(model):
    """The model in double precision, for differences of small steps."""
    return copy.deepcopy(model).double()


def test_it_is_the_slope_towards_the_replacement(exact_model, tokens, replacement, objective):
    """Against central differences of each head on its own, in a batch of padded cells."""
    tokens = replace(tokens, values=tokens.values.double())
    if hasattr(replacement, "pool"):
        replacement = replace(replacement, pool=tokens)
    found = gradient_readings(exact_model, tokens, replacement, objective)
    names = [f"blocks.{layer}.attn.hook_z" for layer in range(4)]
    values = replacement.values(exact_model, tokens, names)
    for layer, head in HEADS:

        def at(step, layer=layer, head=head):
            def part(z, hook):
                moved = z + step * (values[hook.name] - z)
                return torch.cat([z[:, :, :head], moved[:, :, [head]], z[:, :, head + 1 :]], 2)

            with exact_model.hooks([(names[layer], part)]), torch.no_grad():
                return objective(exact_model(tokens).resid, tokens).numpy()

        slope = (at(1e-5) - at(-1e-5)) / 2e-5
        np.testing.assert_allclose(found[layer, head], slope, rtol=2e-4, atol=1e-6)
    assert np.abs(found).max() > 1e-3


def test_with_steps_the_heads_of_a_layer_sum_to_the_exact_change_of_replacing_them_all(
    model, tokens, replacement, objective
):
    layers = [tuple((layer, head) for head in range(3)) for layer in range(4)]
    exact = changes(model, tokens, layers, replacement, objective)
    first, last = (
        np.abs(gradient_readings(model, tokens, replacement, objective, steps=steps).sum(1) - exact).max()
        for steps in (1, 24)
    )
    assert last < 0.04 * np.abs(exact).max()  # ReLU has kinks on the way
    assert last < first / 5


@pytest.mark.parametrize("steps", [1, 5])
def test_where_heads_add_little_it_is_the_exact_change(exact_model, tokens, replacement, objective, steps):
    tokens = replace(tokens, values=tokens.values.double())
    if hasattr(replacement, "pool"):
        replacement = replace(replacement, pool=tokens)
    nearly_linear = copy.deepcopy(exact_model)
    for block in nearly_linear.blocks:
        block.attn.W_O *= 1e-4
    exact = changes(nearly_linear, tokens, [(head,) for head in HEADS], replacement, objective)
    found = gradient_readings(nearly_linear, tokens, replacement, objective, steps=steps).reshape(12, -1)
    np.testing.assert_allclose(found, exact, rtol=0.02, atol=1e-3 * np.abs(exact).max())


def test_cells_do_not_bear_on_each_other(model, tokens, replacement, objective):
    for steps in (1, 3):
        heard = []
        together = gradient_readings(model, tokens, replacement, objective, steps=steps)
        alone = gradient_readings(
            model, tokens, replacement, objective, steps=steps, batch_cells=1, progress=heard.append
        )
        np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5 * np.abs(alone).max())
        assert heard == [1] * len(tokens)
        assert alone.shape == (4, 3, len(tokens))


def test_an_objective_of_the_cls_row_may_but_need_not_say_so(model, tokens, replacement):
    def silent(resid, tokens):
        return objective_cls(resid, tokens)

    for steps in (1, 2):
        said, unsaid = (
            gradient_readings(model, tokens, replacement, which, steps=steps) for which in (objective_cls, silent)
        )
        np.testing.assert_allclose(said, unsaid, rtol=1e-4, atol=1e-5 * np.abs(unsaid).max())


@pytest.mark.parametrize("steps", [1, 2])
def test_live_hooks_act_on_it(model, tokens, objective, steps):
    rng = np.random.default_rng(0)
    others = [
        *Steer("blocks.0.hook_resid_pre", rng.standard_normal(24), 2.0).hooks(model),
        *Steer("blocks.3.attn.hook_q", rng.standard_normal(8), 1.5).hooks(model),
        *ReplaceHeads(((1, 0), (2, 2)), Zero()).hooks(model, tokens),
    ]
    plain = gradient_readings(model, tokens, Zero(), objective, steps=steps)
    with model.hooks(others):
        found = gradient_readings(model, tokens, Zero(), objective, steps=steps)
        exact = changes(model, tokens, [(head,) for head in HEADS], Zero(), objective).reshape(4, 3, -1)
    assert not found[1, 0].any()
    assert not found[2, 2].any()
    assert not np.allclose(found, plain, rtol=1e-2)
    assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > 0.5
    with model.hooks(ProjectOut("blocks.3.hook_resid_post", np.eye(24)[:6]).hooks(model)):
        assert not gradient_readings(model, tokens, Zero(), objective, steps=steps).any()


def test_one_pass_over_the_layers_serves_all_heads_and_cells(model, tokens, objective):
    calls = Counter()
    handles = [
        block.register_forward_hook(lambda *_, layer=layer: calls.update([layer]))
        for layer, block in enumerate(model.blocks)
    ]
    gradient_readings(model, tokens, Zero(), objective)
    for handle in handles:
        handle.remove()
    assert calls == Counter({0: 1, 1: 1, 2: 1} | ({3: 1} if objective is objective_all else {}))


def test_the_model_is_as_before(model, tokens, replacement, objective):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for steps in (1, 2):
        gradient_readings(model, tokens, replacement, objective, steps=steps)
    assert not model.list_hooks()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.parameters())
    assert not model(tokens).cell.requires_grad


def test_what_cannot_be_done_is_told(model, tokens):
    with pytest.raises(InputError, match="steps = 0"):
        gradient_readings(model, tokens, Zero(), objective_all, steps=0)
    with pytest.raises(InputError, match="no cells"):
        gradient_readings(model, tokens[[]], Zero(), objective_all)
    with pytest.raises(InputError, match=r"returned the shape \(\); expected one number for each of 11 cells"):
        gradient_readings(model, tokens, Zero(), lambda resid, tokens: resid.sum())
    with pytest.raises(InputError, match="cut off from the residual stream"):
        gradient_readings(model, tokens, Zero(), lambda resid, tokens: resid[:, 0, 0].detach())
    assert not model.list_hooks()
