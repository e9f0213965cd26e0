"""The translation of scGPT's published weights to the hooked model's names and shapes, and back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from interp.scgpt.config import ScGPTConfig
from interp.scgpt.shapes import BN_PREFIX, DSBN_PREFIX, LAYERS, published_shapes

BATCH_NORM = "batch_norm."  # rows of batches, whichever of the two kinds
_PROJECTIONS = "QKV"
_IN_LAYER = {
    "linear1": "mlp.linear1",
    "linear2": "mlp.linear2",
    "norm1": "ln1",
    "norm2": "ln2",
}


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
    hooked = _stacked_statistics(state, config)
    heads, d = config.n_heads, config.d_model
    d_head = d // heads
    for name, tensor in state.items():
        block, part = _split(name)
        if name.startswith((BN_PREFIX, DSBN_PREFIX)):
            continue
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
        if name.startswith(BN_PREFIX):
            tensor = state[name.replace(BN_PREFIX, BATCH_NORM)][0]
        elif name.startswith(DSBN_PREFIX):
            batch, kind = name.removeprefix(DSBN_PREFIX).split(".")
            tensor = state[f"{BATCH_NORM}{kind}"][int(batch)]
        elif not block:
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


def _stacked_statistics(state: Mapping[str, Tensor], config: ScGPTConfig) -> dict[str, Tensor]:
    """Return the batch norm's weights and statistics as rows of batches."""
    if config.batch_norm == "batchnorm":
        kinds = ("weight", "bias", "running_mean", "running_var")
        return {f"{BATCH_NORM}{kind}": state[f"{BN_PREFIX}{kind}"].unsqueeze(0) for kind in kinds}
    if config.batch_norm == "dsbn":
        return {
            f"{BATCH_NORM}{kind}": torch.stack([state[f"{DSBN_PREFIX}{n}.{kind}"] for n in range(config.n_batches)])
            for kind in ("running_mean", "running_var")
        }
    return {}


def _split(name: str) -> tuple[str, str]:
    """Split a layer's published name into the hooked block prefix and the rest; the prefix is empty outside layers."""
    if not name.startswith(LAYERS):
        return "", name
    layer, part = name.removeprefix(LAYERS).split(".", 1)
    return f"blocks.{layer}.", part
