"""The LET adaptor as a scikit-learn transformer: features of anchors and their stages in, latents out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from interp.biology import StageGraph
from interp.errors import InputError
from interp.extraction.let import ALPHA, N_LATENT, N_STARTS, RIDGE, LetFit, LetProblem, fit_let
from interp.extraction.span import SpanBasis, as_rows

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class LETAdaptor(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Linear map to latents whose angles reproduce the hop distances between stages.

    Parameters
    ----------
    graph
        Stage graph that the ruler is taken from; hematopoiesis by default.
    n_latent
        Latent dimensions.
    alpha, ridge
        Weights of the reconstruction and of the ridge; see `interp.extraction.let`.
    n_starts
        Starts, of which the best training loss is kept.
    seed
        Seed of the starts.

    Attributes
    ----------
    fit_ : LetFit
        The fit itself, with the affine map, beta and the losses.
    n_features_in_ : int
        Number of features seen in `fit`.

    Examples
    --------
    >>> features = np.random.default_rng(0).standard_normal((12, 30))
    >>> stages = ["HSC", "MPP", "CMP", "GMP"] * 3
    >>> LETAdaptor(n_latent=3, n_starts=1).fit_transform(features, stages).shape
    (12, 3)
    """

    def __init__(
        self,
        graph: StageGraph | None = None,
        *,
        n_latent: int = N_LATENT,
        alpha: float = ALPHA,
        ridge: float = RIDGE,
        n_starts: int = N_STARTS,
        seed: int = 0,
    ) -> None:
        self.graph = graph
        self.n_latent = n_latent
        self.alpha = alpha
        self.ridge = ridge
        self.n_starts = n_starts
        self.seed = seed

    def fit(self, X: ArrayLike, y: ArrayLike) -> LETAdaptor:
        """Fit to anchors.

        Parameters
        ----------
        X
            Features, (anchor, feature).
        y
            Stage names of the graph, (anchor,).

        Returns
        -------
        LETAdaptor
            Itself.

        Raises
        ------
        InputError
            If features and stages differ in number, a stage is unknown, or there is only one stage.
        """
        features, stages = as_rows(X), np.asarray(y, dtype=object)
        if stages.shape != (len(features),):
            msg = f"{len(features)} anchors need one stage each; stages of shape {stages.shape} were given."
            raise InputError(msg)
        graph = StageGraph.hematopoiesis() if self.graph is None else self.graph
        basis = SpanBasis.from_features(features)
        problem = LetProblem(basis, graph.ruler(stages), alpha=self.alpha, ridge=self.ridge)
        self.fit_: LetFit = fit_let([problem], n_latent=self.n_latent, n_starts=self.n_starts, seed=self.seed)[0]
        self.n_features_in_ = features.shape[1]
        self._n_features_out = self.n_latent
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Latents (row, latent) of rows with the same features, (row, feature)."""
        check_is_fitted(self)
        return self.fit_.transform(np.asarray(X))

    def distances(self, X: ArrayLike, others: ArrayLike | None = None) -> NDArray[np.float64]:
        """Distances in hops, (row, other row), between rows (row, feature) and others, or among themselves."""
        check_is_fitted(self)
        return self.fit_.distances(np.asarray(X), None if others is None else np.asarray(others))
