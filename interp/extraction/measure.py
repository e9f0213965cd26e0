"""Counts and gene names to latents and out-of-distribution score: matching genes, summing up, and checking totals."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.errors import InputError
from interp.extraction.naming import gene_hint
from interp.extraction.runner import algorithm as runner
from interp.extraction.tally import CHUNK_CELLS, Tally, Wanted, tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Labels:
    """What is known of the cells beside their counts.

    Attributes
    ----------
    where
        Name of the cells in messages.
    cells
        Names of the cells, (cell,); None for their row numbers.
    var
        Further columns of the genes, that may hold better names; None when there are none.
    studies, codes, measured
        Names of the studies; the study of each cell, (cell,); and what each measured, (gene, study) bool. A gene that a
        study did not measure is missing there, and not zero.
    """

    where: str = "The cells"
    cells: Sequence[str] | None = None
    var: pd.DataFrame | None = None
    studies: tuple[str, ...] = ()
    codes: NDArray[np.intp] | None = None
    measured: NDArray[np.bool_] | None = None


@dataclass(frozen=True, eq=False)
class Measured:
    """What an algorithm reads out of counts.

    Attributes
    ----------
    z
        Latents, (cell, latent); NaN for skipped cells.
    ood
        Out-of-distribution score, (cell,), NaN for skipped cells; None when the algorithm has none.
    empty
        Cells skipped, (cell,) bool.
    coverage, n_missing
        Share of the map's weight that the genes found carry, and genes missing; of the study that is worst off.
    """

    z: NDArray[np.float64]
    ood: NDArray[np.float64] | None
    empty: NDArray[np.bool_]
    coverage: float
    n_missing: int


def measure(
    algorithm: runner.Algorithm,
    X: Any,
    genes: Sequence[str],
    total_counts: ArrayLike | None = None,
    *,
    labels: Labels | None = None,
    min_coverage: float | None = None,
    skip_empty: bool = False,
    chunk: int = CHUNK_CELLS,
) -> Measured:
    """Map raw counts to latents and score.

    Parameters
    ----------
    algorithm
        The algorithm.
    X
        Raw counts, (cell, gene): dense or sparse, in memory or on disk.
    genes
        Symbols, or Ensembl ids where the algorithm knows them, (gene,).
    total_counts
        Counts over all genes, (cell,); default the row sums.
    labels
        Names for messages, and studies.
    min_coverage
        Share of the map's weight that the genes must carry; default the algorithm's own.
    skip_empty
        Give cells without any count NaN, instead of refusing them.
    chunk
        Cells at a time.

    Returns
    -------
    Measured
        Equal to 1e-12 whatever the storage, the chunk and the order of the genes.

    Raises
    ------
    InputError
        Not raw counts, empty cells, duplicate genes, or too few of the algorithm's genes.
    """
    labels = Labels() if labels is None else labels
    if len(X.shape) != 2 or X.shape[1] != len(genes):
        msg = f"{labels.where}: counts of shape {tuple(X.shape)} do not fit {len(genes):,} genes; give (cell, gene)."
        raise InputError(msg)
    totals = None if total_counts is None else np.asarray(total_counts, dtype=np.float64)
    if totals is not None and totals.shape != (X.shape[0],):
        msg = f"{labels.where}: totals of shape {totals.shape} were given for {X.shape[0]:,} cells; give one per cell."
        raise InputError(msg)
    columns, coverage = _columns(algorithm, list(map(str, genes)), labels, min_coverage)
    sums = tally(X, _wanted(algorithm, columns, X.shape[1], labels), totals, chunk=chunk)
    empty = sums.totals == 0
    if empty.any() and skip_empty:
        logger.warning("%s: %d of %d cells have no counts and are skipped", labels.where, empty.sum(), len(empty))
    checked = np.flatnonzero(~empty) if skip_empty else np.arange(len(empty))
    with input_errors(labels.where):
        runner.check_totals(sums.totals[checked], sums.inside[checked], _Names(labels.cells, checked))
    z, ood = _finished(algorithm, sums, columns, labels)
    z[empty] = np.nan
    if ood is not None:
        ood[empty] = np.nan
    return Measured(z, ood, empty, coverage, int((columns < 0).sum(axis=1).max()))


@contextmanager
def input_errors(where: str, hint: Callable[[], str] = str) -> Iterator[None]:
    """Turn the runner's complaints into `InputError`, with the name of the cells and what to do."""
    try:
        yield
    except runner.CountsError as error:
        msg = f"{where}: {error} {hint()}".strip()
        raise InputError(msg) from error


class _Names:
    """Names of some cells, made only when a message needs them."""

    def __init__(self, cells: Sequence[str] | None, rows: NDArray[np.intp]) -> None:
        self._cells, self._rows = cells, rows

    def __getitem__(self, place: int) -> str:
        row = self._rows[place]
        return f"row {row}" if self._cells is None else str(self._cells[row])


def _columns(
    algorithm: runner.Algorithm, genes: list[str], labels: Labels, min_coverage: float | None
) -> tuple[NDArray[np.intp], float]:
    """Column of each of the algorithm's genes in each study, (study, gene), and the smallest coverage."""
    found, coverages = [], []
    for number, study in enumerate(labels.studies or ("",)):
        names = genes
        if labels.measured is not None:
            names = [gene if there else "" for gene, there in zip(genes, labels.measured[:, number], strict=True)]
        where = study or labels.where
        with input_errors(where, partial(gene_hint, algorithm, names, labels.var)):
            columns, coverage = runner.match(algorithm, names, min_coverage)
        n_missing = int((columns < 0).sum())
        if n_missing:
            message = (
                "%s: %d of the algorithm's %d genes are missing and stand at their training mean (coverage %.0f %%)"
            )
            logger.warning(message, where, n_missing, len(columns), 100 * coverage)
        found.append(columns)
        coverages.append(coverage)
    return np.array(found), min(coverages)


def _wanted(algorithm: runner.Algorithm, columns: NDArray[np.intp], n_columns: int, labels: Labels) -> Wanted:
    union = columns.max(axis=0)
    place = np.full(n_columns, -1, dtype=np.int32)
    place[union[union >= 0]] = np.flatnonzero(union >= 0)
    absent = (columns < 0) & (union >= 0)
    guarded = (labels.codes, absent) if labels.codes is not None and absent.any() else None
    n_genes, typical = len(algorithm.genes), algorithm.typical
    logs = np.zeros((n_genes, 0)) if typical is None else typical.logs.astype(np.float64)
    matrix = np.ascontiguousarray(algorithm.M, dtype=np.float64)
    return Wanted(place, matrix, np.ascontiguousarray(logs), algorithm.target_sum, labels.where, guarded)


def _finished(
    algorithm: runner.Algorithm, sums: Tally, columns: NDArray[np.intp], labels: Labels
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Latents and score of all cells, study by study: what is missing differs."""
    z = sums.z
    ood = None if algorithm.typical is None else np.empty(len(z))
    for number, mine in enumerate(columns):
        rows = slice(None) if labels.codes is None else np.flatnonzero(labels.codes == number)
        z[rows] += runner.restricted(algorithm, mine)[1]
        if algorithm.typical is not None and ood is not None:
            ood[rows] = algorithm.typical.outlying(mine >= 0, sums.inside[rows], sums.fits[rows])
    return z, ood
