"""The work of a capture on one part of the cells: tokenise, run, reduce."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from interp.capture.forward import forward
from interp.capture.layout import CELL_IDS, DTYPES, LENGTHS, TOKEN_GENES
from interp.capture.parts import read_tokens
from interp.capture.reduce import FULL, BatchReducer, Reduction

if TYPE_CHECKING:
    from collections.abc import Callable

    from interp.capture.plan import BatchPlan
    from interp.capture.sites import Site
    from interp.cells.genes import GeneMatch
    from interp.cells.reader import CellReader
    from interp.scgpt.model import HookedScGPT
    from interp.scgpt.tokens import GeneTokens

# Type that matrix products are computed in, by the user's word; None leaves the weights' own.
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, eq=False)
class CaptureWork:
    """All that is needed to compute any part of a capture.

    Attributes
    ----------
    model, reader
        The model and the cells.
    match
        How the cells' genes met the vocabulary.
    sites
        Activations, in the order in which they arise.
    reduction
        What is kept of them.
    plan
        How the cells are cut.
    dtype
        Type on disk.
    seed, max_tokens
        Of the tokens.
    precision
        Key of `PRECISIONS`.
    """

    model: HookedScGPT
    reader: CellReader
    match: GeneMatch
    sites: tuple[Site, ...]
    reduction: Reduction
    plan: BatchPlan
    dtype: str
    seed: int
    max_tokens: int | None
    precision: str

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one cell by array of the store."""
        shapes = {site.name: self.reduction.shape(site) for site in self.sites}
        return shapes | ({TOKEN_GENES: (self.reduction.longest,)} if self.reduction.kind == FULL else {})

    def tokens(self, number: int) -> GeneTokens:
        """Tokens of one part."""
        start, stop = self.plan.parts(len(self.reader))[number]
        return read_tokens(
            self.model, self.reader, start, stop, match=self.match, seed=self.seed, max_tokens=self.max_tokens
        )

    def compute(self, tokens: GeneTokens, done: Callable[[int], object] | None = None) -> dict[str, np.ndarray]:
        """Return the arrays of one part, by name, each (cell, ...); `done` hears the number of cells of each batch."""
        kind = DTYPES[self.dtype]
        arrays = {site.name: np.full((len(tokens), *self.reduction.shape(site)), np.nan, kind) for site in self.sites}
        for rows in self.plan.batches(tokens.lengths):
            for name, values in self._batch(tokens[rows]).items():
                within: tuple[Any, ...] = tuple(slice(0, size) for size in values.shape[1:])
                arrays[name][(rows, *within)] = values
            if done is not None:
                done(len(rows))
        arrays[LENGTHS] = tokens.lengths.astype(np.int32)
        arrays[CELL_IDS] = np.array(tokens.cell_ids, dtype=object)
        if self.reduction.kind == FULL:
            genes = np.full((len(tokens), self.reduction.longest), -1, np.int32)
            genes[:, : tokens.gene_ids.shape[1]] = np.where(tokens.padding, -1, tokens.gene_ids)
            arrays[TOKEN_GENES] = genes
        return arrays

    def _batch(self, batch: GeneTokens) -> dict[str, np.ndarray]:
        reduce = BatchReducer(self.reduction, batch, self.model.vocabulary, self.model.device)
        kept: dict[str, torch.Tensor] = {}
        readers = {
            site.name: lambda activation, site=site: kept.__setitem__(site.name, reduce(activation, site))
            for site in self.sites
        }
        forward(self.model, batch, readers, stop_at=self.sites[-1].name, precision=PRECISIONS[self.precision])
        return {name: values.float().cpu().numpy() for name, values in kept.items()}
