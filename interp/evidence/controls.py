"""Matched controls of an operator: what it would be without the model, through the same choice, fit and endpoint."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np

from interp.errors import InputError
from interp.evidence.arms import Candidates, as_float
from interp.evidence.inputs import BAG, COMPONENTS, NO_OPERATOR, PROJECTION, VARIABLE
from interp.extraction.operators import Operator
from interp.runs.seeds import stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from interp.evidence.panel import FloatArray
    from interp.stats import Split

    Float32Array = NDArray[np.float32]
    Matrix = Callable[[Split], FloatArray]

GAUSSIAN = "Gaussian on the support"
VALUES = "values shuffled"
GENES = "genes permuted"
COEXPRESSION = "co-expression"
COOCCURRENCE = "co-occurrence counts"
UNTRAINED = "untrained model"
# Random matrices that match the model's own, candidate by candidate.
MATCHED = (GAUSSIAN, VALUES, GENES)
# Null of every single head: its own values, dealt anew to its own support; the most demanding of the random ones.
HEAD_NULL = VALUES
RANDOM = (*MATCHED, PROJECTION)
# Made once, as nothing about them is drawn.
FIXED = (NO_OPERATOR, COEXPRESSION, COOCCURRENCE, COMPONENTS, VARIABLE, BAG)
# All that a claim of model-specific needs (design, controls and verdict).
CONTROLS = (*FIXED, *RANDOM, UNTRAINED)
# Draws of each random control (design: 99, 20 in quick runs).
N_DRAWS = 99
N_DRAWS_QUICK = 20


def randomised(operators: Candidates, name: str, draw: int, *, seed: int) -> Candidates:
    """Replace every candidate by a random matrix that matches it, so the best of many meets the best of as many.

    The two orientations of one matrix stay the two orientations of one random matrix. There are thousands of them, so
    they are made and multiplied in float32. Expression is centred for that: features change by a constant, which no
    adaptor sees, and stay as exact beside their spread as float32 is.

    Parameters
    ----------
    operators
        The model's candidates.
    name
        One of `MATCHED`: a Gaussian on the support with the mean and sd of the values there; the values dealt anew to
        the support; rows and columns permuted by one map of the genes, which keeps the spectrum. In the drift every
        block of gene columns is treated alike.
    draw
        Number of the draw.
    seed
        Seed of the draws.

    Returns
    -------
    Candidates

    Raises
    ------
    InputError
        No such random control.
    """
    if name not in _MAKERS:
        msg = f"There is no random control {name!r}; give one of {', '.join(MATCHED)}."
        raise InputError(msg)
    make = _MAKERS[name]
    # Of the split and operator asked for last; threads that ask for others find theirs made anew, never each other's.
    kept: dict[str, Float32Array] = {}

    def matrix(operator: Operator, split: Split) -> Float32Array:
        # "L2H5.mean.out" and "L2H5.mean.in" share one draw
        base = f"{split.id} {operator.name.removesuffix('.' + operator.orientation)}"
        if (found := kept.get(base)) is None:
            found = make(as_float(operator.matrix), stream(seed, f"evidence {name}", f"{draw} {base}"))
            kept.clear()
            kept[base] = found
        return found

    def like(operator: Operator, split: Split) -> Operator:
        return replace(operator, kind=name, matrix=lambda: matrix(operator, split))

    def drawn(split: Split) -> list[Operator]:
        return [like(operator, split) for operator in cast("Sequence[Operator]", operators.operators(split))]

    def centred(split: Split) -> Float32Array:
        expression = operators.expression(split)
        return (expression - expression.mean(axis=0)).astype(np.float32)

    return replace(operators, name=name, family="control", draw=draw, operators=drawn, expression=centred)


def coexpression(operators: Candidates, correlation: Matrix, genes: Callable[[Split], Sequence[str]]) -> Candidates:
    """Make the control whose operator is the correlation of genes over the training cells.

    Parameters
    ----------
    operators
        The model's candidates; lend their expression.
    correlation
        From a split to the correlation over its training cells, (gene, gene), as `gene_correlation` makes it.
    genes
        From a split to the genes of the matrix.

    Returns
    -------
    Candidates
        One; the matrix is symmetric, so it has one orientation.
    """

    def made(split: Split) -> list[Operator]:
        return [Operator("co-expression.out", COEXPRESSION, "out", correlation(split), tuple(genes(split)))]

    return replace(operators, name=COEXPRESSION, family="control", operators=made)


def cooccurrence(
    operators: Candidates, counts: Matrix, uniform: Matrix, genes: Callable[[Split], Sequence[str]]
) -> Candidates:
    """Make the control that keeps of attention only which genes were tokens together, in cells of how many tokens.

    Parameters
    ----------
    operators
        The model's candidates; lend their expression.
    counts
        From a split to the number of training cells in which both genes were tokens, (gene, gene).
    uniform
        From a split to the sum over these cells of attention that is even over a cell's tokens, (gene, gene).
    genes
        From a split to the genes of the matrix.

    Returns
    -------
    Candidates
        Four, all symmetric: even attention as ``sum`` and as ``mean``, and what both become when cells are as long as
        one another, the counts and their support.
    """

    def made(split: Split) -> list[Operator]:
        makers: dict[str, Callable[[], FloatArray]] = {
            "sum": lambda: as_float(uniform(split)),
            "mean": lambda: as_float(uniform(split) / np.maximum(counts(split), 1)),
            "count": lambda: as_float(counts(split)),
            "support": lambda: as_float(counts(split) > 0),
        }
        names = tuple(genes(split))
        return [
            Operator(f"co-occurrence.{kind}.out", COOCCURRENCE, "out", make, names) for kind, make in makers.items()
        ]

    return replace(operators, name=COOCCURRENCE, family="control", operators=made)


def gene_correlation(expression: FloatArray) -> FloatArray:
    """Correlate genes over cells.

    Parameters
    ----------
    expression
        log1p counts per 10,000 of the training cells, (cell, gene), dense or sparse.

    Returns
    -------
    numpy.ndarray
        Pearson correlation, float64 (gene, gene); 0 for genes that do not vary, 1 on the diagonal.

    Examples
    --------
    >>> gene_correlation(np.array([[0.0, 1.0, 5.0], [1.0, 0.0, 5.0]])).round(3)[0].tolist()
    [1.0, -1.0, 0.0]
    """
    n_cells = expression.shape[0]
    mean = np.asarray(expression.mean(axis=0), dtype=np.float64).ravel()
    product = expression.T @ expression
    product = product.toarray() if hasattr(product, "toarray") else np.asarray(product)
    covariance = product / n_cells - np.outer(mean, mean)
    sd = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    # Rounding leaves a constant gene a variance of this share of its square.
    varies = sd > 1e-7 * np.maximum(np.abs(mean), sd.max(initial=0.0))
    scale = np.where(varies, 1.0 / np.where(varies, sd, 1.0), 0.0)
    correlation = covariance * scale[:, None] * scale
    np.fill_diagonal(correlation, 1.0)
    return correlation


def _gaussian(matrix: FloatArray, rng: np.random.Generator) -> Float32Array:
    support = matrix != 0
    values = matrix[support]
    drawn = np.zeros(matrix.shape, dtype=np.float32)
    if values.size:
        noise = rng.standard_normal(values.size, dtype=np.float32)
        noise *= values.std()
        noise += values.mean()
        drawn[support] = noise
    return drawn


def _values(matrix: FloatArray, rng: np.random.Generator) -> Float32Array:
    from interp.evidence.shuffle import shuffle

    drawn = np.zeros(matrix.shape, dtype=np.float32)
    n_genes = len(matrix)
    for start in range(0, matrix.shape[1], n_genes):
        block = matrix[:, start : start + n_genes]
        support = block != 0
        values = block[support].astype(np.float32)
        shuffle(values, rng)
        drawn[:, start : start + n_genes][support] = values
    return drawn


def _genes(matrix: FloatArray, rng: np.random.Generator) -> Float32Array:
    n_genes = len(matrix)
    order = rng.permutation(n_genes)
    columns = np.concatenate([start + order for start in range(0, matrix.shape[1], n_genes)])
    return matrix.astype(np.float32)[np.ix_(order, columns)]


_MAKERS: dict[str, Callable[[FloatArray, np.random.Generator], Float32Array]] = {
    GAUSSIAN: _gaussian,
    VALUES: _values,
    GENES: _genes,
}
