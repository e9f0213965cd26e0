"""Operators that know nothing of the donors they are tested on: attention summed per donor fold, added up per split."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, reduce
from operator import add
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from interp.extraction.attention_operators import attention_operators
from interp.extraction.kinds import DEFAULT_KINDS

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

    The training sums of the split asked for last are kept, (layer, head, gene, gene) in float64: 108 MB for 6 layers x
    4 heads on 750 genes. Threads may ask at the same time.

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
    kinds: tuple[str, ...] = DEFAULT_KINDS
    _last: dict[str, tuple[AttentionSums, list[Operator]]] = field(default_factory=dict, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    @property
    def nbytes(self) -> int:
        """Bytes held at most while this is cut: the sums of the folds, a split's, and what they are added up from."""
        sizes = [sums.sum.nbytes for sums in self.sums.values()]
        return sum(sizes) + 3 * max(sizes)

    def training_sums(self, split: Split) -> AttentionSums:
        """Return the sums over the cells of a split's training donors."""
        return self._of(split)[0]

    def operators(self, split: Split) -> list[Operator]:
        """List the candidates of a split: every head, kind and orientation, and the pooled drift."""
        return self._of(split)[1]

    def expression(self, split: Split) -> Float[np.ndarray, "anchor gene"]:
        """Return the anchors' expression on the genes of a split."""
        return self.anchors.features[:, [self._column[gene] for gene in self.genes[split.id]]]

    def counts(self, split: Split) -> Float[np.ndarray, "gene gene"]:
        """Return in how many of a split's training cells both genes were tokens."""
        return self.training_sums(split).count.astype(np.float64)

    @cached_property
    def _column(self) -> dict[str, int]:
        return {gene: i for i, gene in enumerate(self.anchors.genes)}

    def _of(self, split: Split) -> tuple[AttentionSums, list[Operator]]:
        with self._lock:
            if split.id not in self._last:
                self._last.clear()
                self._last[split.id] = self._cut(split)
            return self._last[split.id]

    def _cut(self, split: Split) -> tuple[AttentionSums, list[Operator]]:
        genes = self.genes[split.id]
        sums = reduce(add, (sums.subset(genes) for fold, sums in self.sums.items() if fold != split.id))
        return sums, attention_operators(sums, kinds=self.kinds, provenance={"split": split.id})
