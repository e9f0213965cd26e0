"""One forward pass that hands activations to readers and stops after the last one that is wanted."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from torch import Tensor

    from interp.scgpt.model import HookedScGPT
    from interp.scgpt.tokens import GeneTokens

Inputs = "tuple[Tensor, Tensor, Tensor | None]"


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
        Type that matrix products are computed in (autocast); None leaves the weights' own.
    """
    if not isinstance(inputs, tuple):
        inputs = inputs.gene_ids, inputs.values, inputs.padding
    ids, values, padding = (None if part is None else part.to(model.device) for part in inputs)

    def hook(activation: Tensor, hook: Any) -> None:
        readers[hook.name](activation)
        if hook.name == stop_at:
            raise _EnoughError

    with torch.inference_mode(), _autocast(model, precision), model.hooks([(name, hook) for name in readers]):
        try:
            model(ids, values, padding)
        except _EnoughError:
            return


def _autocast(model: HookedScGPT, precision: torch.dtype | None) -> AbstractContextManager:
    return nullcontext() if precision is None else torch.autocast(model.device.type, precision)
