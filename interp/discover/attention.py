"""Attention of the model under study, and of untrained ones, summed over the same cells of each donor fold."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.capture import AttentionSums, attention_sums
from interp.extraction.kinds import DEFAULT_KINDS
from interp.runs.progress import progress
from interp.runs.seeds import stream
from interp.runs.workers import each, processors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData

    from interp.scgpt.model import HookedScGPT
    from interp.scgpt.tokens import GeneTokens
    from interp.stats import Split


@dataclass(frozen=True, eq=False)
class FoldAttention:
    """Sampled cells of each donor fold and what attends to what in them.

    Attributes
    ----------
    cells
        The internal panel.
    splits
        Donor splits; without any, all donors are one fold.
    genes
        Panel of the sums.
    n_cells
        Cells that the training folds of a split hold together, about.
    seed
        Of the sample and of the tokens.
    kinds
        Kinds of operators that the sums must serve.
    """

    cells: AnnData
    splits: Sequence[Split]
    genes: Sequence[str]
    n_cells: int
    seed: int
    kinds: Sequence[str] = DEFAULT_KINDS
    _tokens: dict[str, GeneTokens] = field(default_factory=dict, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    @property
    def folds(self) -> dict[str, tuple[str, ...]]:
        """Donors of each fold."""
        if self.splits:
            return {split.id: split.test_donors for split in self.splits}
        return {"fold0": tuple(sorted(set(self.cells.obs["donor"].astype(str))))}

    @property
    def parts(self) -> dict[str, bool]:
        """Which optional parts of the sums the kinds need, by the option of `attention_sums` that adds them."""
        return {part: part in self.kinds for part in ("value_weighted", "lift")}

    def of(
        self, model: HookedScGPT, description: str, *, heads: Sequence[tuple[int, int]] | None = None
    ) -> dict[str, AttentionSums]:
        """Sum a model's attention over the sampled cells of each fold; of chosen heads, with every optional part."""
        tokens = self._sampled(model)
        n_cells = sum(map(len, tokens.values()))
        n_workers = processors() if model.device.type == "cpu" else 1

        parts: dict[str, Any] = self.parts if heads is None else {**dict.fromkeys(self.parts, True), "heads": heads}

        def summed(part: GeneTokens) -> AttentionSums:
            # Hooks lie on the model, so threads cannot share one.
            return attention_sums(deepcopy(model) if n_workers > 1 else model, part, self.genes, **parts)

        with progress(total=n_cells, description=description, unit="cell") as bar:
            sums = each(summed, tokens.values(), n_workers=n_workers, within=bar)
        return dict(zip(tokens, sums, strict=True))

    def save(self, model: HookedScGPT, folder: Path) -> None:
        """Write the sums of every fold."""
        for name, sums in self.of(model, "attention").items():
            sums.save(folder / name)

    def load(self, folder: Path) -> dict[str, AttentionSums]:
        """Read what `save` wrote."""
        return {name: AttentionSums.load(folder / name) for name in self.folds}

    def _sampled(self, model: HookedScGPT) -> dict[str, GeneTokens]:
        with self._lock:
            if not self._tokens:  # an untrained model reads the same tokens
                self._tokens.update({name: self._sample(model, name) for name in self.folds})
        return self._tokens

    def _sample(self, model: HookedScGPT, name: str) -> GeneTokens:
        folds = self.folds
        share = min(1.0, self.n_cells * len(folds) / max(1, len(folds) - 1) / self.cells.n_obs)
        rows = np.flatnonzero(self.cells.obs["donor"].isin(folds[name]).to_numpy())
        order = stream(self.seed, f"discover.attention {name}").permutation(len(rows))
        picked = np.sort(rows[order[: max(1, round(share * len(rows)))]])
        return model.tokenize(self.cells[picked], seed=self.seed)
