"""The names and shapes of scGPT's weights as published, and which of its optional parts some weights hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.scgpt.config import ScGPTConfig
from interp.scgpt.decoders import CONCAT_QUERY, INNER_PRODUCT, MVC_HIDDEN, SUM_QUERY

LAYERS = "transformer_encoder.layers."
DSBN_PREFIX, BN_PREFIX = "dsbn.bns.", "bn."
# What the encoder's output depends on; the rest are decoders and what only they read.
ENCODER_PREFIXES = ("encoder.", "value_encoder.", "transformer_encoder.", "dsbn.", BN_PREFIX)
MVC_PREFIX = "mvc_decoder."

Shape = tuple[int, ...]


def published_shapes(config: ScGPTConfig) -> dict[str, Shape]:
    """Return the shape of every weight of a model, by its published name.

    Parameters
    ----------
    config
        The model's dimensions and parts.

    Returns
    -------
    dict
        Published name (``in_proj_*`` style) to shape; running statistics of batch norm are among them.
    """
    d, hidden = config.d_model, config.d_hid
    shapes = _inputs(config)
    for layer in range(config.n_layers):
        name = f"{LAYERS}{layer}."
        shapes |= {f"{name}self_attn.in_proj_weight": (3 * d, d), f"{name}self_attn.in_proj_bias": (3 * d,)}
        shapes |= _linear(f"{name}self_attn.out_proj", d, d)
        shapes |= _linear(f"{name}linear1", hidden, d) | _linear(f"{name}linear2", d, hidden)
        shapes |= _norm(f"{name}norm1", d) | _norm(f"{name}norm2", d)
    for branch in ("fc", "zero_logit") if config.explicit_zero_prob else ("fc",):
        for position, n_out, n_in in ((0, d, config.d_decoder), (2, d, d), (4, 1, d)):
            shapes |= _linear(f"decoder.{branch}.{position}", n_out, n_in)
    return shapes | _mvc(config) if config.mvc else shapes


def optional_parts(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """Return the fields of `ScGPTConfig` that the names and shapes of a model's weights tell.

    Parameters
    ----------
    shapes
        Published name (``in_proj_*`` style) to shape.

    Returns
    -------
    dict
        Field to value; what the weights cannot tell, such as a value encoder without weights, is left out.
    """
    batches = _rows(shapes, "batch_encoder.embedding.weight")
    domains = {name.removeprefix(DSBN_PREFIX).split(".")[0] for name in shapes if name.startswith(DSBN_PREFIX)}
    plain = any(name.startswith(BN_PREFIX) for name in shapes)
    parts: dict[str, Any] = {
        "mvc": any(name.startswith(MVC_PREFIX) for name in shapes),
        "explicit_zero_prob": any(name.startswith("decoder.zero_logit.") for name in shapes),
        "batch_encoder": batches > 0,
        "batch_norm": "dsbn" if domains else "batchnorm" if plain else "none",
        "n_batches": batches or len(domains),
        "n_input_bins": _rows(shapes, "value_encoder.embedding.weight"),
    }
    if parts["n_input_bins"] or "value_encoder.linear1.weight" in shapes:
        parts["input_emb_style"] = "category" if parts["n_input_bins"] else "continuous"
    if f"{MVC_PREFIX}W.weight" in shapes:
        parts["mvc_style"] = INNER_PRODUCT
    elif hidden := shapes.get(f"{MVC_PREFIX}fc1.weight"):
        query = _rows(shapes, f"{MVC_PREFIX}gene2query.weight")
        parts["mvc_style"] = CONCAT_QUERY if hidden[-1] > query else SUM_QUERY
    return parts


def _inputs(config: ScGPTConfig) -> dict[str, Shape]:
    d = config.d_model
    shapes = {"encoder.embedding.weight": (config.n_vocab, d)} | _norm("encoder.enc_norm", d)
    if config.input_emb_style == "continuous":
        shapes |= _linear("value_encoder.linear1", d, 1) | _linear("value_encoder.linear2", d, d)
        shapes |= _norm("value_encoder.norm", d)
    elif config.input_emb_style == "category":
        shapes |= {"value_encoder.embedding.weight": (config.n_input_bins, d)} | _norm("value_encoder.enc_norm", d)
    if config.batch_encoder:
        shapes |= {"batch_encoder.embedding.weight": (config.n_batches, d)} | _norm("batch_encoder.enc_norm", d)
    if config.batch_norm == "dsbn":
        for batch in range(config.n_batches):
            shapes |= _statistics(f"{DSBN_PREFIX}{batch}", d)
    elif config.batch_norm == "batchnorm":
        shapes |= _norm("bn", d) | _statistics("bn", d)
    return shapes


def _mvc(config: ScGPTConfig) -> dict[str, Shape]:
    d = config.d_model
    if not config.mvc_style.startswith(INNER_PRODUCT):
        joined = config.mvc_style == CONCAT_QUERY
        shapes = _linear(f"{MVC_PREFIX}gene2query", MVC_HIDDEN if joined else d, d)
        shapes |= _linear(f"{MVC_PREFIX}fc1", MVC_HIDDEN, d + MVC_HIDDEN if joined else d)
        shapes |= {f"{MVC_PREFIX}hidden_activation.weight": (1,)}
        return shapes | _linear(f"{MVC_PREFIX}fc2", 1, MVC_HIDDEN)
    shapes = _linear(f"{MVC_PREFIX}gene2query", d, d) | {f"{MVC_PREFIX}W.weight": (config.d_decoder, d)}
    return shapes | _linear(f"{MVC_PREFIX}W_zero_logit", config.d_decoder, d) if config.explicit_zero_prob else shapes


def _linear(name: str, n_out: int, n_in: int) -> dict[str, Shape]:
    return {f"{name}.weight": (n_out, n_in), f"{name}.bias": (n_out,)}


def _norm(name: str, width: int) -> dict[str, Shape]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _statistics(name: str, width: int) -> dict[str, Shape]:
    return {f"{name}.running_mean": (width,), f"{name}.running_var": (width,)}


def _rows(shapes: Mapping[str, Shape], name: str) -> int:
    return (shapes.get(name) or (0,))[0]
