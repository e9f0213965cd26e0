"""Raw counts to the few sums per cell that everything else follows from, whatever holds the counts, in one pass.

Sparse and dense matrices, in memory or on disk, pass in blocks of rows; matrices stored by gene pass in blocks of
columns, twice, since a cell's total is known only at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse

from interp.cells.counts import check_counts
from interp.errors import InputError
from interp.runs.progress import progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Cells read at a time, and entries of a dense matrix at most (16 million float32 are 64 MB).
CHUNK_CELLS = 8192
DENSE_ENTRIES = 2**24
# Columns of a matrix stored by gene that are read at a time, at most.
CHUNK_GENES = 256
# From this number of cells on, compiling or loading the kernel (about a second) pays.
KERNEL_CELLS = 20_000
HINT = "Give raw counts; layer= names the layer that holds them."


@dataclass(frozen=True, eq=False)
class Wanted:
    """What is summed.

    Attributes
    ----------
    place
        Gene of the algorithm that each column of the counts is, -1 for none, (column,) int32.
    matrix, logs
        Multiply expression (gene, latent) and counts (gene, profile); float64.
    target_sum
        Total that counts are scaled to.
    where
        Name of the cells in messages.
    absent
        Study of each cell, (cell,), and genes that each study did not measure, (study, gene) bool; None when every
        study measured all genes found.
    """

    place: NDArray[np.int32]
    matrix: NDArray[np.float64]
    logs: NDArray[np.float64]
    target_sum: float
    where: str = "The cells"
    absent: tuple[NDArray[np.intp], NDArray[np.bool_]] | None = None


@dataclass(frozen=True, eq=False)
class Tally:
    """Sums of cells.

    Attributes
    ----------
    totals, inside
        Counts over all genes, and over the algorithm's, (cell,).
    z
        log1p(counts / total * target) times the matrix, (cell, latent); 0 for a cell without counts.
    fits
        Counts times logs, (cell, profile).
    """

    totals: NDArray[np.float64]
    inside: NDArray[np.float64]
    z: NDArray[np.float64]
    fits: NDArray[np.float64]


def tally(X: Any, wanted: Wanted, totals: NDArray[np.float64] | None = None, *, chunk: int = CHUNK_CELLS) -> Tally:
    """Sum up cells.

    Parameters
    ----------
    X
        Raw counts, (cell, gene): dense or sparse, in memory or on disk; anything whose rows can be sliced.
    wanted
        What is summed.
    totals
        Totals of the cells, (cell,); default the row sums.
    chunk
        Cells at a time. The result is the same for any.

    Returns
    -------
    Tally
        The same bytes whatever the chunk and the storage by cell; to 1e-12 for storage by gene, and with fewer cells
        than `KERNEL_CELLS`, for which NumPy sums.

    Raises
    ------
    InputError
        Not finite non-negative whole numbers, or counts of a gene in a study that did not measure it.
    """
    n_cells = X.shape[0]
    given = totals is not None
    own = np.zeros(n_cells) if totals is None else np.array(totals, dtype=np.float64)
    sums = Tally(own, np.zeros(n_cells), *(np.zeros((n_cells, part.shape[1])) for part in (wanted.matrix, wanted.logs)))
    if getattr(X, "format", "") == "csc":
        _by_columns(X, wanted, sums, given=given)
        return sums
    if sparse.issparse(X) and X.format != "csr":
        X = X.tocsr()
    if getattr(X, "format", "") != "csr":  # dense
        chunk = max(1, min(chunk, DENSE_ENTRIES // max(1, X.shape[1])))
    large = n_cells >= KERNEL_CELLS
    with progress(total=n_cells, description="transform", unit="cells", quiet=None if large else True) as bar:
        for start in range(0, n_cells, chunk):
            rows = slice(start, min(start + chunk, n_cells))
            block = rows_of(X, rows.start, rows.stop, wanted.where)
            if wanted.absent is not None:
                cells = np.repeat(np.arange(rows.start, rows.stop), np.diff(block.indptr))
                _refuse_absent(block.data, cells, wanted.place[block.indices], wanted)
            part = Tally(*(array[rows] for array in vars(sums).values()))
            (_add_compiled if large else _add_rows)(block, wanted, part, given=given)
            bar.update(rows.stop - rows.start)
    return sums


class Rows(NamedTuple):
    """Some rows of a CSR matrix: views, where that is in memory, so never to be changed."""

    data: NDArray
    indices: NDArray
    indptr: NDArray
    n_columns: int

    def canonical(self) -> Rows:
        """Return the same rows with sorted columns and repeated entries added up."""
        matrix = _canonical(self.csr())
        return Rows(matrix.data, matrix.indices, matrix.indptr, self.n_columns)

    def csr(self) -> sparse.csr_matrix:
        """Return the rows as a matrix."""
        shape = (len(self.indptr) - 1, self.n_columns)
        return sparse.csr_matrix((self.data, self.indices, self.indptr), shape=shape, copy=False)


def rows_of(X: Any, start: int, stop: int, where: str) -> Rows:
    """Return some rows of a CSR matrix, or of anything whose rows can be sliced, as float32 or float64."""
    if sparse.issparse(X):
        first, last = X.indptr[start], X.indptr[stop]
        # not X[start:stop], which would copy them
        data, indices, indptr = X.data[first:last], X.indices[first:last], X.indptr[start : stop + 1] - first
    else:
        block = X[start:stop]
        if not sparse.issparse(block):
            block = np.asarray(block)
        if not (np.issubdtype(block.dtype, np.number) or block.dtype == bool):
            msg = f"{where}: the counts have type {block.dtype}; raw counts are numbers."
            raise InputError(msg)
        block = sparse.csr_matrix(block)
        data, indices, indptr = block.data, block.indices, block.indptr
    # float64 before anything is summed, so that narrow integers cannot overflow
    data = data if data.dtype in (np.float32, np.float64) else data.astype(np.float64)
    return Rows(data, indices, indptr, X.shape[1])


def _add_compiled(block: Rows, wanted: Wanted, part: Tally, *, given: bool) -> None:
    """Write the sums of some rows with the kernel."""
    from interp.extraction.tally_kernel import CLEAN, NOT_CANONICAL, tally_rows

    factors = (wanted.place, wanted.matrix.ravel(), wanted.logs.ravel(), wanted.target_sum)
    written = (part.totals, given, part.inside, part.z, part.fits)
    state = tally_rows(*block[:3], *factors, *written)
    if state == NOT_CANONICAL:
        state = tally_rows(*block.canonical()[:3], *factors, *written)
    if state != CLEAN:
        check_counts(block.data, wanted.where, hint=HINT)


def _add_rows(block: Rows, wanted: Wanted, part: Tally, *, given: bool) -> None:
    """Write the sums of some rows with NumPy and SciPy: what the kernel does, to be read."""
    check_counts(block.data, wanted.where, hint=HINT)
    counts = _canonical(block.csr())
    if not given:
        part.totals[:] = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    columns = np.flatnonzero(wanted.place >= 0)
    genes = wanted.place[columns]
    taken = counts[:, columns].astype(np.float64)
    part.inside[:] = np.asarray(taken.sum(axis=1)).ravel()
    part.fits[:] = taken @ wanted.logs[genes]
    taken.data = np.log1p(taken.data * np.repeat(_scale(part.totals, wanted), np.diff(taken.indptr)))
    part.z[:] = taken @ wanted.matrix[genes]


def _by_columns(X: Any, wanted: Wanted, sums: Tally, *, given: bool) -> None:
    """Write the sums of all cells of a matrix that is stored by gene."""
    n_cells, n_columns = X.shape
    step = max(1, min(CHUNK_GENES, DENSE_ENTRIES // max(1, n_cells)))
    for start in range(0, n_columns, step):
        block = X[:, start : start + step]
        check_counts(block.data, wanted.where, hint=HINT)
        if not given:
            sums.totals[:] += np.bincount(block.indices, weights=block.data, minlength=n_cells)
    scale = _scale(sums.totals, wanted)
    for start in range(0, n_columns, step):
        columns = start + np.flatnonzero(wanted.place[start : start + step] >= 0)
        if len(columns) == 0:
            continue
        taken = _canonical(X[:, start : start + step][:, columns - start].astype(np.float64))
        genes = wanted.place[columns]
        if wanted.absent is not None:
            _refuse_absent(taken.data, taken.indices, np.repeat(genes, np.diff(taken.indptr)), wanted)
        sums.inside[:] += np.bincount(taken.indices, weights=taken.data, minlength=n_cells)
        sums.fits[:] += taken @ wanted.logs[genes]
        taken.data = np.log1p(taken.data * scale[taken.indices])
        sums.z[:] += taken @ wanted.matrix[genes]


def _scale(totals: NDArray[np.float64], wanted: Wanted) -> NDArray[np.float64]:
    return np.divide(wanted.target_sum, totals, out=np.zeros_like(totals), where=totals > 0)


def _canonical(block: Any) -> Any:
    """Return the block with sorted indices and duplicates added up, as a copy when it was not."""
    if block.has_canonical_format:
        return block
    block = block.copy()
    block.sum_duplicates()
    return block


def _refuse_absent(data: NDArray, cells: NDArray, genes: NDArray, wanted: Wanted) -> None:
    """Refuse counts of a gene in a study that is said not to have measured it."""
    if wanted.absent is None:
        return
    studies, absent = wanted.absent
    wrong = (genes >= 0) & (data != 0) & absent[studies[cells], genes]
    if wrong.any():
        msg = f"{wanted.where}: cells hold counts of {len(set(genes[wrong])):,} genes that varm['measured'] says their "
        raise InputError(msg + "study did not measure; correct it, or leave varm['measured'] out.")
