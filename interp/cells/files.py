"""Panels on disk: what makes a panel, and writing one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
import pandas as pd

from interp.runs.files import ASIDE_SUFFIX
from interp.runs.hashes import sha256_arrays

if TYPE_CHECKING:
    from anndata import AnnData

# What a panel's hash covers beside counts, gene and cell names.
HASHED = ("donor", "tissue", "cell_type", "stage", "branch", "study", "replicate")


def panel_sha256(cells: AnnData) -> str:
    """Return the hash of what a panel is: counts, names, labels, totals and which study measured what.

    Parameters
    ----------
    cells
        A panel from `read_cells`.

    Returns
    -------
    str
        64 hexadecimal digits; other obs columns, layers and uns do not matter.
    """
    counts = cells.X
    measured = cells.varm["measured"]
    return sha256_arrays(
        data=counts.data,
        indices=counts.indices.astype(np.int32, copy=False),
        indptr=counts.indptr.astype(np.int64, copy=False),
        cells=cells.obs_names.to_numpy(dtype=object),
        genes=cells.var_names.to_numpy(dtype=object),
        studies=measured.columns.to_numpy(dtype=object),
        measured=measured.to_numpy(bool),
        total_counts=cells.obs["total_counts"].to_numpy(np.float64),
        **{name: cells.obs[name].astype(object).to_numpy() for name in HASHED},
    )


def write_cells(cells: AnnData, path: str | os.PathLike[str]) -> Path:
    """Write a panel as ``.h5ad``, aside and then renamed; `anndata.read_h5ad` gives an equal panel back.

    Parameters
    ----------
    cells
        A panel from `read_cells`.
    path
        The file to write; its folder is made when it is missing.

    Returns
    -------
    pathlib.Path
        The file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid4().hex}{ASIDE_SUFFIX}")
    try:
        _storable(cells).write_h5ad(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return path


def _storable(cells: AnnData) -> AnnData:
    """Return a shallow copy whose object columns hold texts alone, as h5ad wants them."""
    stored = cells.copy() if cells.is_view else cells
    odd = [name for name in stored.obs if pd.api.types.is_object_dtype(stored.obs[name])]
    if not odd:
        return stored
    stored = stored.copy()
    for name in odd:
        values = stored.obs[name]
        stored.obs[name] = pd.Categorical(values.where(values.isna(), values.astype(str)))
    return stored
