"""Adds the patterns of one batch after the other to gene x gene sums, on the CPU or where the model is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from interp.capture.sums import AttentionSums

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from interp.scgpt.model import HookedScGPT
    from interp.scgpt.tokens import GeneTokens


class Accumulator:
    """Gene x gene sums that grow with every batch.

    Parameters
    ----------
    model
        The model.
    genes
        The panel.
    heads
        Layer and head of those that are summed.
    value_weighted
        Whether patterns are summed times the norm of the moved value, too.
    lift
        Whether patterns are summed times the cell's number of tokens, too.
    """

    def __init__(
        self,
        model: HookedScGPT,
        genes: Sequence[str],
        heads: Sequence[tuple[int, int]],
        *,
        value_weighted: bool,
        lift: bool = False,
    ) -> None:
        self._model, self._genes = model, tuple(genes)
        self._column = np.full(len(model.vocabulary), -1)
        self._column[model.vocabulary.ids(list(genes))] = np.arange(len(genes))
        self._slots = {layer: np.full(model.config.n_heads, -1) for layer in sorted({layer for layer, _ in heads})}
        for slot, (layer, head) in enumerate(heads):
            self._slots[layer][head] = slot
        n = len(genes)
        # On a GPU the sums stay there: moving every pattern off it would cost more than computing it.
        self._on_device = model.device.type != "cpu"
        self._sum = self._zeros(len(heads), n)
        self._weighted = self._zeros(len(heads), n) if value_weighted else None
        self._lifted = self._zeros(len(heads), n) if lift else None
        self._uniform, self._count = np.zeros((n, n)), np.zeros((n, n), np.int64)
        self._n_cells = 0
        # of the batch at hand: where its tokens lie in the panel, the norms of the values that they move, and how many
        # tokens each cell has
        self._columns, self._norms, self._lengths = np.zeros((0, 0), np.int64), torch.zeros(0), torch.zeros(0)

    @property
    def last_layer(self) -> int:
        """The last layer with a head that is summed."""
        return max(self._slots)

    def locate(self, batch: GeneTokens) -> None:
        """Note where the batch's tokens lie in the panel (-1 = outside) and count the pairs."""
        from interp.capture.kernel import add_pairs

        self._columns = np.where(batch.padding.numpy(), -1, self._column[batch.gene_ids.numpy()])
        self._lengths = torch.as_tensor(batch.lengths, dtype=torch.float32)
        self._n_cells += len(batch)
        add_pairs(self._count, self._uniform, self._columns, batch.lengths)

    def readers(self) -> dict[str, Callable[[Tensor], None]]:
        """Functions that read the activations which are needed, by hook point."""
        readers: dict[str, Callable[[Tensor], None]] = {}
        for layer in self._slots:
            if self._weighted is not None:
                readers[f"blocks.{layer}.attn.hook_v"] = lambda v, layer=layer: self._measure(layer, v)  # type: ignore[misc]
            readers[f"blocks.{layer}.attn.hook_pattern"] = lambda x, layer=layer: self._add(layer, x)  # type: ignore[misc]
        return readers

    def result(self, heads: tuple[tuple[int, int], ...] | None) -> AttentionSums:
        """Return the sums; `heads` names them, None shapes them as (layer, head, gene, gene)."""
        shape = (self._model.config.n_layers, self._model.config.n_heads) if heads is None else (len(heads),)
        n = len(self._genes)

        def shaped(part: np.ndarray | Tensor) -> np.ndarray:
            return np.asarray(part.cpu() if isinstance(part, Tensor) else part).reshape(*shape, n, n)

        weighted, lifted = (None if part is None else shaped(part) for part in (self._weighted, self._lifted))
        counted = (self._uniform, self._count, self._genes, self._n_cells)
        return AttentionSums(shaped(self._sum), *counted, heads, weighted, lifted)

    def _zeros(self, n_slots: int, n_genes: int) -> np.ndarray | Tensor:
        if not self._on_device:
            return np.zeros((n_slots, n_genes, n_genes))
        return torch.zeros((n_slots, n_genes, n_genes), dtype=torch.float64, device=self._model.device)

    def _measure(self, layer: int, v: Tensor) -> None:
        """Keep the norm of every moved value, (cell, key, head), until the layer's pattern comes."""
        self._norms = value_norms(v, self._model.blocks[layer].attn.W_O)

    def _add(self, layer: int, pattern: Tensor) -> None:
        from interp.capture.kernel import add_patterns

        slots = self._slots[layer]
        if self._on_device:
            add_on_device(self._sum, slots, pattern, self._columns)
        else:
            add_patterns(self._sum, slots, pattern.float().numpy(), self._columns)
        if self._weighted is not None:
            self._add_scaled(self._weighted, slots, pattern, self._norms)
        if self._lifted is not None:
            n_cells, n_heads, _, n_keys = pattern.shape
            lengths = self._lengths[:, None, None].expand(n_cells, n_keys, n_heads)
            self._add_scaled(self._lifted, slots, pattern, lengths)

    def _add_scaled(self, total: np.ndarray | Tensor, slots: np.ndarray, pattern: Tensor, scale: Tensor) -> None:
        """Add patterns times a number for every key, `scale` (cell, key, head)."""
        from interp.capture.kernel import add_weighted

        if self._on_device:
            scale = scale.to(pattern.device).transpose(1, 2).unsqueeze(2)
            add_on_device(total, slots, pattern * scale, self._columns)
        else:
            add_weighted(total, slots, pattern.float().numpy(), scale.float().contiguous().numpy(), self._columns)


def value_norms(v: Tensor, output: Tensor) -> Tensor:
    """Norm of what each token's value adds to the residual stream through each head, (cell, token, head).

    Parameters
    ----------
    v
        Values, (cell, token, head, d_head).
    output
        Output weights, (head, d_head, d_model).
    """
    gram = output @ output.transpose(1, 2)  # (head, d_head, d_head): |v W|^2 = v W W' v' without the d_model axis
    return torch.einsum("cthd,hde,cthe->cth", v, gram, v).clamp(min=0).sqrt()


def add_on_device(total: Tensor, slots: np.ndarray, pattern: Tensor, columns: np.ndarray) -> None:
    """Add patterns to sums in place, where both lie; the torch form of `interp.capture.kernel.add_patterns`."""
    heads = np.flatnonzero(slots >= 0)
    chosen = torch.from_numpy(heads).to(pattern.device)
    targets = torch.from_numpy(slots[heads]).to(pattern.device)[:, None, None]
    for cell, places in enumerate(columns):
        inside = np.flatnonzero(places >= 0)
        tokens = torch.from_numpy(inside).to(pattern.device)
        genes = torch.from_numpy(places[inside]).to(pattern.device)
        block = pattern[cell][chosen][:, tokens[:, None], tokens].to(total.dtype)
        # every (slot, gene, gene) occurs once in a cell, so reading, adding and writing is exact
        total[targets, genes[:, None], genes] += block
