"""Controls that never saw a model: the input itself, written otherwise, through the same choice, fit and endpoint."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from interp.evidence.arms import as_float
from interp.runs.seeds import stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from interp.evidence.arms import Candidates
    from interp.evidence.panel import FloatArray, IntArray, Panel
    from interp.stats import Split

NO_OPERATOR = "no operator"
PROJECTION = "random projection"
COMPONENTS = "PCA of the input"
VARIABLE = "most variable genes"
BAG = "bag of tokens"
# Widths of projections and components: the latent dimensions of the adaptor, and the usual number of components in
# single-cell work. A projection is tried at the width of the operators as well.
WIDTHS = (10, 50)
# Shares of the panel's genes that are kept; which of them is best is chosen on training donors like a head.
SHARES = (0.5, 0.25, 0.125)
# An adaptor has ten latent dimensions, and fewer genes than that would be another method.
MIN_GENES = 10


def no_operator(operators: Candidates) -> Candidates:
    """Make the control that gives the adaptor the expression itself."""
    return replace(operators, name=NO_OPERATOR, family="control", operators=lambda split: (_Columns(NO_OPERATOR),))


def random_projection(operators: Candidates, draw: int, *, seed: int) -> Candidates:
    """Make the control that projects the expression on random directions.

    Parameters
    ----------
    operators
        The model's candidates; lend their expression.
    draw
        Number of the draw.
    seed
        Seed of the draws.

    Returns
    -------
    Candidates
        One per width of `WIDTHS` that is under the number of genes, and one as wide as the genes are many. What the
        best of many random matrices of that width reaches is measured by the Gaussian on the support.
    """

    def made(split: Split) -> list[_Axes]:
        n_genes = operators.expression(split).shape[1]
        rng = stream(seed, "evidence random projection", f"{draw} {split.id}")
        widths = (*(width for width in WIDTHS if width < n_genes), n_genes)
        return [_Axes(f"{PROJECTION} {width}", rng.standard_normal((n_genes, width))) for width in widths]

    return replace(operators, name=PROJECTION, family="control", draw=draw, operators=made)


def principal_components(operators: Candidates, panel: Panel) -> Candidates:
    """Make the control that gives the adaptor principal components of the expression.

    Parameters
    ----------
    operators
        The model's candidates; lend their expression.
    panel
        The anchors; only those of a split's training donors are looked at.

    Returns
    -------
    Candidates
        One per number of components of `WIDTHS`; the last has what the training anchors allow when that is less.
    """

    def made(split: Split) -> list[_Axes]:
        train = operators.expression(split)[panel.train(split)]
        _, values, axes = np.linalg.svd(train - train.mean(axis=0), full_matrices=False)
        rank = int((values > 1e-9 * values.max(initial=0.0)).sum())
        widths = dict.fromkeys(min(width, rank) for width in WIDTHS)
        return [_Axes(f"PCA {width}", axes[:width].T) for width in widths]

    return replace(operators, name=COMPONENTS, family="control", operators=made)


def variable_genes(operators: Candidates, panel: Panel) -> Candidates:
    """Make the control that keeps the genes which vary most between training anchors.

    Parameters
    ----------
    operators
        The model's candidates; lend their expression.
    panel
        The anchors; only those of a split's training donors are looked at.

    Returns
    -------
    Candidates
        One per share of `SHARES`, with at least `MIN_GENES` genes; all genes are the control without an operator.
    """

    def made(split: Split) -> list[_Columns]:
        variance = operators.expression(split)[panel.train(split)].var(axis=0)
        falling = np.argsort(-variance, kind="stable")
        sizes = dict.fromkeys(min(len(falling), max(MIN_GENES, round(share * len(falling)))) for share in SHARES)
        return [_Columns(f"{VARIABLE} {size}", np.sort(falling[:size])) for size in sizes]

    return replace(operators, name=VARIABLE, family="control", operators=made)


def bag_of_tokens(operators: Candidates, tokens: Callable[[Split], FloatArray]) -> Candidates:
    """Make the control that knows only which genes a cell's tokens were.

    Parameters
    ----------
    operators
        The model's candidates.
    tokens
        From a split to the share of each anchor's cells in which a gene was a token, (anchor, gene).

    Returns
    -------
    Candidates
        One.
    """
    return replace(operators, name=BAG, family="control", operators=lambda split: (_Columns(BAG),), expression=tokens)


@dataclass(frozen=True, eq=False)
class _Axes:
    """A linear map given by its axes, (gene, feature)."""

    name: str
    axes: FloatArray

    def apply(self, expression: NDArray[np.floating]) -> FloatArray:
        return as_float(expression @ self.axes)


@dataclass(frozen=True, eq=False)
class _Columns:
    """Some of the genes as they are; all without a choice."""

    name: str
    columns: IntArray | None = None

    def apply(self, expression: NDArray[np.floating]) -> NDArray[np.floating]:
        return expression if self.columns is None else expression[:, self.columns]
