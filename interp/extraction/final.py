"""The last step of extraction: the chosen operator fitted on all anchors, folded, with readouts from the cells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from interp.biology import map_labels
from interp.cells.panel import expression
from interp.extraction.algorithm import CompactAlgorithm
from interp.extraction.folding import fold
from interp.extraction.folds import Fold, held_out_rows
from interp.extraction.let import LetProblem, fit_let
from interp.extraction.naming import ensembl_ids, ensembl_table
from interp.extraction.readout import fit_readouts, root_centroid
from interp.extraction.span import SpanBasis
from interp.extraction.typical import fit_typical

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData
    from jaxtyping import Float
    from scipy.sparse import csr_matrix

    from interp.biology import Ruler, StageGraph
    from interp.cells.anchors import Anchors
    from interp.extraction.let import LetFit
    from interp.extraction.operators import Operator


@dataclass(frozen=True, eq=False)
class FinalFit:
    """An operator and its adaptor on all anchors of a panel.

    Attributes
    ----------
    operator
        The chosen operator.
    anchors
        All anchors, on the operator's genes.
    graph
        Stage graph; gives the ruler where none is given.
    alpha, ridge
        Weights of the adaptor's loss.
    n_starts
        Starts of the fit.
    seed
        Seed of the starts and of the readouts' draws.
    ruler
        Distances between stages, brought to the unit of hops; hops of the graph by default.
    hidden
        Units of a hidden layer of the readouts; 0 for linear ones.
    """

    operator: Operator
    anchors: Anchors
    graph: StageGraph
    alpha: float
    ridge: float
    n_starts: int = 5
    seed: int = 0
    ruler: Ruler | None = None
    hidden: int = 0

    @cached_property
    def fit(self) -> LetFit:
        """The adaptor, fitted on the anchors whose stage is known."""
        known = self.anchors.exact
        basis = SpanBasis.from_features(self.operator.apply(self.anchors.features[known]))
        stages = list(self.anchors.obs["stage"][known])
        ruler = self.graph.ruler(stages) if self.ruler is None else self.ruler.in_hops(self.graph, stages)
        problem = LetProblem(basis, ruler, self.alpha, self.ridge)
        return fit_let([problem], n_starts=self.n_starts, seed=self.seed)[0]

    def latents(self, features: Float[np.ndarray, "row gene"]) -> Float[np.ndarray, "row latent"]:
        """Return the latents of expression on the operator's genes."""
        return self.fit.transform(self.operator.apply(features))

    def algorithm(self, name: str, cells: AnnData, provenance: dict[str, Any]) -> CompactAlgorithm:
        """Fold operator and adaptor and fit readouts and out-of-distribution score on the panel's cells.

        Both are calibrated on held-out donors: adaptor and readouts are fitted again without them.

        Parameters
        ----------
        name
            What the algorithm is called.
        cells
            The panel that the anchors were made of.
        provenance
            Model, panels and settings; no times.

        Returns
        -------
        CompactAlgorithm
        """
        x = expression(cells, self.operator.genes)
        candidates = map_labels(cells.obs["cell_type"].astype(str).unique(), self.graph)["candidates"]
        coarse = {label: tuple(stages) for label, stages in candidates.items() if len(stages) > 1}
        latents = fold(self.operator, self.fit).latents(x)
        known = self.anchors.exact
        held_out = held_out_rows(cells.obs, seed=self.seed)
        folds = [Fold(rows, self._latents_without(rows, cells, x)) for rows in held_out]
        readouts = fit_readouts(latents, cells.obs, candidates=coarse, hidden=self.hidden, folds=folds, seed=self.seed)
        algorithm = CompactAlgorithm.build(
            name,
            self.operator,
            self.fit,
            expression=x,
            readouts=readouts,
            root=root_centroid(self.latents(self.anchors.features[known]), self.anchors.obs[known]),
            typical=fit_typical(cells[:, list(self.operator.genes)].X, cells.obs, held_out),
            provenance=provenance,
        )
        ids = ensembl_ids(algorithm.genes, ensembl_table(cells.var))
        return algorithm.with_ensembl(dict(zip(algorithm.genes, ids, strict=True))) if ids else algorithm

    def _latents_without(self, rows: np.ndarray, cells: AnnData, x: csr_matrix) -> np.ndarray:
        """Latents of all cells, (cell, latent), by an adaptor fitted without the donors of some rows, (cell,) bool."""
        donors = set(cells.obs["donor"][rows].astype(str))
        kept = ~self.anchors.obs["donor"].astype(str).isin(donors).to_numpy()
        other = replace(self, anchors=self.anchors.subset(kept))
        stages = other.anchors.obs["stage"][other.anchors.exact]
        fit = other.fit if stages.nunique() > 1 else self.fit  # one stage alone has no ruler to be fitted to
        return fold(self.operator, fit).latents(x)
