"""Folding: operator and adaptor are both linear, so the chain is one matrix of genes x latents and an offset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from interp.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from interp.extraction.operator import Expression, Operator


class AffineFit(Protocol):
    """What folding asks of a fitted adaptor."""

    def as_map(self) -> tuple[NDArray, NDArray]:
        """Return M (feature, latent) and c (latent,) with z = f M + c."""
        ...


@dataclass(frozen=True, eq=False)
class FoldedMap:
    """From log1p expression straight to latents: z = x M + c.

    Attributes
    ----------
    M
        (gene, latent), float64.
    c
        (latent,), float64.
    """

    M: NDArray
    c: NDArray

    def latents(self, expression: Expression) -> NDArray:
        """Map expression, (row, gene), dense or sparse, to latents, (row, latent)."""
        return np.asarray(expression @ self.M) + self.c


def fold(operator: Operator, fit: AffineFit) -> FoldedMap:
    """Fold an operator and the adaptor that was fitted on its features into one map.

    Parameters
    ----------
    operator
        Features = x F, F of shape (gene, feature).
    fit
        A fitted adaptor over these features (`LetFit`).

    Returns
    -------
    FoldedMap
        ``M = F M_fit`` and ``c = c_fit``; equal to operator, then adaptor, up to rounding.

    Raises
    ------
    InputError
        The adaptor was fitted on another number of features.
    """
    loadings, offset = fit.as_map()
    features = operator.feature_map
    if features.shape[1] != len(loadings):
        msg = (
            f"Operator {operator.name} gives {features.shape[1]:,} features and the adaptor was fitted on "
            f"{len(loadings):,}; fold an adaptor with the operator it was fitted on."
        )
        raise InputError(msg)
    return FoldedMap(np.asarray(features, dtype=np.float64) @ loadings, np.asarray(offset, dtype=np.float64))
