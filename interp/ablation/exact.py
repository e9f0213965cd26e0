"""Exact ablation: what is read from the model with each set of heads replaced, layers below a set computed once."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from queue import SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING, Any

import torch

from interp.ablation.head_sets import by_layer, check_heads, z_name
from interp.ablation.layers import after_attention, enter, observe, upward
from interp.ablation.passes import batch_tokens, batches, check_cells, live
from interp.ablation.readings import CLS_ROWS, Readings, Sheet, wanted_rows
from interp.capture.forward import check_model
from interp.runs.workers import each, processors_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy as np
    from torch import Tensor

    from interp.ablation.head_sets import HeadSet
    from interp.ablation.readings import Read
    from interp.ablation.replacements import Replacement
    from interp.scgpt.hooked import Hook
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

    The layers below a set's lowest head, and that layer's attention, are those of the model as it is: computed once.
    Hooks that are live act on all of it, and cost the saving inside the lowest layer and the last one; those that were
    made for these cells need them to fit one batch.

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
        Hears how many more readings are done; there are ``len(sets) * len(tokens)``.

    Returns
    -------
    Readings
        In the order of the cells and sets given.

    Raises
    ------
    InputError
        A head does not exist or stands twice in a set, there is no cell, the replacement does not know one, or what is
        read changes its shape.

    Examples
    --------
    >>> import interp
    >>> from interp.ablation import Zero
    >>> model = interp.load_model("scgpt-sim")
    >>> tokens = model.tokenize(interp.simulate(n_donors=2, n_cells=4, seed=1))
    >>> found = exact_readings(model, tokens, [[(0, 1)], [(0, 1), (3, 2)]], Zero(), lambda x, _: {"cls": x[:, 0]})
    >>> found.base["cls"].shape, found.ablated["cls"].shape
    ((4, 64), (2, 4, 64))
    """
    check_model(model)
    check_cells(tokens)
    found = tuple(check_heads(model.config, heads) for heads in sets)
    sheet, cls_only = Sheet(read, found, len(tokens)), wanted_rows(read) == CLS_ROWS
    own, lock = _copies(model, work := list(batches(model, tokens, batch_cells))), Lock()

    def run(rows: np.ndarray) -> None:
        one, batch = own.get(), tokens[rows]
        try:
            with torch.inference_mode():
                for place, resid in _Batch(one, batch, found, replacement, cls_only=cls_only).run():
                    with lock:  # a reader and a progress bar need not know of threads
                        sheet.put(place, rows, resid, batch)
                        if progress is not None:
                            progress(len(rows) * (found.count(()) if place is None else 1))
        finally:
            own.put(one)

    if own.qsize() == 1:
        for rows in work:
            run(rows)
    else:
        each(run, work, n_workers=own.qsize())
    return sheet.readings()


def _copies(model: HookedScGPT, work: Sequence[np.ndarray]) -> SimpleQueue[HookedScGPT]:
    """Models for as many batches as can be run at a time: hooks lie on a model, so threads cannot share one."""
    models: SimpleQueue[HookedScGPT] = SimpleQueue()
    models.put(model)
    if model.device.type == "cpu" and not live(model):
        size = sum(weights.nbytes for weights in model.parameters())
        for _ in range(1, min(len(work), processors_for(size))):
            models.put(deepcopy(model))
    return models


class _Batch:
    """Some cells, and the residual streams of each set of heads for them."""

    def __init__(
        self,
        model: HookedScGPT,
        batch: GeneTokens,
        sets: Sequence[HeadSet],
        replacement: Replacement,
        *,
        cls_only: bool,
    ) -> None:
        self.model, self.batch, self.cls_only = model, batch, cls_only
        self.sets = [by_layer(heads) for heads in sets]
        self.live = live(model)
        layers = sorted({layer for heads in self.sets for layer in heads})
        values = replacement.values(model, batch, [z_name(layer) for layer in layers]) if layers else {}
        self.values = {layer: values[z_name(layer)] for layer in layers}

    def run(self) -> Iterator[tuple[int | None, Tensor]]:
        """Go up the layers; yield the place of each set, and None at last for the base, with its residual stream."""
        x, padding = enter(self.model, self.batch)
        together = 1 if self.live else max(1, batch_tokens(self.model) // self.batch.gene_ids.numel())
        for layer in range(self.model.config.n_layers):
            places = [place for place, heads in enumerate(self.sets) if heads and min(heads) == layer]
            entered = x
            x, z, summed = observe(self.model, layer, x, padding)
            for start in range(0, len(places), together):
                chunk = places[start : start + together]
                resid = self._restart(layer, chunk, (entered, z, summed), padding)
                yield from zip(chunk, resid.split(len(self.batch)), strict=True)
        yield None, x[:, :1] if self.cls_only else x

    def _restart(
        self, layer: int, chunk: list[int], observed: tuple[Tensor, Tensor, Tensor], padding: Tensor | None
    ) -> Tensor:
        """Final residual streams of several sets whose lowest heads are in this layer, one below the other."""
        entered, z, summed = observed
        padding = None if padding is None else padding.repeat(len(chunk), 1)
        if self.live:
            # a live hook inside the layer may change what is made of z, so the whole layer runs again
            hooks = self._hooks(layer, chunk)
            x = upward(self.model, layer, entered.repeat(len(chunk), 1, 1), padding, hooks, cls_only=False)
            return x[:, :1] if self.cls_only else x
        if self.cls_only and layer == self.model.config.n_layers - 1:
            z, summed = z[:, :1], summed[:, :1]
        moved = torch.cat([self._moved(layer, self.sets[place][layer], z, summed) for place in chunk])
        x = after_attention(self.model.blocks[layer], moved)
        return upward(self.model, layer + 1, x, padding, self._hooks(layer + 1, chunk), cls_only=self.cls_only)

    def _moved(self, layer: int, heads: list[int], z: Tensor, summed: Tensor) -> Tensor:
        """What enters the first LayerNorm of a layer with some of its heads replaced."""
        change = (self._value(layer, heads, z.shape[1]) - z[:, :, heads]).flatten(0, 1).flatten(1)
        weight = self.model.blocks[layer].attn.W_O[heads].flatten(0, 1)
        return torch.addmm(summed.flatten(0, 1), change, weight).view_as(summed)

    def _value(self, layer: int, heads: list[int], n_rows: int) -> Tensor:
        value = self.values[layer]
        return value[:, :n_rows, heads] if value.dim() else value

    def _hooks(self, first: int, chunk: list[int]) -> dict[int, Hook]:
        """Hooks that replace the heads of several sets, from a layer on."""
        layers = {layer for place in chunk for layer in self.sets[place] if layer >= first}
        return {layer: partial(self._replace, layer=layer, chunk=chunk) for layer in layers}

    def _replace(self, z: Tensor, hook: Any, layer: int, chunk: list[int]) -> Tensor:
        z = z.clone()
        for place, own in zip(chunk, z.split(len(self.batch)), strict=True):
            heads = self.sets[place].get(layer)
            if heads:
                own[:, :, heads] = self._value(layer, heads, z.shape[1])
        return z
