"""Passes over the cells that replacements and engines share: in batches, and no further than what is read."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from interp.capture.forward import forward
from interp.capture.plan import pass_plan
from interp.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor

    from interp.scgpt.model import HookedScGPT
    from interp.scgpt.tokens import GeneTokens

_LAYER = re.compile(r"^blocks\.(\d+)\.")


def check_cells(tokens: GeneTokens) -> None:
    """Refuse an empty panel.

    Raises
    ------
    InputError
        There is no cell.
    """
    if not len(tokens):
        msg = "no cells were given, so there is nothing to ablate; give the tokens of at least one"
        raise InputError(msg)


def live(model: HookedScGPT) -> bool:
    """Return whether any hook is live."""
    return any(point.has_hooks() for point in model.hook_dict.values())


def batch_tokens(model: HookedScGPT) -> int:
    """Return how many tokens the model's device serves best at once."""
    return pass_plan(model.config, model.device.type, patterns=False).batch_tokens


def batches(
    model: HookedScGPT, tokens: GeneTokens, batch_cells: int | None = None, *, share: int = 1
) -> Iterator[np.ndarray]:
    """Go through cells in batches of similar length.

    Parameters
    ----------
    model
        The model, whose device says how large a batch may be.
    tokens
        The cells.
    batch_cells
        Most cells of a batch; only as many tokens as serve the device when None.
    share
        Divides that number of tokens, for passes that keep more.

    Yields
    ------
    numpy.ndarray
        Places of the cells of one batch.

    Raises
    ------
    InputError
        `batch_cells` is below 1.
    """
    if batch_cells is not None and batch_cells < 1:
        msg = f"batch_cells = {batch_cells} leaves no cell for a batch; give at least 1, or leave it out"
        raise InputError(msg)
    plan = pass_plan(model.config, model.device.type, patterns=False)
    for rows in replace(plan, batch_tokens=max(1, plan.batch_tokens // share)).batches(tokens.lengths):
        for start in range(0, len(rows), batch_cells or len(rows)):
            yield rows[start : start + (batch_cells or len(rows))]


def watch(model: HookedScGPT, tokens: GeneTokens, readers: Mapping[str, Callable[[Tensor], object]]) -> None:
    """Run some cells at once and hand activations to readers; layers above the last one that is read are left out.

    Parameters
    ----------
    model
        The model.
    tokens
        Cells of one batch.
    readers
        From hook point to a function that reads the activation and changes nothing.
    """
    last = _last(list(readers), model.config.n_layers)
    given = dict(readers)
    if last is not None:
        given.setdefault(last, lambda _: None)
    forward(model, tokens, given, stop_at=last)


def _last(names: Sequence[str], n_layers: int) -> str | None:
    """Hook point after which none of these fires any more; None where that is not known."""
    found = [_LAYER.match(name) for name in names]
    layers = [n_layers if match is None else int(match[1]) for match in found]
    top = max(layers)
    if top == n_layers:
        return None
    inside = [name for name, layer in zip(names, layers, strict=True) if layer == top]
    return inside[0] if len(inside) == 1 else f"blocks.{top}.hook_resid_post"
