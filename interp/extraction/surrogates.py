"""Surrogates of an operator, of low rank or hard sparse, for reading what it does; and what each weighs on disk."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from interp.errors import InputError
from interp.extraction.factors import singular_factors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from interp.extraction.folding import FoldedMap
    from interp.extraction.operator import Operator

# Ranks of the compaction chain, and the hard sparse surrogate: factors, and genes read and written by each (design,
# surrogates; arXiv:2603.10261 reports rank 64, 32 and 16 x 60).
RANKS = (64, 32, 16, 8)
N_FACTORS, N_READ, N_WRITE = 16, 60, 60


def truncated(operator: Operator, rank: int) -> Operator:
    """Approximate an operator by its strongest singular factors.

    Parameters
    ----------
    operator
        Any operator.
    rank
        Factors to keep; an operator of smaller rank keeps its own.

    Returns
    -------
    Operator
        With ``left`` U sqrt(S) (gene, factor) and ``right`` sqrt(S) V^T (factor, feature); the nearest of its rank.

    Raises
    ------
    InputError
        The rank is under 1, or the operator zero or not finite.

    Examples
    --------
    >>> from interp.extraction.operator import Operator
    >>> swap = Operator("swap", "mean", "out", np.diag([3.0, 1.0]), ("CD3D", "CD19"))
    >>> truncated(swap, 1).matrix.round(6).tolist()
    [[3.0, 0.0], [0.0, 0.0]]
    """
    return _low_rank(operator, *singular_factors(operator.matrix, rank), rank)


def sparse_factors(
    operator: Operator, n_factors: int = N_FACTORS, n_read: int = N_READ, n_write: int = N_WRITE
) -> Operator:
    """Approximate an operator by few factors of few genes.

    Of each of the strongest singular factors the genes of largest weight are kept on either side; then all factors'
    scales are fitted to the operator together, by least squares.

    Parameters
    ----------
    operator
        Any operator.
    n_factors
        Factors to keep.
    n_read, n_write
        Genes (for the drift: features) that each may read and write.

    Returns
    -------
    Operator
        With ``left`` (gene, factor) and ``right`` (factor, feature), mostly zero.

    Raises
    ------
    InputError
        A number is under 1, or the operator zero or not finite.
    """
    matrix = np.asarray(operator.matrix, dtype=np.float64)
    return _sparse(operator, matrix, *singular_factors(matrix, n_factors), n_read, n_write)


def surrogates(
    operator: Operator,
    ranks: Sequence[int] = RANKS,
    *,
    n_factors: int = N_FACTORS,
    n_read: int = N_READ,
    n_write: int = N_WRITE,
) -> list[Operator]:
    """Make all surrogates of an operator from one decomposition.

    Parameters
    ----------
    operator, n_factors, n_read, n_write
        As in `truncated` and `sparse_factors`.
    ranks
        Ranks of the low-rank ones.

    Returns
    -------
    list of Operator
        One of each rank, then the hard sparse one.
    """
    matrix = np.asarray(operator.matrix, dtype=np.float64)
    left, right = singular_factors(matrix, max(*ranks, n_factors))
    low = [_low_rank(operator, left[:, :rank], right[:rank], rank) for rank in ranks]
    return [*low, _sparse(operator, matrix, left[:, :n_factors], right[:n_factors], n_read, n_write)]


def n_parameters(operator: Operator) -> int:
    """Count the numbers an operator holds: those of its matrix, or those of its factors that are not zero."""
    if operator.left is None or operator.right is None:
        return int(operator.matrix.size)
    return int(np.count_nonzero(operator.left) + np.count_nonzero(operator.right))


def size_on_disk(operator: Operator) -> int:
    """Measure the bytes of the file an operator is saved to, in float32, gene names included."""
    with tempfile.TemporaryDirectory() as folder:
        return operator.astype(np.float32).save(Path(folder) / "operator.safetensors").stat().st_size


def folded_size(folded: FoldedMap, genes: Sequence[str]) -> int:
    """Measure the bytes of a file of a folded map: M in float32, c in float64, gene names included."""
    from safetensors.numpy import save

    from interp.runs.hashes import json_text

    arrays: dict[str, NDArray] = {"M": np.ascontiguousarray(folded.M, dtype=np.float32)}
    arrays["c"] = np.asarray(folded.c, dtype=np.float64)
    return len(save(arrays, metadata={"interp": json_text({"genes": list(genes)})}))


def _low_rank(operator: Operator, left: NDArray, right: NDArray, rank: int) -> Operator:
    kind = f"rank {rank}"
    return replace(
        operator,
        name=f"{operator.name}.rank{rank}",
        kind=kind,
        provenance=_of(operator, kind),
        left=np.ascontiguousarray(left),
        right=np.ascontiguousarray(right),
    )


def _sparse(operator: Operator, matrix: NDArray, left: NDArray, right: NDArray, n_read: int, n_write: int) -> Operator:
    if min(n_read, n_write) < 1:
        msg = f"A factor of {n_read} read and {n_write} written genes was asked for; give at least 1 of each."
        raise InputError(msg)
    n_left, n_right = (n_read, n_write) if operator.orientation == "out" else (n_write, n_read)
    left, right = _largest(left, n_left), _largest(right.T, n_right).T
    # Least squares for s in  A ~ sum_k s_k left_k right_k: the Gram matrix of rank-1 matrices is a product of Grams.
    gram = (left.T @ left) * (right @ right.T)
    scale = np.linalg.lstsq(gram, np.einsum("gk,gk->k", left, matrix @ right.T), rcond=None)[0]
    root = np.sqrt(np.abs(scale))
    n_genes = str(n_read) if n_read == n_write else f"{n_read}/{n_write}"
    kind = f"sparse {left.shape[1]} x {n_genes}"
    return replace(
        operator,
        name=f"{operator.name}.{kind.replace(' ', '')}",
        kind=kind,
        provenance=_of(operator, kind),
        left=left * root,
        right=right * (np.sign(scale) * root)[:, None],
    )


def _largest(loadings: NDArray, n: int) -> NDArray:
    """Set all but the n largest loadings of each factor (row, factor) to zero."""
    order = np.argsort(-np.abs(loadings), axis=0, kind="stable")[:n]
    kept = np.zeros_like(loadings)
    np.put_along_axis(kept, order, np.take_along_axis(loadings, order, axis=0), axis=0)
    return kept


def _of(operator: Operator, kind: str) -> dict:
    return {**operator.provenance, "surrogate": {"of": operator.name, "kind": operator.kind, "as": kind}}
