"""The last step of extraction: the chosen operator fitted on all anchors, folded, with readouts from the cells."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from interp.biology import map_labels
from interp.cells.panel import expression
from interp.extraction.algorithm import CompactAlgorithm
from interp.extraction.folding import fold
from interp.extraction.let import LetProblem, fit_let
from interp.extraction.readout import fit_readouts, root_centroid
from interp.extraction.span import SpanBasis

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData
    from jaxtyping import Float

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
    """

    operator: Operator
    anchors: Anchors
    graph: StageGraph
    alpha: float
    ridge: float
    n_starts: int = 5
    seed: int = 0
    ruler: Ruler | None = None

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
        """Fold operator and adaptor and fit the readouts on the panel's cells.

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
        return CompactAlgorithm.build(
            name,
            self.operator,
            self.fit,
            expression=x,
            readouts=fit_readouts(latents, cells.obs, candidates=coarse, seed=self.seed),
            root=root_centroid(self.latents(self.anchors.features[known]), self.anchors.obs[known]),
            provenance=provenance,
        )
