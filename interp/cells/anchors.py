"""Anchors: the mean expression of the cells of one donor, tissue and cell type."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from interp.cells.names import some
from interp.cells.panel import expression
from interp.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

# Fewer cells than this make no anchor (the method's definition).
MIN_CELLS = 5
KEYS = ("donor", "tissue", "cell_type", "replicate")


@dataclass(frozen=True)
class Anchors:
    """Mean expression of groups of cells.

    Attributes
    ----------
    features
        Mean log1p counts per 10,000, float64 (anchor, gene).
    obs
        One row per anchor, named ``donor|tissue|cell type[|replicate]``: donor, tissue, cell_type, stage and branch
        (str or None), depth (hops, NaN when unknown), study, replicate ("" when none), n_cells.
    genes
        Genes of the columns.
    """

    features: NDArray[np.float64]
    obs: pd.DataFrame
    genes: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of anchors."""
        return len(self.obs)

    @property
    def exact(self) -> NDArray[np.bool_]:
        """Anchors whose stage is known, (anchor,)."""
        return self.obs["stage"].notna().to_numpy()

    def subset(self, mask: NDArray[np.bool_] | NDArray[np.intp]) -> Anchors:
        """Return some anchors.

        Parameters
        ----------
        mask
            bool (anchor,), or row numbers in the order wanted.

        Returns
        -------
        Anchors
        """
        rows = np.asarray(mask)
        return Anchors(self.features[rows], self.obs.iloc[rows], self.genes)


def anchors(cells: AnnData, genes: Sequence[str], *, min_cells: int = MIN_CELLS) -> Anchors:
    """Average the expression of the cells of each donor x tissue x cell type (x replicate, where there is one).

    Parameters
    ----------
    cells
        A panel from `read_cells`.
    genes
        Genes of the operator panel.
    min_cells
        Smaller groups make no anchor.

    Returns
    -------
    Anchors
        Sorted by donor, tissue, cell type, replicate.

    Raises
    ------
    InputError
        A gene is not in the panel, the cells are no panel, or no group is large enough.
    """
    _check_panel(cells)
    return _averaged(cells, expression(cells, genes), tuple(genes), min_cells)


def detection(cells: AnnData, genes: Sequence[str], *, min_cells: int = MIN_CELLS) -> Anchors:
    """Find in which share of an anchor's cells a gene is detected, over the same groups as `anchors`.

    Parameters
    ----------
    cells
        A panel from `read_cells`.
    genes
        Genes of the operator panel.
    min_cells
        Smaller groups make no anchor.

    Returns
    -------
    Anchors
        Its features are shares, (anchor, gene); its rows are those of `anchors`.

    Raises
    ------
    InputError
        As in `anchors`.
    """
    _check_panel(cells)
    return _averaged(cells, (expression(cells, genes) > 0).astype(np.float64), tuple(genes), min_cells)


def anchor_means(cells: AnnData, values: np.ndarray, *, names: Sequence[str] | None = None) -> Anchors:
    """Average any values of cells, such as an embedding, over the same groups as `anchors`.

    Parameters
    ----------
    cells
        A panel from `read_cells`.
    values
        One row per cell, (cell, dimension).
    names
        Names of the dimensions; their numbers by default.

    Returns
    -------
    Anchors
        Its features are means of `values`, (anchor, dimension); its rows are those of `anchors`.

    Raises
    ------
    InputError
        There is not one finite row per cell, the cells are no panel, or no group is large enough.
    """
    _check_panel(cells)
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 2 or len(rows) != cells.n_obs or not np.isfinite(rows).all():
        msg = f"values of shape {rows.shape} for {cells.n_obs:,} cells; give one finite row per cell"
        raise InputError(msg)
    named = tuple(names) if names is not None else tuple(f"d{i}" for i in range(rows.shape[1]))
    return _averaged(cells, sparse.csr_matrix(rows), named, MIN_CELLS)


def _check_panel(cells: AnnData) -> None:
    absent = [name for name in (*KEYS, "stage", "branch", "depth", "study") if name not in cells.obs]
    if absent:
        msg = f"obs has no column {some(map(repr, absent))}; pass cells that read_cells returned"
        raise InputError(msg)


def _averaged(cells: AnnData, values: sparse.csr_matrix, names: tuple[str, ...], min_cells: int) -> Anchors:
    frame = cells.obs[list(KEYS)].astype(str)
    group, n_groups = _groups(frame)
    sizes = np.bincount(group, minlength=n_groups)
    large = np.flatnonzero(sizes >= min_cells)
    if len(large) == 0:
        msg = (
            f"none of the {n_groups:,} groups of donor x tissue x cell type has {min_cells} cells (the largest has "
            f"{sizes.max()}); pool finer cell types, or lower min_cells"
        )
        raise InputError(msg)
    if len(large) < n_groups:
        log.info("%d of %d groups with fewer than %d cells make no anchor", n_groups - len(large), n_groups, min_cells)
    row_of = np.full(n_groups, -1)
    row_of[large] = np.arange(len(large))
    inside = np.flatnonzero(row_of[group] >= 0)
    rows = row_of[group[inside]]
    indicator = sparse.csr_matrix((np.ones(len(inside)), (rows, inside)), shape=(len(large), cells.n_obs))
    features = (indicator @ values).toarray() / sizes[large, None]
    first = inside[np.unique(rows, return_index=True)[1]]
    return Anchors(features, _anchor_obs(cells, frame, first, inside, rows, sizes[large]), names)


def _groups(frame: pd.DataFrame) -> tuple[NDArray[np.intp], int]:
    """Give each distinct row a number, in sorted order."""
    group = frame.groupby(list(frame.columns), sort=True, observed=True).ngroup().to_numpy()
    return group, int(group.max()) + 1


def _anchor_obs(
    cells: AnnData, frame: pd.DataFrame, first: NDArray, inside: NDArray, rows: NDArray, sizes: NDArray
) -> pd.DataFrame:
    obs = frame.iloc[first].copy()
    parts = obs["donor"] + "|" + obs["tissue"] + "|" + obs["cell_type"]
    obs.index = pd.Index(
        (parts + obs["replicate"].where(obs["replicate"] == "", "|" + obs["replicate"])).to_numpy(), dtype=object
    )
    for name in ("stage", "branch"):
        obs[name] = _shared(cells.obs[name].astype(object).to_numpy(), first, inside, rows, name)
    depth = cells.obs["depth"].to_numpy(np.float64)[first]
    obs["depth"] = np.where(obs["stage"].notna(), depth, np.nan)
    obs["study"] = cells.obs["study"].astype(str).to_numpy()[first]
    obs["n_cells"] = sizes
    return obs[["donor", "tissue", "cell_type", "stage", "branch", "depth", "study", "replicate", "n_cells"]]


def _shared(values: NDArray, first: NDArray, inside: NDArray, rows: NDArray, name: str) -> NDArray:
    """Return the value that all cells of an anchor share, None where they differ or have none."""
    codes = pd.factorize(pd.Series(values))[0]
    differs = np.bincount(rows, weights=codes[inside] != codes[first][rows], minlength=len(first)) > 0
    if differs.any():
        log.warning(
            "%d anchors hold cells of several %ss and get none; pass the finer column as cell_type=",
            differs.sum(),
            name,
        )
    found = pd.Series(values[first], dtype=object)
    return found.where(found.notna() & ~differs, None).to_numpy(dtype=object)
