"""Factors of an operator: pairs of gene lists, one that a factor reads from a cell and one that it writes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interp.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from interp.extraction.operator import Operator

READ, WRITE = "read", "write"
SIDES = (READ, WRITE)
# Genes listed a side; as many as the hard sparse surrogate keeps (design, surrogates).
N_TOP = 60
# What the two halves of the drift's features are.
BLOCKS = ("early - middle", "middle - late")
# A singular value under this share of the largest is rounding error in float64 at 1,200 genes, and no factor.
RANK_TOLERANCE = 1e-12


@dataclass(frozen=True, eq=False)
class Factors:
    """An operator as a sum of factors: features = sum over factors of (x . read) write.

    With ``out`` (x A) the rows of A are read and its columns written; with ``in`` (x A^T) columns are read and rows
    written. A factor's sign is arbitrary: read and write may flip together.

    Attributes
    ----------
    name
        The operator's name.
    genes
        Genes of the operator.
    read
        Loadings on expression, (gene, factor).
    write
        Loadings on features, (feature, factor); feature = gene, or 2 gene for the drift.
    """

    name: str
    genes: tuple[str, ...]
    read: NDArray[np.float64]
    write: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of factors."""
        return self.read.shape[1]

    @property
    def strength(self) -> NDArray[np.float64]:
        """Norm of what each factor adds to the operator, (factor,); its singular value, if read and write are such."""
        return np.linalg.norm(self.read, axis=0) * np.linalg.norm(self.write, axis=0)

    def rotated(self, rotation: NDArray[np.float64]) -> Factors:
        """Write the same operator in another basis: read R and write R, for an orthogonal R (factor, factor)."""
        return replace(self, read=self.read @ rotation, write=self.write @ rotation)

    def take(self, which: Sequence[int] | NDArray[np.intp]) -> Factors:
        """Return some factors, in the order asked for."""
        return replace(self, read=self.read[:, which], write=self.write[:, which])


def factors_of(operator: Operator) -> Factors:
    """Read the factors of an operator that holds some.

    Parameters
    ----------
    operator
        With ``left`` and ``right``, as `interp.extraction.surrogates` makes it: of low rank U sqrt(S) and sqrt(S) V^T.

    Returns
    -------
    Factors
        Strongest first; the largest read loading of each is positive.

    Raises
    ------
    InputError
        The operator holds a matrix, or is a drift that is read by columns, so that one factor reads two lists.

    Examples
    --------
    >>> from interp.extraction.operator import Operator
    >>> one = Operator("one", "rank 1", "in", genes=("CD3D", "CD19"), left=np.array([[1.0], [0.0]]),
    ...                right=np.array([[0.0, 2.0]]))
    >>> found = factors_of(one)
    >>> found.read.ravel().tolist(), found.write.ravel().tolist()
    ([0.0, 2.0], [1.0, 0.0])
    """
    if operator.left is None or operator.right is None:
        msg = (
            f"Operator {operator.name} holds no factors; make a surrogate of it first, such as truncated(operator, 64)."
        )
        raise InputError(msg)
    left, right = (np.asarray(part, dtype=np.float64) for part in (operator.left, operator.right.T))
    if operator.orientation == "in":
        if len(right) != len(left):
            msg = f"Operator {operator.name} is a drift read by columns: each factor reads two lists; give `out`."
            raise InputError(msg)
        left, right = right, left
    found = Factors(operator.name, operator.genes, left, right)
    found = found.take(np.argsort(-found.strength, kind="stable"))
    largest = found.read[np.abs(found.read).argmax(axis=0), np.arange(len(found))]
    sign = np.where(largest < 0, -1.0, 1.0)
    return replace(found, read=found.read * sign, write=found.write * sign)


def singular_factors(matrix: NDArray, rank: int | None = None) -> tuple[NDArray, NDArray]:
    """Decompose a matrix into factors that share the singular values evenly.

    Parameters
    ----------
    matrix
        (gene, feature).
    rank
        Factors wanted; all by default.

    Returns
    -------
    left, right
        U sqrt(S) (gene, factor) and sqrt(S) V^T (factor, feature), float64; at most the matrix's own rank, the largest
        entry of each column of U positive.

    Raises
    ------
    InputError
        No factor is asked for, or the matrix is zero or not finite.
    """
    import scipy.linalg

    if rank is not None and rank < 1:
        msg = f"A surrogate of rank {rank} was asked for; give at least 1."
        raise InputError(msg)
    values = np.asarray(matrix, dtype=np.float64)
    if not np.isfinite(values).all() or not values.any():
        msg = f"A matrix of shape {values.shape} that is zero or not finite has no factors; check the operator."
        raise InputError(msg)
    u, s, vt = scipy.linalg.svd(values, full_matrices=False, check_finite=False)
    kept = int((s > RANK_TOLERANCE * s[0]).sum())
    kept = kept if rank is None else min(rank, kept)
    u, s, vt = u[:, :kept], s[:kept], vt[:kept]
    sign = np.where(u[np.abs(u).argmax(axis=0), np.arange(kept)] < 0, -1.0, 1.0)
    root = sign * np.sqrt(s)
    return u * root, vt * root[:, None]


