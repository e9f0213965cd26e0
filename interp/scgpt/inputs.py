"""What one forward pass takes, checked: tokens of this vocabulary, and the cells' batches where the model has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from interp.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from interp.scgpt.config import ScGPTConfig
    from interp.scgpt.tokens import GeneTokens


def token_tensors(
    tokens: GeneTokens | Int[Tensor, "cell token"],
    values: Float[Tensor, "cell token"] | None,
    padding: Bool[Tensor, "cell token"] | None,
    vocab_sha256: str,
) -> tuple[Int[Tensor, "cell token"], Float[Tensor, "cell token"], Bool[Tensor, "cell token"] | None]:
    """Return gene ids, values and padding, from tokens or as they were given.

    Raises
    ------
    InputError
        Gene ids without values, or tokens made with another vocabulary than that of this sum.
    """
    if not isinstance(tokens, Tensor):
        if tokens.vocab_sha256 != vocab_sha256:
            msg = "these tokens were made with another vocabulary; make them with this model's tokenize()"
            raise InputError(msg)
        return tokens.gene_ids, tokens.values, tokens.padding
    if values is None:
        msg = "gene ids were given without values; pass GeneTokens, or gene_ids, values and padding"
        raise InputError(msg)
    return tokens, values, padding


def check_batches(batches: Int[Tensor, " cell"] | None, config: ScGPTConfig, n_cells: int) -> None:
    """Refuse batches that are missing, not asked for, or not one known number per cell.

    Raises
    ------
    InputError
        They do not fit the model.
    """
    if batches is None and not config.needs_batches:
        return
    if batches is None:
        msg = (
            f"this model was fine-tuned with {config.n_batches} batches; give batches=, one whole number from 0 to "
            f"{config.n_batches - 1} per cell"
        )
        raise InputError(msg)
    if not config.needs_batches:
        msg = "batches were given to a model that was trained without them; leave them out"
        raise InputError(msg)
    whole = not batches.is_floating_point() and batches.dtype != torch.bool
    if batches.shape != (n_cells,) or not whole or bool(((batches < 0) | (batches >= config.n_batches)).any()):
        msg = (
            f"batches of shape {tuple(batches.shape)} and type {batches.dtype} do not fit; expected {n_cells} whole "
            f"numbers from 0 to {config.n_batches - 1}"
        )
        raise InputError(msg)
