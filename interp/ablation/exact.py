"""Exact ablation: what is read from the model with each set of heads replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from interp.ablation.head_sets import check_heads
from interp.ablation.interventions import ReplaceHeads
from interp.ablation.passes import batches, watch
from interp.ablation.readings import CLS_ROWS, Readings, Sheet, wanted_rows
from interp.capture.forward import check_model
from interp.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch import Tensor

    from interp.ablation.readings import Read
    from interp.ablation.replacements import Replacement
    from interp.scgpt.model import HookedScGPT
    from interp.scgpt.tokens import GeneTokens


def exact_readings(
    model: HookedScGPT,
    tokens: GeneTokens,
    sets: Sequence[Iterable[tuple[int, int]]],
    replacement: Replacement,
    read: Read,
    *,
    batch_cells: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> Readings:
    """Read the final residual stream with each of several sets of heads replaced.

    Parameters
    ----------
    model
        The model.
    tokens
        The cells.
    sets
        Sets of (layer, head). A set without heads gives the base to the last bit.
    replacement
        What z of these heads becomes.
    read
        What is read; see `Read`.
    batch_cells
        Most cells of a batch.
    progress
        Hears how many cells of how many sets are done, as their product, now and then; the total is
        ``len(sets) * len(tokens)``.

    Returns
    -------
    Readings
        In the order of the cells and sets given.

    Raises
    ------
    InputError
        A head does not exist or stands twice in a set, there is no cell, the replacement does not know one, or what is
        read changes its shape.
    """
    check_model(model)
    if not len(tokens):
        msg = "no cells were given; there is nothing to read"
        raise InputError(msg)
    found = tuple(check_heads(model.config, heads) for heads in sets)
    sheet, cls_only = Sheet(read, found, len(tokens)), wanted_rows(read) == CLS_ROWS
    for rows in batches(model, tokens, batch_cells):
        batch = tokens[rows]
        with torch.inference_mode():
            sheet.put_base(rows, _run(model, batch, cls_only=cls_only), batch)
            for place, heads in enumerate(found):
                if heads:
                    with model.hooks(ReplaceHeads(heads, replacement).hooks(model, batch)):
                        sheet.put(place, rows, _run(model, batch, cls_only=cls_only), batch)
                if progress is not None:
                    progress(len(rows))
    return sheet.readings()


def _run(model: HookedScGPT, batch: GeneTokens, *, cls_only: bool) -> Tensor:
    found: list[Tensor] = []
    watch(model, batch, {f"blocks.{model.config.n_layers - 1}.hook_resid_post": found.append})
    return found[0][:, :1] if cls_only else found[0]
