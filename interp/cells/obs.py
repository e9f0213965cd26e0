"""The labels of one file's cells, brought to the panel's column names."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interp.cells.names import some
from interp.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

log = logging.getLogger(__name__)

UNKNOWN = "unknown"
# Columns that the panel defines; a column of the file that has such a name gives way to it.
OWN_COLUMNS = ("donor", "tissue", "cell_type", "stage", "branch", "study", "depth", "total_counts", "replicate")
# What is mapped to a stage, between reading and mapping.
STAGE_LABEL = "interp_stage_label"
# They separate the study from a name, and the parts of an anchor's name; h5ad keys cannot hold the slash.
RESERVED = frozenset(":|/")


@dataclass(frozen=True)
class Columns:
    """Where a file keeps what the panel needs: names of obs columns, a layer, a var column."""

    donor: str
    tissue: str | None
    cell_type: str | None
    stage: str | None
    total_counts: str | None
    replicate: str | None
    study: str | None
    layer: str | None
    gene_key: str | None


def is_panel(adata: AnnData) -> bool:
    """Tell whether `read_cells` made these cells, so that their names carry the study already.

    Parameters
    ----------
    adata
        Cells.

    Returns
    -------
    bool
    """
    return "panel" in adata.uns.get("interp", {}) and "measured" in adata.varm and "study" in adata.obs


def cell_labels(adata: AnnData, columns: Columns, where: str, study: str) -> pd.DataFrame:
    """Return the labels of a file's cells.

    Parameters
    ----------
    adata
        Cells of the file.
    columns
        Where the file keeps its labels.
    where
        Name of the file in messages.
    study
        Study of all cells, unless `columns.study` names a column.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``study:cell``: donor (``study:donor``), tissue, cell_type, `STAGE_LABEL`, study,
        replicate, all categories, and the file's other columns as they are.

    Raises
    ------
    InputError
        A column is missing, or cells have no donor, tissue or study.
    """
    n = adata.n_obs
    studies = _complete(adata, columns.study, "study", where) if columns.study else _constant(study, n)
    _check_study_names(studies.categories, where)
    cell_type = _cell_type(adata, columns.cell_type, where)
    donors = _complete(adata, columns.donor, "donor", where)
    labels = {
        "donor": donors if is_panel(adata) and columns.donor == "donor" else pd.Categorical(_prefixed(donors, studies)),
        "tissue": _complete(adata, columns.tissue, "tissue", where) if columns.tissue else _constant(UNKNOWN, n),
        "cell_type": cell_type,
        STAGE_LABEL: _stage_label(adata, columns, where, cell_type),
        "study": studies,
        "replicate": _replicate(adata, columns.replicate, where),
    }
    own_names = adata.obs_names.astype(str).to_numpy(dtype=object)
    names = pd.Index(own_names if is_panel(adata) else _prefixed(own_names, studies), dtype=object)
    hidden = [name for name in OWN_COLUMNS if name in adata.obs and name not in vars(columns).values()]
    if hidden and not is_panel(adata):
        log.info("%s: obs columns that give way to the panel's own: %s", where, some(hidden))
    others = adata.obs[adata.obs.columns.difference(OWN_COLUMNS, sort=False)].set_axis(names, axis=0)
    return pd.concat([pd.DataFrame(labels, index=names), others], axis=1)


def column(adata: AnnData, name: str, parameter: str, where: str) -> pd.Series:
    """Return an obs column.

    Parameters
    ----------
    adata
        Cells.
    name
        Column of ``adata.obs``.
    parameter
        Parameter that named the column, for the message.
    where
        Name of the file in messages.

    Returns
    -------
    pandas.Series

    Raises
    ------
    InputError
        There is no such column; the message lists those there are.
    """
    if name not in adata.obs:
        there = ", ".join(map(repr, adata.obs.columns)) or "none"
        msg = f"{where}: obs has no column {name!r}, which {parameter}= names; there are: {there}"
        raise InputError(msg)
    return adata.obs[name]


def as_text(values: pd.Series) -> pd.Categorical:
    """Return labels as texts.

    Parameters
    ----------
    values
        Any labels.

    Returns
    -------
    pandas.Categorical
        Of str; whole floats lose their ``.0``, blank texts count as NaN.
    """
    codes, uniques = pd.factorize(values)
    texts = np.array([_one_text(value) for value in uniques] + [""], dtype=object)
    categories, position = np.unique(texts, return_inverse=True)
    # The blank text sorts first: it stands for NaN, whose code is -1.
    return pd.Categorical.from_codes(position[codes] - 1, categories=pd.Index(categories[1:], dtype=object))


def _one_text(value: object) -> str:
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    return str(value).strip()


def _text(adata: AnnData, name: str, parameter: str, where: str) -> pd.Categorical:
    return as_text(column(adata, name, parameter, where))


def _complete(adata: AnnData, name: str, parameter: str, where: str) -> pd.Categorical:
    values = _text(adata, name, parameter, where)
    absent = int(values.isna().sum())
    if absent:
        msg = (
            f"{where}: {absent:,} of {len(values):,} cells have no {parameter} (NaN or blank in obs[{name!r}]); "
            "fill them in or drop these cells"
        )
        raise InputError(msg)
    return values


def _cell_type(adata: AnnData, name: str | None, where: str) -> pd.Categorical:
    if name is None:
        return _constant(UNKNOWN, adata.n_obs)
    values = _text(adata, name, "cell_type", where)
    if values.isna().any():
        log.warning("%s: %d cells have no %s and are called %r", where, values.isna().sum(), name, UNKNOWN)
    return _filled(values, UNKNOWN)


def _replicate(adata: AnnData, name: str | None, where: str) -> pd.Categorical:
    return _filled(_text(adata, name, "replicate", where), "") if name else _constant("", adata.n_obs)


def _stage_label(adata: AnnData, columns: Columns, where: str, cell_type: pd.Categorical) -> pd.Categorical:
    if columns.stage is not None:
        return _text(adata, columns.stage, "stage", where)
    if columns.cell_type is None:
        return pd.Categorical.from_codes(np.full(adata.n_obs, -1), categories=pd.Index([], dtype=object))
    return cell_type


def _filled(values: pd.Categorical, text: str) -> pd.Categorical:
    return pd.Categorical(pd.Series(np.asarray(values, dtype=object)).fillna(text))


def _constant(text: str, n: int) -> pd.Categorical:
    return pd.Categorical.from_codes(np.zeros(n, int), categories=pd.Index([text], dtype=object))


def _prefixed(names: pd.Categorical | np.ndarray, studies: pd.Categorical) -> np.ndarray:
    return np.asarray(studies, dtype=object) + ":" + np.asarray(names, dtype=object)


def _check_study_names(names: pd.Index, where: str) -> None:
    odd = [name for name in names if not name or RESERVED & set(name)]
    if odd:
        msg = (
            f"{where}: study names may not be empty or hold any of {' '.join(sorted(RESERVED))}: "
            f"{some(map(repr, odd))}; rename the file, or name a column of other studies with study="
        )
        raise InputError(msg)
