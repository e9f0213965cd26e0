"""One forward pass that hands activations to readers and stops after the last one that is wanted."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from interp.errors import InputError
from interp.scgpt.inputs import token_tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from torch import Tensor

    from interp.scgpt.model import HookedScGPT
    from interp.scgpt.tokens import GeneTokens


class _EnoughError(Exception):
    """The last activation has been read."""


def forward(
    model: HookedScGPT,
    inputs: GeneTokens | tuple[Tensor, Tensor, Tensor | None],
    readers: Mapping[str, Callable[[Tensor], Any]],
    *,
    stop_at: str | None,
    precision: torch.dtype | None = None,
) -> None:
    """Run the model without gradients and give each activation to its reader.

    Parameters
    ----------
    model
        The model.
    inputs
        Tokens, or gene ids, values (cell, token) and padding (True = padded, or None).
    readers
        From hook point to a function that reads the activation and changes nothing.
    stop_at
        Hook point after which nothing more is computed; None runs to the end, decoders included.
    precision
        Type that matrix products of the model are computed in (autocast); None leaves the weights' own. Readers
        compute in the type of what they read.

    Raises
    ------
    InputError
        Tokens of another vocabulary, or a model whose activations need more than tokens or are drawn at random.
    """
    if not isinstance(inputs, tuple):
        inputs = token_tensors(inputs, None, None, model.vocabulary.sha256)
    check_model(model)

    def hook(activation: Tensor, hook: Any) -> None:
        with nullcontext() if precision is None else torch.autocast(model.device.type, enabled=False):
            readers[hook.name](activation)
        if hook.name == stop_at:
            raise _EnoughError

    with torch.inference_mode(), _autocast(model, precision), model.hooks([(name, hook) for name in readers]):
        try:
            model(*inputs)
        except _EnoughError:
            return


def check_model(model: HookedScGPT) -> None:
    """Refuse a model whose activations need more than tokens, or are drawn at random.

    Raises
    ------
    InputError
        It was fine-tuned with batches, or its dropout is on.
    """
    if model.config.needs_batches:
        msg = (
            f"this model was fine-tuned with {model.config.n_batches} batches, which cells here do not carry; take its "
            "activations with model.run_with_cache(tokens, batches=...)"
        )
        raise InputError(msg)
    if any(module.training and module.p > 0 for module in model.modules() if isinstance(module, nn.Dropout)):
        msg = "the model is in training mode, where dropout draws its activations at random; call model.eval() first"
        raise InputError(msg)


def _autocast(model: HookedScGPT, precision: torch.dtype | None) -> AbstractContextManager:
    return nullcontext() if precision is None else torch.autocast(model.device.type, precision)
