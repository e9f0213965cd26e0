"""The genes that operators work on, and the expression of cells on them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from interp.cells.names import some
from interp.cells.variable import standardised_variance
from interp.errors import InputError, VocabularyError

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

# Expression is log1p of counts per 10,000, the scale of scanpy's and Seurat's tutorials.
TARGET_SUM = 1e4
# Default size of the operator panel.
N_TOP = 1200
# A study with fewer training cells has no say in which genes vary.
MIN_CELLS_PER_STUDY = 20


def measured_genes(cells: AnnData) -> pd.DataFrame:
    """Return which genes each study measured.

    Parameters
    ----------
    cells
        A panel; one without ``varm["measured"]`` measured all its genes.

    Returns
    -------
    pandas.DataFrame
        bool (gene, study).
    """
    if "measured" in cells.varm:
        return cells.varm["measured"].astype(bool)
    return pd.DataFrame({"all": np.ones(cells.n_vars, bool)}, index=cells.var_names)


def expression(cells: AnnData, genes: Sequence[str]) -> sparse.csr_matrix:
    """Return log1p of counts per 10,000 on some genes.

    The total is each cell's ``total_counts``, over all genes of its source, whatever `genes` are.

    Parameters
    ----------
    cells
        A panel from `read_cells`.
    genes
        Genes in the order of the columns wanted.

    Returns
    -------
    scipy.sparse.csr_matrix
        float64 (cell, gene).

    Raises
    ------
    InputError
        A gene is not in the panel or given twice, or the cells have no total counts.
    """
    wanted = pd.Index(genes, dtype=object)
    columns = cells.var_names.get_indexer(wanted)
    if (columns < 0).any():
        absent = wanted[columns < 0]
        msg = f"{len(absent)} of {len(wanted)} genes are not in the panel of {cells.n_vars:,} genes: {some(absent)}"
        raise InputError(msg)
    if not wanted.is_unique:
        msg = f"genes are given more than once: {some(wanted[wanted.duplicated()])}"
        raise InputError(msg)
    if "total_counts" not in cells.obs:
        msg = "obs has no column 'total_counts'; pass cells that read_cells returned"
        raise InputError(msg)
    x = sparse.csr_matrix(cells.X)[:, columns].astype(np.float64)
    x.sort_indices()
    scale = TARGET_SUM / cells.obs["total_counts"].to_numpy(np.float64)
    x.data *= np.repeat(scale, np.diff(x.indptr))
    np.log1p(x.data, out=x.data)
    return x


def operator_genes(
    cells: AnnData,
    *,
    vocabulary: Collection[str],
    n_top: int = N_TOP,
    training_donors: Collection[str] | None = None,
    extra: Iterable[AnnData] = (),
) -> list[str]:
    """Choose the genes of the operator panel.

    Eligible are the genes that the vocabulary holds and every study of `cells` and `extra` measured. Of these the most
    variable ones among the training donors' cells are taken: by standardised variance within each study
    (`interp.cells.variable`), first the genes that are among the `n_top` of the most studies, then by mean rank.

    Parameters
    ----------
    cells
        A panel from `read_cells`.
    vocabulary
        Genes of the model.
    n_top
        Most genes taken; when no more are eligible, all that occur in the training donors are taken.
    training_donors
        Donors whose cells are looked at; None looks at all cells.
    extra
        Further panels, such as an external or a negative one; only their gene names matter.

    Returns
    -------
    list of str
        Genes, sorted by name.

    Raises
    ------
    InputError
        `n_top` is not positive or a training donor is not in the panel.
    VocabularyError
        No gene is eligible.
    """
    if n_top < 1:
        msg = f"n_top = {n_top}; at least one gene is needed"
        raise InputError(msg)
    training = _rows_of(cells, training_donors)
    eligible = _eligible(cells, vocabulary, list(extra))
    columns = cells.var_names.get_indexer(pd.Index(eligible, dtype=object))
    counts = sparse.csr_matrix(cells.X)[training][:, columns]
    occurs = np.bincount(counts.indices, weights=counts.data, minlength=len(columns)) > 0
    genes = [gene for gene, present in zip(eligible, occurs, strict=True) if present]
    if len(genes) <= n_top:
        return genes
    studies = cells.obs["study"].to_numpy()[training] if "study" in cells.obs else np.zeros(len(training))
    return _most_variable(counts[:, occurs], studies, genes, n_top)


def _rows_of(cells: AnnData, donors: Collection[str] | None) -> NDArray[np.intp]:
    if donors is None:
        return np.arange(cells.n_obs)
    absent = sorted(set(donors) - set(cells.obs["donor"].astype(str)))
    if absent or not donors:
        there = some(sorted(cells.obs["donor"].astype(str).unique()))
        msg = f"training donors {absent or 'none'} are not in the panel; its donors are {there}"
        raise InputError(msg)
    return np.flatnonzero(cells.obs["donor"].isin(list(donors)).to_numpy())


def _eligible(cells: AnnData, vocabulary: Collection[str], extra: Sequence[AnnData]) -> list[str]:
    known = frozenset(vocabulary) if isinstance(vocabulary, Iterable) else vocabulary
    steps: list[str] = []
    common = set(cells.var_names)
    for number, panel in enumerate([cells, *extra]):
        measured = measured_genes(panel)
        for study in measured.columns:
            common &= set(measured.index[measured[study].to_numpy()])
            steps.append(f"{len(common):,} after {study}" if number == 0 else f"{len(common):,} after {study} (extra)")
    genes = sorted(gene for gene in common if gene in known)
    if not genes:
        msg = (
            f"no gene is measured by every study and known to the vocabulary of {len(known):,}: genes in "
            f"common are {'; '.join(steps)}. Leave out the study with the fewest genes, or name symbols with gene_key="
        )
        raise VocabularyError(msg)
    return genes


def _most_variable(
    counts: sparse.csr_matrix, studies: NDArray[np.generic], genes: Sequence[str], n_top: int
) -> list[str]:
    """Rank genes within each study; ties are broken by name."""
    names, sizes = np.unique(studies.astype(str), return_counts=True)
    voting = names[sizes >= min(MIN_CELLS_PER_STUDY, sizes.max())]
    rank_sum, times_chosen = np.zeros(len(genes)), np.zeros(len(genes), np.int64)
    for study in voting:
        values = standardised_variance(counts[np.flatnonzero(studies.astype(str) == study)])
        rank = np.empty(len(genes), np.int64)
        rank[np.argsort(-values, kind="stable")] = np.arange(len(genes))
        rank_sum += rank
        times_chosen += (rank < n_top) & (values > 0)
    order = np.lexsort((np.arange(len(genes)), rank_sum, -times_chosen))
    return sorted(genes[i] for i in order[:n_top])