def factor_genes(factors: Factors, n_top: int = N_TOP) -> pd.DataFrame:
    """List the genes with the largest loadings of every factor, on either side.

    Parameters
    ----------
    factors
        From `factors_of`.
    n_top
        Genes listed a side; those with a loading of 0 never are.

    Returns
    -------
    pandas.DataFrame
        factor, side (``read``, ``write``), rank (1 is the largest), gene, block (of a drift's features, else ""),
        weight (loading of the side scaled to length one; signs are comparable within a factor), share (of the side's
        squared loadings).
    """
    n_genes = len(factors.genes)
    rows = []
    for factor in range(len(factors)):
        for side, loadings in zip(SIDES, (factors.read, factors.write), strict=True):
            weights = loadings[:, factor] / (np.linalg.norm(loadings[:, factor]) or 1.0)
            listed = np.argsort(-np.abs(weights), kind="stable")[:n_top]
            for rank, at in enumerate(listed[weights[listed] != 0], start=1):
                block = BLOCKS[at // n_genes] if len(loadings) > n_genes else ""
                gene = factors.genes[at % n_genes]
                rows.append((factor, side, rank, gene, block, weights[at], weights[at] ** 2))
    return pd.DataFrame(rows, columns=["factor", "side", "rank", "gene", "block", "weight", "share"])


def matched(factors: Factors, reference: Factors) -> tuple[Factors, NDArray[np.float64]]:
    """Bring factors into the order and signs of a reference, such as those of the same head on other donors.

    Each is paired with one of the reference so that the sum of likenesses is largest; the likeness of two factors is
    the cosine between what they add to the operator, over the genes that both know.

    Parameters
    ----------
    factors
        To be brought into order; as many features per gene as the reference.
    reference
        Gives order and signs.

    Returns
    -------
    factors, likeness
        In the reference's order, those without a partner last; and each one's likeness, (factor,), NaN without partner.

    Raises
    ------
    InputError
        No gene is in both, or one is a drift and the other is not.
    """
    from scipy.optimize import linear_sum_assignment

    common = [gene for gene in factors.genes if gene in set(reference.genes)]
    n_blocks = {len(each.write) // len(each.genes) for each in (factors, reference)}
    if not common or len(n_blocks) > 1:
        msg = (
            f"The factors of {factors.name} and {reference.name} share {len(common)} genes; match factors of one head."
        )
        raise InputError(msg)
    own, other = (_on(each, common) for each in (factors, reference))
    read, write = (a.T @ b for a, b in zip(own, other, strict=True))
    likeness = read * write  # (factor, reference factor)
    mine, theirs = linear_sum_assignment(-likeness)
    order = mine[np.argsort(theirs)]
    paired = np.sort(theirs)
    rest = np.setdiff1d(np.arange(len(factors)), order)
    sign = np.ones(len(factors))
    sign[: len(order)] = np.where(read[order, paired] < 0, -1.0, 1.0)
    found = factors.take(np.concatenate([order, rest]))
    found = replace(found, read=found.read * sign, write=found.write * sign)
    return found, np.concatenate([likeness[order, paired], np.full(len(rest), np.nan)])


def _on(factors: Factors, genes: Sequence[str]) -> tuple[NDArray, NDArray]:
    """Loadings (gene, factor), (feature, factor) on some genes, scaled to length one over all genes."""
    place = {gene: i for i, gene in enumerate(factors.genes)}
    rows = np.array([place[gene] for gene in genes])
    n_genes = len(factors.genes)
    starts = range(0, len(factors.write), n_genes)
    read, write = (
        np.divide(each, norm := np.linalg.norm(each, axis=0), out=np.zeros_like(each), where=norm > 0)
        for each in (factors.read, factors.write)
    )
    return read[rows], write[np.concatenate([start + rows for start in starts])]
