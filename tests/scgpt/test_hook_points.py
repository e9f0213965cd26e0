"""The table in the model's docstring: it names every hook point of every kind of model, with its shape."""

import re
from dataclasses import replace

import pytest
import torch

from interp.scgpt.config import ScGPTConfig
from interp.scgpt.model import HookedScGPT

ROW = re.compile(r"^\s*``(\S+)``\s+\((.+?)\)\s\s+(.+?)\s*$", re.MULTILINE)
N_CELLS, N_TOKENS = 3, 5
KINDS = {
    "as published": {},
    "without mvc": {"mvc": False},
    "category": {"input_emb_style": "category", "n_input_bins": 53, "pad_value": 51, "mask_value": 52},
    "scaling": {"input_emb_style": "scaling"},
    "zeros": {"explicit_zero_prob": True},
    "batches and zeros": {
        "explicit_zero_prob": True, "batch_encoder": True, "batch_norm": "dsbn", "n_batches": 4,
    },
    "batch norm": {"batch_norm": "batchnorm"},
    "concat query": {"mvc_style": "concat query"},
    "sum query": {"mvc_style": "sum query"},
}  # fmt: skip


def parts_of(config: ScGPTConfig) -> set[str]:
    """What the third column says of a model of this configuration."""
    parts = {"all", config.input_emb_style}
    parts |= {"batch encoder"} if config.batch_encoder else set()
    parts |= {"zeros"} if config.explicit_zero_prob else set()
    if config.mvc:
        parts |= {"mvc", config.mvc_style}
        parts |= {"mvc with zeros"} if config.explicit_zero_prob else set()
    return parts


def stated_shapes(config: ScGPTConfig) -> dict[str, tuple[int, ...]]:
    sizes = {
        "cell": N_CELLS, "token": N_TOKENS, "query": N_TOKENS, "key": N_TOKENS, "head": config.n_heads,
        "d_head": config.d_head, "d_model": config.d_model, "d_hid": config.d_hid, "d_decoder": config.d_decoder,
    }  # fmt: skip
    shapes = {}
    for name, axes, models in ROW.findall(HookedScGPT.__doc__):
        if not parts_of(config) & {model.strip() for model in models.split(",")}:
            continue
        shape = tuple(sizes[axis] if axis in sizes else int(axis) for axis in axes.split(", "))
        for layer in range(config.n_layers) if ".L." in name else (0,):
            assert name.replace(".L.", f".{layer}.") not in shapes, f"{name} stands twice"
            shapes[name.replace(".L.", f".{layer}.")] = shape
    return shapes


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_names_every_hook_point_with_its_shape(config, vocabulary, kind):
    config = replace(config, **KINDS[kind])
    model = HookedScGPT(config, vocabulary).initialize(torch.Generator().manual_seed(0)).eval()
    ids = torch.tensor([[38, 3, 5, 7, 11], [38, 4, 9, 37, 37], [38, 37, 37, 37, 37]])
    batches = torch.tensor([0, 3, 1]) if config.needs_batches else None
    _, cache = model.run_with_cache(ids, torch.ones(ids.shape), ids == 37, batches=batches)
    stated = stated_shapes(config)
    assert set(stated) == set(model.hook_dict)
    assert {name: tuple(value.shape) for name, value in cache.items()} == stated


def test_the_named_sums_and_scales_are_what_the_model_computes(model):
    ids = torch.tensor([[38, 3, 5, 7, 11]])
    output, cache = model.run_with_cache(ids, torch.tensor([[-2.0, 1, 50, 7, 3]]))
    for layer, block in enumerate(model.blocks):
        name = f"blocks.{layer}"
        total = cache[f"{name}.hook_resid_pre"] + cache[f"{name}.hook_attn_out"]
        torch.testing.assert_close(cache[f"{name}.ln1.hook_in"], total)
        scale = (total.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
        torch.testing.assert_close(cache[f"{name}.ln1.hook_scale"], scale)
        torch.testing.assert_close(cache[f"{name}.hook_resid_mid"], block.ln1(total), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(cache["hook_tokens"], cache["hook_embed"] + cache["hook_value_embed"])
    assert torch.equal(cache["hook_tokens"], cache["blocks.0.hook_resid_pre"])
    assert torch.equal(cache["encoder.enc_norm.hook_in"], model.encoder.embedding(ids))
    assert torch.equal(cache["decoder.fc.hook_out"], output.expression)
    assert torch.equal(cache["mvc_decoder.hook_out"], output.mvc)
    torch.testing.assert_close((cache["mvc_decoder.hook_query"] * output.cell[:, None]).sum(-1), output.mvc)


def test_a_hook_on_the_cell_row_changes_what_is_predicted_from_it(model):
    ids, values = torch.tensor([[38, 3, 5]]), torch.tensor([[-2.0, 1, 50]])
    plain = model(ids, values)
    hooked = model.run_with_hooks(ids, values, fwd_hooks=[("hook_cell", lambda cell, hook: 0 * cell)])
    assert torch.equal(hooked.mvc, torch.zeros(1, 3))
    assert torch.equal(hooked.expression, plain.expression)


def test_a_frozen_scale_makes_a_layer_norm_linear(model):
    ids, values = torch.tensor([[38, 3, 5]]), torch.tensor([[-2.0, 1, 50]])
    name = "blocks.1.ln2.hook_scale"
    outputs = []
    for factor in (1.0, 2.0, 3.0):
        hooks = [(name, lambda scale, hook: torch.ones_like(scale))]
        hooks.append(("blocks.1.hook_mlp_out", lambda x, hook, factor=factor: factor * x))
        outputs.append(model.run_with_hooks(ids, values, fwd_hooks=hooks).resid)
    torch.testing.assert_close(outputs[2] - outputs[1], outputs[1] - outputs[0], atol=1e-4, rtol=1e-4)
