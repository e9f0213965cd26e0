"""The names and shapes of scGPT's weights as published, and their translation to the hooked model's and back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from interp.scgpt.config import ScGPTConfig

LAYERS = "transformer_encoder.layers."
# What the encoder's output depends on; the rest are decoders.
ENCODER_PREFIXES = ("encoder.", "value_encoder.", "transformer_encoder.")
MVC_PREFIX = "mvc_decoder."
_PROJECTIONS = "QKV"
_IN_LAYER = {
    "linear1": "mlp.linear1",
    "linear2": "mlp.linear2",
    "norm1": "ln1",
    "norm2": "ln2",
}


def published_shapes(config: ScGPTConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight of a model, by its published name.

    Parameters
    ----------
    config
        The model's dimensions.

    Returns
    -------
    dict
        Published name (``in_proj_*`` style) to shape.
    """
    d, hidden = config.d_model, config.d_hid
    shapes: dict[str, tuple[int, ...]] = {"encoder.embedding.weight": (config.n_vocab, d)}
    _norm(shapes, "encoder.enc_norm", d)
    _linear(shapes, "value_encoder.linear1", d, 1)
    _linear(shapes, "value_encoder.linear2", d, d)
    _norm(shapes, "value_encoder.norm", d)
    for layer in range(config.n_layers):
        name = f"{LAYERS}{layer}."
        shapes[f"{name}self_attn.in_proj_weight"] = (3 * d, d)
        shapes[f"{name}self_attn.in_proj_bias"] = (3 * d,)
        _linear(shapes, f"{name}self_attn.out_proj", d, d)
        _linear(shapes, f"{name}linear1", hidden, d)
        _linear(shapes, f"{name}linear2", d, hidden)
        _norm(shapes, f"{name}norm1", d)
        _norm(shapes, f"{name}norm2", d)
    for position, width in ((0, d), (2, d), (4, 1)):
        _linear(shapes, f"decoder.fc.{position}", width, d)
    if config.mvc:
        _linear(shapes, f"{MVC_PREFIX}gene2query", d, d)
        shapes[f"{MVC_PREFIX}W.weight"] = (d, d)
    return shapes


def to_hooked(state: Mapping[str, Tensor], config: ScGPTConfig) -> dict[str, Tensor]:
    """Translate published weights to the hooked model's names and per-head shapes.

    Parameters
    ----------
    state
        Weights by published name (``in_proj_*`` style), with the shapes of `published_shapes`.
    config
        The model's dimensions.

    Returns
    -------
    dict
        Weights by name in the hooked model; ``W_Q`` and its kind are (head, d_model, d_head).
    """
    hooked: dict[str, Tensor] = {}
    heads, d = config.n_heads, config.d_model
    d_head = d // heads
    for name, tensor in state.items():
        block, part = _split(name)
        if not block:
            hooked[name] = tensor
        elif part == "self_attn.in_proj_weight":
            for letter, rows in zip(_PROJECTIONS, tensor.chunk(3), strict=True):  # (3 head d_head, d_model)
                hooked[f"{block}attn.W_{letter}"] = rows.reshape(heads, d_head, d).transpose(1, 2).contiguous()
        elif part == "self_attn.in_proj_bias":
            for letter, values in zip(_PROJECTIONS, tensor.chunk(3), strict=True):
                hooked[f"{block}attn.b_{letter}"] = values.reshape(heads, d_head).contiguous()
        elif part == "self_attn.out_proj.weight":
            hooked[f"{block}attn.W_O"] = tensor.T.reshape(heads, d_head, d).contiguous()
        elif part == "self_attn.out_proj.bias":
            hooked[f"{block}attn.b_O"] = tensor
        else:
            module, kind = part.rsplit(".", 1)
            hooked[f"{block}{_IN_LAYER[module]}.{kind}"] = tensor
    return hooked


def to_published(state: Mapping[str, Tensor], config: ScGPTConfig) -> dict[str, Tensor]:
    """Translate a hooked model's weights back to the published names and shapes; the inverse of `to_hooked`.

    Parameters
    ----------
    state
        Weights by name in the hooked model; other entries are left out.
    config
        The model's dimensions.

    Returns
    -------
    dict
        Weights by published name.
    """
    d = config.d_model
    published: dict[str, Tensor] = {}
    for name in published_shapes(config):
        block, part = _split(name)
        if not block:
            tensor = state[name]
        elif part == "self_attn.in_proj_weight":
            weights = [state[f"{block}attn.W_{letter}"] for letter in _PROJECTIONS]
            tensor = torch.cat([weight.transpose(1, 2).reshape(d, d) for weight in weights])
        elif part == "self_attn.in_proj_bias":
            tensor = torch.cat([state[f"{block}attn.b_{letter}"].reshape(d) for letter in _PROJECTIONS])
        elif part == "self_attn.out_proj.weight":
            tensor = state[f"{block}attn.W_O"].reshape(d, d).T
        elif part == "self_attn.out_proj.bias":
            tensor = state[f"{block}attn.b_O"]
        else:
            module, kind = part.rsplit(".", 1)
            tensor = state[f"{block}{_IN_LAYER[module]}.{kind}"]
        published[name] = tensor.contiguous()
    return published


def _split(name: str) -> tuple[str, str]:
    """Split a layer's published name into the hooked block prefix and the rest; the prefix is empty outside layers."""
    if not name.startswith(LAYERS):
        return "", name
    layer, part = name.removeprefix(LAYERS).split(".", 1)
    return f"blocks.{layer}.", part


def _linear(shapes: dict[str, tuple[int, ...]], name: str, n_out: int, n_in: int) -> None:
    shapes[f"{name}.weight"] = (n_out, n_in)
    shapes[f"{name}.bias"] = (n_out,)


def _norm(shapes: dict[str, tuple[int, ...]], name: str, d_model: int) -> None:
    shapes[f"{name}.weight"] = (d_model,)
    shapes[f"{name}.bias"] = (d_model,)
