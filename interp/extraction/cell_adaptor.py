"""The cell and the hybrid adaptor as scikit-learn transformers: features of cells and their stages in, latents out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from interp.biology import StageGraph
from interp.errors import InputError
from interp.extraction.cell_draw import CELLS_PER_STAGE, cell_keys, draw_cells
from interp.extraction.cell_fit import CELL_STARTS, CellFit, fit_cells
from interp.extraction.cell_problem import CellProblem, CellWeights
from interp.extraction.let import MAX_ITER, N_LATENT, RIDGE
from interp.extraction.span import SpanBasis, as_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


class _OverCells(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """What the two adaptors share: the draw, the fit, and what can be done with it."""

    fit_: CellFit

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Latents (row, latent) of rows with the same features, (row, feature); cells or anchors."""
        check_is_fitted(self)
        return self.fit_.transform(np.asarray(X))

    def distances(self, X: ArrayLike, others: ArrayLike | None = None) -> NDArray[np.float64]:
        """Distances in hops, (row, other row), between rows (row, feature) and others, or among themselves."""
        check_is_fitted(self)
        return self.fit_.distances(np.asarray(X), None if others is None else np.asarray(others))

    def _fit_to(
        self,
        X: ArrayLike,
        y: ArrayLike,
        donors: ArrayLike | None,
        names: Sequence[str] | None,
        prior: tuple[ArrayLike, ArrayLike] | None,
    ) -> None:
        features, cell_stages = as_rows(X), np.asarray(y, dtype=object)
        n = len(features)
        given_donors = np.zeros(n) if donors is None else np.asarray(donors, dtype=object)
        given_names = [str(i) for i in range(n)] if names is None else [str(name) for name in names]
        for what, shape in (("stages", cell_stages.shape), ("donors", given_donors.shape)):
            if shape != (n,):
                msg = f"{n} cells need one of each: {what} of shape {shape} were given."
                raise InputError(msg)
        if len(given_names) != n:
            msg = f"{n} cells need one name each; {len(given_names)} names were given."
            raise InputError(msg)
        graph = StageGraph.hematopoiesis() if self.graph is None else self.graph
        rows = draw_cells(cell_stages, given_donors, cell_keys(given_names, self.seed), per_stage=self.cells_per_stage)
        anchor_stages = [] if prior is None else [str(stage) for stage in np.asarray(prior[1], dtype=object)]
        stages = sorted({str(stage) for stage in cell_stages[rows]} | set(anchor_stages))
        codes = {stage: code for code, stage in enumerate(stages)}
        basis = SpanBasis.from_features(features[rows])
        problem = CellProblem(
            basis,
            np.array([codes[str(stage)] for stage in cell_stages[rows]]),
            graph.ruler(stages),
            self._weights(),
            None if prior is None else basis.coords(as_rows(prior[0])),
            np.array([codes[stage] for stage in anchor_stages], dtype=np.int64),
        )
        options = {"n_latent": self.n_latent, "n_starts": self.n_starts, "max_iter": self.max_iter}
        self.fit_ = fit_cells([problem], seed=self.seed, **options)[0]
        self.rows_ = rows
        self.stages_ = tuple(stages)
        self.n_features_in_ = features.shape[1]
        self._n_features_out = self.n_latent

    def _weights(self) -> CellWeights:
        return CellWeights(
            stage=self.stage,
            local=self.local,
            reconstruction=self.reconstruction,
            classification=self.classification,
            topology=getattr(self, "topology", 0.0),
            ridge=self.ridge,
        )


