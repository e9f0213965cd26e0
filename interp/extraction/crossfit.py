"""Operators that know nothing of the donors they are tested on: attention summed per donor fold, added up per split."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, reduce
from operator import add
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.errors import InputError
from interp.extraction.attention_operators import attention_operators
from interp.extraction.kinds import DEFAULT_KINDS, WEIGHT_KINDS
from interp.extraction.weight_operators import weight_operators

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float

    from interp.capture import AttentionSums
    from interp.cells import Anchors
    from interp.extraction.operator import Operator
    from interp.extraction.weight_operators import ModelWeights
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
        Kinds of operators (`interp.extraction.kinds`); sums must hold what they are made of.
    weights
        Weights of the same model on the union of the genes, for the kinds that are made of weights.
    provenance
        What every operator says of where it came from, beside its split; JSON.
    """

    sums: Mapping[str, AttentionSums]
    genes: Mapping[str, Sequence[str]]
    anchors: Anchors
    kinds: tuple[str, ...] = DEFAULT_KINDS
    weights: ModelWeights | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    _last: dict[str, tuple[AttentionSums, list[Operator]]] = field(default_factory=dict, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    @property
    def nbytes(self) -> int:
        """Bytes held at most while this is cut: the sums of the folds, a split's, and what they are added up from."""
        sizes = [sums.nbytes for sums in self.sums.values()]
        return sum(sizes) + 3 * max(sizes) + (self.weights.nbytes if self.weights else 0)

    def training_sums(self, split: Split) -> AttentionSums:
        """Return the sums over the cells of a split's training donors."""
        return self._of(split)[0]

    def operators(self, split: Split) -> list[Operator]:
        """List the candidates of a split: of attention, then of weights; head by head, kind by kind, both ways.

        Raises
        ------
        InputError
            A kind is unknown, or sums or weights lack what it is made of.
        """
        return self._of(split)[1]

    def expression(self, split: Split) -> Float[np.ndarray, "anchor gene"]:
        """Return the anchors' expression on the genes of a split."""
        return self.anchors.features[:, [self._column[gene] for gene in self.genes[split.id]]]

    def counts(self, split: Split) -> Float[np.ndarray, "gene gene"]:
        """Return in how many of a split's training cells both genes were tokens."""
        return self.training_sums(split).count.astype(np.float64)

    def uniform(self, split: Split) -> Float[np.ndarray, "gene gene"]:
        """Return what the sums would be if every token of a split's training cells attended evenly to all."""
        return self.training_sums(split).uniform

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
        provenance = {**self.provenance, "split": split.id}
        operators = attention_operators(sums, kinds=self.kinds, provenance=provenance)
        if of_weights := [kind for kind in self.kinds if kind in WEIGHT_KINDS]:
            if self.weights is None:
                msg = f"Operator kinds {', '.join(of_weights)} are made of weights; give `weights` (ModelWeights.of)."
                raise InputError(msg)
            operators += weight_operators(self.weights.subset(genes), kinds=of_weights, provenance=provenance)
        return sums, operators
