"""The weights that scGPT starts from at construction, drawn from a generator of the caller's."""

from __future__ import annotations

import math

import torch
from torch import nn

from interp.scgpt.attention import Attention
from interp.scgpt.norms import BatchNorm

EMBEDDING_RANGE = 0.1  # of the gene embedding, scGPT 0.2.4
PRELU = 0.25  # torch's own start


@torch.no_grad()
def draw_weights(model: nn.Module, generator: torch.Generator) -> None:
    """Fill a hooked model with fresh weights, as scGPT and torch draw them at construction.

    Parameters
    ----------
    model
        The model; every weight is overwritten.
    generator
        Where the numbers come from.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            _draw_linear(module, generator)
        elif isinstance(module, nn.LayerNorm):
            module.weight.fill_(1.0)
            module.bias.zero_()
        elif isinstance(module, Attention):
            _draw_attention(module, generator)
        elif isinstance(module, BatchNorm):
            _reset_batch_norm(module)
        elif isinstance(module, nn.PReLU):
            module.weight.fill_(PRELU)
        elif isinstance(module, nn.Embedding) and module is not model.encoder.embedding:
            module.weight.normal_(generator=generator)
            if module.padding_idx is not None:
                module.weight[module.padding_idx] = 0
    model.encoder.embedding.weight.uniform_(-EMBEDDING_RANGE, EMBEDDING_RANGE, generator=generator)


def _draw_linear(linear: nn.Linear, generator: torch.Generator) -> None:
    bound = 1 / math.sqrt(linear.in_features)
    linear.weight.uniform_(-bound, bound, generator=generator)
    if linear.bias is not None:
        linear.bias.uniform_(-bound, bound, generator=generator)


def _draw_attention(attention: Attention, generator: torch.Generator) -> None:
    # Xavier uniform of the stacked (3 d_model, d_model) projection of torch's MultiheadAttention.
    d_model = attention.W_O.shape[-1]
    for weight in (attention.W_Q, attention.W_K, attention.W_V):
        weight.uniform_(-1, 1, generator=generator).mul_(math.sqrt(6 / (4 * d_model)))
    attention.W_O.uniform_(-1, 1, generator=generator).mul_(1 / math.sqrt(d_model))
    for bias in (attention.b_Q, attention.b_K, attention.b_V, attention.b_O):
        bias.zero_()


def _reset_batch_norm(norm: BatchNorm) -> None:
    norm.running_mean.zero_()
    norm.running_var.fill_(1.0)
    if not norm.by_batch:
        norm.weight.fill_(1.0)
        norm.bias.zero_()
