"""The work of a capture on one part of the cells: tokenise, run, reduce."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import partial
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

log = logging.getLogger(__name__)

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
    _overflown: set[str] = field(default_factory=set, init=False, repr=False)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one cell by array of the store."""
        shapes = {site.name: self.reduction.shape(site) for site in self.sites}
        return shapes | ({TOKEN_GENES: (self.reduction.longest,)} if self.reduction.kind == FULL else {})

    def tokens(self, number: int) -> GeneTokens:
        """Tokens of one part."""
        start, stop = self.plan.part(number, len(self.reader))
        return read_tokens(
            self.model, self.reader, start, stop, match=self.match, seed=self.seed, max_tokens=self.max_tokens
        )

    def compute(self, tokens: GeneTokens, done: Callable[[int], object] | None = None) -> dict[str, np.ndarray]:
        """Return the arrays of one part, by name, each (cell, ...); `done` hears the number of cells of each batch."""
        kind = DTYPES[self.dtype]
        arrays = {site.name: np.full((len(tokens), *self.reduction.shape(site)), np.nan, kind) for site in self.sites}
        for rows in self.plan.batches(tokens.lengths):
            self._run(tokens[rows], rows, arrays)
            if done is not None:
                done(len(rows))
        arrays[LENGTHS] = tokens.lengths.astype(np.int32)
        arrays[CELL_IDS] = np.array(tokens.cell_ids, dtype=object)
        if self.reduction.kind == FULL:
            genes = np.full((len(tokens), self.reduction.longest), -1, np.int32)
            genes[:, : tokens.gene_ids.shape[1]] = np.where(tokens.padding, -1, tokens.gene_ids)
            arrays[TOKEN_GENES] = genes
        return arrays

    def _run(self, batch: GeneTokens, rows: np.ndarray, arrays: dict[str, np.ndarray]) -> None:
        """Run the model on some cells of a part and put what is kept into their rows, one site after the other."""
        reduce = BatchReducer(self.reduction, batch, self.model.vocabulary, self.model.device)

        def keep(activation: torch.Tensor, site: Site) -> None:
            values = reduce(activation, site).float().cpu().numpy()
            within: tuple[Any, ...] = tuple(slice(0, size) for size in values.shape[1:])
            arrays[site.name][(rows, *within)] = self._stored(values, site)

        readers = {site.name: partial(keep, site=site) for site in self.sites}
        forward(self.model, batch, readers, stop_at=self.sites[-1].name, precision=PRECISIONS[self.precision])

    def _stored(self, values: np.ndarray, site: Site) -> np.ndarray:
        """Convert to the type on disk, and warn once a site where its range is too small."""
        with np.errstate(over="ignore"):
            stored = values.astype(DTYPES[self.dtype], copy=False)
        if stored is not values and site.name not in self._overflown:
            lost = int((np.isinf(stored) & np.isfinite(values)).sum())
            if lost:
                self._overflown.add(site.name)
                log.warning(
                    "%s: values beyond %g, %d in this batch, are stored as infinite; capture with dtype='float32'",
                    site.name,
                    np.finfo(stored.dtype).max,
                    lost,
                )
        return stored
