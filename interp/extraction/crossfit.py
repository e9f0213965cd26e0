"""Operators that know nothing of the donors they are tested on: attention summed per donor fold, added up per split."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

import numpy as np

from interp.extraction.operators import KINDS, operators_from_sums

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float

    from interp.capture import AttentionSums
    from interp.cells import Anchors
    from interp.extraction.operators import Operator
    from interp.stats import Split


@dataclass(frozen=True, eq=False)
class CrossFit:
    """Attention of one model, by donor fold, ready to be cut into the operators of any split.

    Attributes
    ----------
    sums
        Attention sums over sampled cells of each fold's test donors, by fold id.
    genes
        Genes of the operators, by split id; chosen on the split's training donors.
    anchors
        All anchors, on a panel that holds those genes.
    kinds
        Reductions of attention over cells.
    """

    sums: Mapping[str, AttentionSums]
    genes: Mapping[str, Sequence[str]]
    anchors: Anchors
    kinds: tuple[str, ...] = KINDS
    _last: dict = field(default_factory=dict, repr=False)

    def training_sums(self, split: Split) -> AttentionSums:
        """Return the sums over the cells of a split's training donors."""
        if self._last.get("split") != split.id:
            parts = [sums.subset(self.genes[split.id]) for fold, sums in self.sums.items() if fold != split.id]
            self._last.clear()
            self._last.update(split=split.id, sums=reduce(add, parts))
        return self._last["sums"]

    def operators(self, split: Split) -> list[Operator]:
        """List the candidates of a split: every head, kind and orientation, and the pooled drift."""
        sums = self.training_sums(split)
        if "operators" not in self._last:
            self._last["operators"] = operators_from_sums(
                sums.sum, sums.count, sums.genes, kinds=self.kinds, n_cells=sums.n_cells, provenance={"split": split.id}
            )
        return self._last["operators"]

    def expression(self, split: Split) -> Float[np.ndarray, "anchor gene"]:
        """Return the anchors' expression on the genes of a split."""
        at = {gene: i for i, gene in enumerate(self.anchors.genes)}
        return self.anchors.features[:, [at[gene] for gene in self.genes[split.id]]]

    def counts(self, split: Split) -> Float[np.ndarray, "gene gene"]:
        """Return in how many of a split's training cells both genes were tokens."""
        return self.training_sums(split).count.astype(np.float64)
