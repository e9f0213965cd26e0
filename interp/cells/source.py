"""One file of cells, checked: its counts, genes and labels, without empty cells."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interp.cells.counts import raw_counts
from interp.cells.names import gene_names, some
from interp.cells.obs import cell_labels, column, is_panel
from interp.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from interp.cells.obs import Columns

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """Cells of one file, checked, empty ones left out.

    Attributes
    ----------
    where
        Name of the file in messages.
    counts
        float32 (cell, gene).
    genes
        Names of the genes.
    obs
        Labels (`interp.cells.obs.cell_labels`) and total_counts of the cells.
    measured
        Which genes each study of the file measured, bool (gene, study).
    n_empty
        Cells left out because they hold no count.
    kept
        Rows of the file that stayed.
    layer
        Layer that held the counts, None for X.
    original
        The file as it was.
    """

    where: str
    counts: csr_matrix
    genes: pd.Index
    obs: pd.DataFrame
    measured: pd.DataFrame
    n_empty: int
    kept: NDArray[np.intp]
    layer: str | None
    original: AnnData


def open_file(path: str | Path) -> AnnData:
    """Read an ``.h5ad`` file.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    anndata.AnnData

    Raises
    ------
    InputError
        The file is missing or is no h5ad file.
    """
    import anndata

    path = Path(path)
    if not path.is_file():
        msg = f"{path}: there is no such file; expected an .h5ad file of cells"
        raise InputError(msg)
    try:
        return anndata.read_h5ad(path)
    except Exception as error:  # h5py and anndata raise all kinds on a damaged file
        msg = f"{path} cannot be read as an .h5ad file ({type(error).__name__}: {error})"
        raise InputError(msg) from error


def read_source(adata: AnnData, columns: Columns, *, where: str, study: str) -> Source:
    """Check one file and bring its columns to the panel's names.

    Parameters
    ----------
    adata
        Cells of the file.
    columns
        Where the file keeps what is needed.
    where
        Name of the file in messages.
    study
        Study of all cells, unless `columns.study` names a column.

    Returns
    -------
    Source

    Raises
    ------
    InputError
        Anything that is wrong with the file.
    """
    if adata.n_obs == 0 or adata.n_vars == 0:
        msg = f"{where}: {adata.n_obs} cells x {adata.n_vars} genes; at least one of each is needed"
        raise InputError(msg)
    genes = _genes(adata, columns, where)
    _refuse_duplicates(adata.obs_names, "cell names", where, "make them unique, as adata.obs_names_make_unique() does")
    obs = cell_labels(adata, columns, where, study)
    counts = raw_counts(adata, columns.layer, where)
    own = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    obs["total_counts"] = _totals(adata, columns.total_counts, own, where)
    kept = np.flatnonzero(own > 0)
    n_empty = len(own) - len(kept)
    if len(kept) == 0:
        msg = f"{where}: all {len(own):,} cells are empty (no counts); name the layer that holds counts with layer="
        raise InputError(msg)
    if n_empty:
        log.warning("%s: %d of %d cells are empty (no counts) and are left out", where, n_empty, len(own))
        counts, obs = counts[kept], obs.iloc[kept]
    measured = _measured(adata, genes, obs["study"])
    return Source(where, counts, genes, obs, measured, n_empty, kept, columns.layer, adata)


def _genes(adata: AnnData, columns: Columns, where: str) -> pd.Index:
    from_raw = columns.layer == "raw" and "raw" not in adata.layers and adata.raw is not None
    genes = gene_names(adata.raw.var if from_raw else adata.var, columns.gene_key, where)
    _refuse_duplicates(genes, "gene names", where, "sum or drop the copies, or name another var column with gene_key=")
    return genes


def _refuse_duplicates(names: pd.Index, what: str, where: str, advice: str) -> None:
    if names.is_unique:
        return
    repeated = Counter(names[names.duplicated(keep=False)]).most_common()
    listed = some(f"{name} ({n}x)" for name, n in repeated)
    msg = f"{where}: {len(repeated):,} {what} stand more than once: {listed}; {advice}"
    raise InputError(msg)


def _totals(adata: AnnData, name: str | None, own: NDArray[np.float64], where: str) -> NDArray[np.float64]:
    if name is None:
        return own
    given = pd.to_numeric(column(adata, name, "total_counts", where), errors="coerce").to_numpy(
        np.float64, na_value=np.nan
    )
    stated = np.isfinite(given)
    if not stated.any():
        msg = f"{where}: obs[{name!r}], which total_counts= names, holds no number"
        raise InputError(msg)
    short = np.flatnonzero(stated & (given < own))
    if len(short):
        worst = short[np.argmax(own[short] - given[short])]
        msg = (
            f"{where}: in {len(short):,} cells obs[{name!r}] is smaller than the sum of the counts here (cell "
            f"{adata.obs_names[worst]}: {given[worst]:g} < {own[worst]:g}); total_counts= names a total over all genes"
        )
        raise InputError(msg)
    if not stated.all():
        log.warning("%s: %d cells have no %s; the sum of their counts is taken", where, (~stated).sum(), name)
    return np.where(stated, given, own)


def _measured(adata: AnnData, genes: pd.Index, studies: pd.Series) -> pd.DataFrame:
    names = list(studies.cat.remove_unused_categories().cat.categories)
    if is_panel(adata) and set(names) <= set(adata.varm["measured"].columns):
        known = adata.varm["measured"].loc[:, lambda table: table.columns.isin(names)]
        return pd.DataFrame(known.to_numpy(bool), index=genes, columns=list(known.columns))
    return pd.DataFrame(np.ones((len(genes), len(names)), bool), index=genes, columns=names)