class CellAdaptor(_OverCells):
    """Linear map from features of cells to latents whose angles reproduce the hops between stages.

    Parameters
    ----------
    graph
        Stage graph that the ruler is taken from; hematopoiesis by default.
    n_latent
        Latent dimensions.
    stage, local, reconstruction, classification, ridge
        Weights of the loss; see `interp.extraction.cell_problem`.
    cells_per_stage
        Cells of one stage that the fit sees at most.
    n_starts
        Starts, of which the best training loss is kept.
    max_iter
        Cap on iterations; a fit stops when it has converged.
    seed
        Seed of the draw and of the starts.

    Attributes
    ----------
    fit_ : CellFit
        The fit itself, with the affine map, beta, the losses and the parts of the last.
    rows_ : numpy.ndarray
        Rows of the cells that were drawn, (drawn,).
    stages_ : tuple of str
        Stages seen, sorted.
    n_features_in_ : int
        Number of features seen in `fit`.

    Examples
    --------
    >>> features = np.random.default_rng(0).standard_normal((60, 8))
    >>> adaptor = CellAdaptor(n_latent=3).fit(features, ["HSC", "MPP", "CMP", "GMP"] * 15)
    >>> adaptor.transform(features[:2]).shape, adaptor.fit_.converged_
    ((2, 3), True)
    """

    def __init__(
        self,
        graph: StageGraph | None = None,
        *,
        n_latent: int = N_LATENT,
        stage: float = CellWeights.stage,
        local: float = CellWeights.local,
        reconstruction: float = CellWeights.reconstruction,
        classification: float = CellWeights.classification,
        ridge: float = RIDGE,
        cells_per_stage: int = CELLS_PER_STAGE,
        n_starts: int = CELL_STARTS,
        max_iter: int = MAX_ITER,
        seed: int = 0,
    ) -> None:
        self.graph = graph
        self.n_latent = n_latent
        self.stage = stage
        self.local = local
        self.reconstruction = reconstruction
        self.classification = classification
        self.ridge = ridge
        self.cells_per_stage = cells_per_stage
        self.n_starts = n_starts
        self.max_iter = max_iter
        self.seed = seed

    def fit(
        self, X: ArrayLike, y: ArrayLike, *, donors: ArrayLike | None = None, names: Sequence[str] | None = None
    ) -> CellAdaptor:
        """Fit to cells.

        Parameters
        ----------
        X
            Features, (cell, feature).
        y
            Stage names of the graph, (cell,).
        donors
            Donor of each cell, (cell,); donors take turns in the draw. One donor by default.
        names
            Names of the cells, (cell,): the draw goes by them, so it does not depend on the order of the cells. Row
            numbers by default.

        Returns
        -------
        CellAdaptor
            Itself.

        Raises
        ------
        InputError
            If columns differ in length, a stage is unknown, there is only one, a value is not finite, or no feature
            varies.
        """
        self._fit_to(X, y, donors, names, None)
        return self


class HybridAdaptor(_OverCells):
    """The cell adaptor with a prior: the same map also has to order anchors.

    Parameters
    ----------
    graph
        Stage graph that the ruler is taken from; hematopoiesis by default.
    topology
        Weight of the anchors; 0 is the cell adaptor.
    n_latent, stage, local, reconstruction, classification, ridge, cells_per_stage, n_starts, max_iter, seed
        As in `CellAdaptor`.

    Attributes
    ----------
    fit_, rows_, stages_, n_features_in_
        As in `CellAdaptor`.
    """

    def __init__(
        self,
        graph: StageGraph | None = None,
        *,
        topology: float = 1.0,
        n_latent: int = N_LATENT,
        stage: float = CellWeights.stage,
        local: float = CellWeights.local,
        reconstruction: float = CellWeights.reconstruction,
        classification: float = CellWeights.classification,
        ridge: float = RIDGE,
        cells_per_stage: int = CELLS_PER_STAGE,
        n_starts: int = CELL_STARTS,
        max_iter: int = MAX_ITER,
        seed: int = 0,
    ) -> None:
        self.graph = graph
        self.topology = topology
        self.n_latent = n_latent
        self.stage = stage
        self.local = local
        self.reconstruction = reconstruction
        self.classification = classification
        self.ridge = ridge
        self.cells_per_stage = cells_per_stage
        self.n_starts = n_starts
        self.max_iter = max_iter
        self.seed = seed

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        anchors: ArrayLike,
        anchor_stages: ArrayLike,
        donors: ArrayLike | None = None,
        names: Sequence[str] | None = None,
    ) -> HybridAdaptor:
        """Fit to cells and anchors.

        Parameters
        ----------
        X, y, donors, names
            As in `CellAdaptor.fit`.
        anchors
            The same features of anchors of the same donors, (anchor, feature).
        anchor_stages
            Stage names of the anchors, (anchor,).

        Returns
        -------
        HybridAdaptor
            Itself.

        Raises
        ------
        InputError
            As `CellAdaptor.fit`, for cells or anchors.
        """
        self._fit_to(X, y, donors, names, (anchors, anchor_stages))
        return self
