"""Raw counts of a file as one canonical sparse matrix, or a clear refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from interp.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

# Entries looked at together, so that a check never copies a whole panel (16 million float32 are 64 MB).
BLOCK = 2**24
# ln(1 + x) of any count a cell can hold stays below this; a larger non-integer is scaled but not logged.
LOG_CEILING = 20.0


def raw_counts(adata: AnnData, layer: str | None, where: str) -> sparse.csr_matrix:
    """Return the counts of a file, checked; the file's own matrix may be sorted in place.

    Parameters
    ----------
    adata
        Cells x genes.
    layer
        Layer with the counts; ``"raw"`` takes ``adata.raw`` when no layer has that name; None takes X.
    where
        Name of the file in messages.

    Returns
    -------
    scipy.sparse.csr_matrix
        float32 (cell, gene), sorted, without stored zeros.

    Raises
    ------
    InputError
        The layer is missing, or the values are not finite non-negative whole numbers.
    """
    return canonical_counts(_layer(adata, layer, where), where, hint=_hint(adata))


def canonical_counts(matrix: Any, where: str, *, hint: str = "") -> sparse.csr_matrix:
    """Return a matrix of counts, or some rows of one, checked and in one form; it may be sorted in place.

    Parameters
    ----------
    matrix
        Dense or sparse (cell, gene).
    where
        Name of the file in messages.
    hint
        What to do instead, added to the message.

    Returns
    -------
    scipy.sparse.csr_matrix
        float32 (cell, gene), sorted, without stored zeros.

    Raises
    ------
    InputError
        The values are not finite non-negative whole numbers.
    """
    if not (sparse.issparse(matrix) or isinstance(matrix, np.ndarray)):
        matrix = np.asarray(matrix)
    if not np.issubdtype(matrix.dtype, np.number) and matrix.dtype != bool:
        msg = f"{where}: the counts have type {matrix.dtype}; raw counts are numbers"
        raise InputError(msg)
    counts = sparse.csr_matrix(matrix)
    check_counts(counts.data, where, hint=hint)
    counts = counts.astype(np.float32, copy=False)
    counts.sum_duplicates()
    counts.eliminate_zeros()
    return counts


def check_counts(values: np.ndarray, where: str, *, hint: str = "") -> None:
    """Check that values can be raw counts.

    Parameters
    ----------
    values
        Stored entries of a matrix, one axis.
    where
        Name of the file in messages.
    hint
        What to do instead, added to the message.

    Raises
    ------
    InputError
        NaN, infinite, negative or not whole numbers.
    """
    for start in range(0, len(values), BLOCK):
        block = values[start : start + BLOCK]
        if np.issubdtype(block.dtype, np.floating) and not np.isfinite(block).all():
            n = int((~np.isfinite(block)).sum())
            msg = f"{where}: {n:,} values are NaN or infinite; raw counts are finite. {hint}"
            raise InputError(msg)
        if block.min() < 0:
            msg = f"{where}: negative values (such as {block.min():.4g}) look scaled; raw counts are wanted. {hint}"
            raise InputError(msg)
        if np.issubdtype(block.dtype, np.floating) and (block != np.rint(block)).any():
            raise InputError(_not_whole(values, block, where, hint))


def _not_whole(values: np.ndarray, block: np.ndarray, where: str, hint: str) -> str:
    share = float((block != np.rint(block)).mean())
    example = float(block[block != np.rint(block)][0])
    what = "log-transformed" if values.max() < LOG_CEILING else "normalised"
    return (
        f"{where}: {share:.0%} of the values are no whole numbers (such as {example:.4g}, largest {values.max():.4g}): "
        f"this looks {what}, and raw counts are wanted. {hint}"
    )


def _layer(adata: AnnData, layer: str | None, where: str) -> Any:
    if layer is None:
        if adata.X is None:
            msg = f"{where}: X is empty. {_hint(adata)}"
            raise InputError(msg)
        return adata.X
    if layer in adata.layers:
        return adata.layers[layer]
    if layer == "raw" and adata.raw is not None:
        return adata.raw.X
    msg = f"{where}: there is no layer {layer!r}. {_hint(adata)}"
    raise InputError(msg)


def _hint(adata: AnnData) -> str:
    places = [repr(name) for name in adata.layers] + (["'raw'"] if adata.raw is not None else [])
    if places:
        return f"Name where the raw counts are with layer=; there are: {', '.join(places)}"
    return "The file has no layers and no .raw: read it again from the count matrix it was made from"
