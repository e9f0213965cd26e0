"""The model layer by layer: from the tokens up, or on from the middle with some z replaced."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from interp.ablation.head_sets import z_name
from interp.scgpt.inputs import token_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Bool, Float
    from torch import Tensor

    from interp.scgpt.attention import Attention
    from interp.scgpt.blocks import Block
    from interp.scgpt.hooked import Hook
    from interp.scgpt.model import HookedScGPT
    from interp.scgpt.tokens import GeneTokens


def enter(
    model: HookedScGPT, tokens: GeneTokens
) -> tuple[Float[Tensor, "cell token d_model"], Bool[Tensor, "cell token"] | None]:
    """Return what enters the first layer, and the padding; None where nothing is padded.

    Raises
    ------
    InputError
        Tokens of another vocabulary.
    """
    gene_ids, values, padding = token_tensors(tokens, None, None, model.vocabulary.sha256)
    x, _ = model.embed(gene_ids.to(model.device), values.to(model.device))
    return x, padding.to(model.device) if padding is not None and bool(padding.any()) else None


def observe(
    model: HookedScGPT, layer: int, x: Float[Tensor, "cell token d_model"], padding: Bool[Tensor, "cell token"] | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one layer.

    Parameters
    ----------
    model, layer
        The layer.
    x
        What enters it.
    padding
        Where there is no token.

    Returns
    -------
    x, z, summed
        What leaves it (cell, token, d_model); z (cell, token, head, d_head); what enters its first LayerNorm, the sum
        of `x` and what attention adds (cell, token, d_model).
    """
    seen: dict[str, Tensor] = {}

    def keep(activation: Tensor, hook) -> None:
        seen[hook.name] = activation

    names = [z_name(layer), f"blocks.{layer}.ln1.hook_in"]
    with model.hooks([(name, keep) for name in names]):
        x = model.blocks[layer](x, padding)
    return x, seen[names[0]], seen[names[1]]


def after_attention(block: Block, summed: Float[Tensor, "cell token d_model"]) -> Float[Tensor, "cell token d_model"]:
    """Return what leaves a block, from what enters its first LayerNorm."""
    x = block.hook_resid_mid(block.ln1(summed))
    return block.hook_resid_post(block.ln2(x + block.hook_mlp_out(block.mlp(x))))


def upward(
    model: HookedScGPT,
    first: int,
    x: Float[Tensor, "cell token d_model"],
    padding: Bool[Tensor, "cell token"] | None,
    hooks: Mapping[int, Hook],
    *,
    cls_only: bool,
) -> Float[Tensor, "cell token d_model"]:
    """Return the final residual stream from what enters a layer.

    Parameters
    ----------
    model, first
        The layer; one above the last returns `x`.
    x
        What enters it.
    padding
        Where there is no token.
    hooks
        By layer, the hook on its z.
    cls_only
        Whether the `<cls>` row is all that is wanted (cell, 1, d_model): the last layer is then computed for it alone.
    """
    last = model.config.n_layers - 1
    with model.hooks([(z_name(layer), hook) for layer, hook in hooks.items()]):
        for layer in range(first, last + 1):
            block = model.blocks[layer]
            x = _cls_block(block, x, padding) if cls_only and layer == last else block(x, padding)
    return x[:, :1] if cls_only else x


def _cls_block(block: Block, x: Tensor, padding: Tensor | None) -> Tensor:
    z = block.attn.hook_z(_cls_z(block.attn, x, padding))
    added = torch.einsum("cthe,hed->ctd", z, block.attn.W_O) + block.attn.b_O
    return after_attention(block, x[:, :1] + added)


def _cls_z(attn: Attention, x: Tensor, padding: Tensor | None) -> Float[Tensor, "cell 1 head d_head"]:
    """Return z of the `<cls>` row.

    Keys and values of the other tokens are never made: a single query reads them through W_K, and its pattern mixes
    tokens before W_V as well as behind it. The keys' bias adds the same to all scores of a query, so it cancels.
    """
    query = (torch.einsum("cd,hde->che", x[:, 0], attn.W_Q) + attn.b_Q) / math.sqrt(attn.d_head)
    scores = torch.einsum("che,hde->chd", query, attn.W_K) @ x.transpose(1, 2)  # (cell, head, token)
    if padding is not None:
        scores = scores.masked_fill(padding.unsqueeze(1), float("-inf"))
    mixed = scores.softmax(-1) @ x  # (cell, head, d_model)
    return (torch.einsum("chd,hde->che", mixed, attn.W_V) + attn.b_V).unsqueeze(1)
