"""What of an activation is kept for each cell: the `<cls>` row, the mean over genes, chosen genes, or all of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from interp.cells.names import some
from interp.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interp.capture.sites import Site
    from interp.scgpt.tokens import GeneTokens
    from interp.scgpt.vocabulary import Vocabulary

CLS, MEAN, GENES, FULL = "cls", "mean", "genes", "full"
REDUCTIONS = (CLS, MEAN, GENES, FULL)


@dataclass(frozen=True)
class Reduction:
    """How activations are reduced to one block per cell.

    Attributes
    ----------
    kind
        One of `REDUCTIONS`.
    genes
        The chosen genes, for ``genes``.
    longest
        Tokens of the longest cell, for ``full``.
    """

    kind: str
    genes: tuple[str, ...] = ()
    longest: int = 0

    def check(self, sites: Sequence[Site]) -> None:
        """Refuse what has no meaning.

        Raises
        ------
        InputError
            The kind is unknown, genes are missing, given in vain or given twice, or patterns would be averaged.
        """
        if self.kind not in REDUCTIONS:
            msg = f"reduce = {self.kind!r} is not known; expected one of {', '.join(REDUCTIONS)}"
            raise InputError(msg)
        if (self.kind == GENES) != bool(self.genes):
            msg = f"reduce = {self.kind!r} with {len(self.genes)} genes; genes= goes with reduce='genes' alone"
            raise InputError(msg)
        check_distinct(self.genes)
        pairs = [site.name for site in sites if site.per_pair]
        if pairs and self.kind in (CLS, MEAN):
            msg = (
                f"{pairs[0]} is one number per pair of tokens, so reduce = {self.kind!r} has no meaning; use "
                "'genes' or 'full', or interp.attention_sums for sums over cells"
            )
            raise InputError(msg)

    def shape(self, site: Site) -> tuple[int, ...]:
        """Shape of what is kept of one cell."""
        if site.per_token and self.kind in (CLS, MEAN):
            return tuple(size for size in site.shape if size is not None)
        kept = len(self.genes) if self.kind == GENES else self.longest
        return tuple(kept if size is None else size for size in site.shape)


class BatchReducer:
    """Reduces the activations of one batch.

    Parameters
    ----------
    reduction
        What is kept.
    batch
        The batch's tokens.
    vocabulary
        Of the model.
    device
        Where the activations lie.
    """

    def __init__(self, reduction: Reduction, batch: GeneTokens, vocabulary: Vocabulary, device: torch.device) -> None:
        self.reduction = reduction
        self.width = batch.gene_ids.shape[1]
        self.padding = batch.padding.to(device)
        if reduction.kind == MEAN:
            inside = ~self.padding
            inside[:, 0] = False  # <cls> is no gene
            # 0 / 0 = NaN for a cell that expresses no gene
            self.weights = (inside / inside.sum(1, keepdim=True)).unsqueeze(1)  # (cell, 1, token)
        if reduction.kind == GENES:
            column = np.full(len(vocabulary), -1)
            column[vocabulary.ids(list(reduction.genes))] = np.arange(len(reduction.genes))
            places = torch.from_numpy(np.where(batch.padding, -1, column[batch.gene_ids.numpy()])).to(device)
            self.cell, self.token = (places >= 0).nonzero(as_tuple=True)
            self.column = places[self.cell, self.token]

    def __call__(self, activation: Tensor, site: Site) -> Tensor:
        """Return what is kept of a batch's activation, (cell, ...); the token axis of ``full`` ends with the batch."""
        if not (site.per_token or site.per_pair):
            return activation
        kind = self.reduction.kind
        if kind == CLS:
            return activation[:, 0].clone()  # a view would keep the whole activation alive
        if kind == MEAN:
            flat = activation.flatten(2) if activation.ndim > 2 else activation.unsqueeze(-1)
            mean = torch.bmm(self.weights, flat.float()).squeeze(1)
            return mean.unflatten(-1, activation.shape[2:]) if activation.ndim > 2 else mean.squeeze(-1)
        if kind == GENES:
            return self._pick_pairs(activation) if site.per_pair else self._pick(activation)
        return self._without_padding(activation, site)

    def _pick(self, activation: Tensor) -> Tensor:
        n_cells, n_genes = len(activation), len(self.reduction.genes)
        kept = activation.new_full((n_cells, n_genes, *activation.shape[2:]), torch.nan)
        kept[self.cell, self.column] = activation[self.cell, self.token]
        return kept

    def _pick_pairs(self, activation: Tensor) -> Tensor:
        rows = self._pick(activation.movedim(2, 1))  # (cell, query gene, head, key)
        columns = self._pick(rows.movedim(3, 1))  # (cell, key gene, query gene, head)
        return columns.permute(0, 3, 2, 1)

    def _without_padding(self, activation: Tensor, site: Site) -> Tensor:
        for axis, size in enumerate(site.shape, start=1):
            if size is None:
                shape = [len(activation), *([1] * (activation.ndim - 1))]
                shape[axis] = self.width
                activation = activation.masked_fill(self.padding.view(shape), torch.nan)
        return activation


def check_distinct(genes: Sequence[str]) -> None:
    """Refuse a gene that is given twice, as only one of its places could be filled.

    Raises
    ------
    InputError
        A gene is given twice.
    """
    twice = [gene for gene, number in Counter(genes).items() if number > 1]
    if twice:
        msg = f"{len(twice)} genes are given twice: {some(twice)}; give each once"
        raise InputError(msg)
