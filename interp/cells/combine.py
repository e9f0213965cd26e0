"""Several files on the union of their genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from interp.cells.names import some
from interp.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interp.cells.source import Source


def combine(sources: Sequence[Source]) -> tuple[sparse.csr_matrix, pd.DataFrame, pd.DataFrame]:
    """Stack files; genes stand in the order of first appearance.

    Parameters
    ----------
    sources
        Checked files, with names that carry their study.

    Returns
    -------
    counts
        float32 (cell, gene of the union).
    obs
        Labels of the cells, every column of any file.
    measured
        Which genes each study measured, bool (gene, study).

    Raises
    ------
    InputError
        A cell name stands in two files, or two files of one study measured different genes.
    """
    genes = sources[0].genes
    for source in sources[1:]:
        genes = genes.append(source.genes.difference(genes, sort=False))
    obs = _stack_obs([source.obs for source in sources])
    if not obs.index.is_unique:
        twice = obs.index[obs.index.duplicated()]
        msg = (
            f"{len(twice):,} cells stand in more than one file under the same study ({some(twice)}); "
            "leave one of the files out, or give them different studies"
        )
        raise InputError(msg)
    return _stack_counts(sources, genes), obs, _stack_measured(sources, genes)


def _stack_counts(sources: Sequence[Source], genes: pd.Index) -> sparse.csr_matrix:
    if len(sources) == 1:
        return sources[0].counts
    nnz = np.cumsum([0] + [source.counts.nnz for source in sources])
    kind = np.int32 if nnz[-1] < np.iinfo(np.int32).max else np.int64
    data, indices = np.empty(nnz[-1], np.float32), np.empty(nnz[-1], kind)
    indptr = [np.zeros(1, kind)]
    for source, start, stop in zip(sources, nnz[:-1], nnz[1:], strict=True):
        data[start:stop] = source.counts.data
        indices[start:stop] = genes.get_indexer(source.genes)[source.counts.indices]
        indptr.append((source.counts.indptr[1:] + start).astype(kind))
    n_cells = sum(source.counts.shape[0] for source in sources)
    counts = sparse.csr_matrix((data, indices, np.concatenate(indptr)), shape=(n_cells, len(genes)))
    counts.sort_indices()
    return counts


def _stack_measured(sources: Sequence[Source], genes: pd.Index) -> pd.DataFrame:
    columns: dict[str, np.ndarray] = {}
    for source in sources:
        inside = source.measured.reindex(genes, fill_value=False)
        for study in inside.columns:
            values = inside[study].to_numpy(bool)
            if study in columns and not np.array_equal(columns[study], values):
                msg = (
                    f"{source.where}: study {study!r} stands in several files that hold different genes "
                    f"({columns[study].sum():,} and {values.sum():,}, {(columns[study] & values).sum():,} in common); "
                    "give the files different studies, for a study is a set of measured genes"
                )
                raise InputError(msg)
            columns[study] = values
    return pd.DataFrame(columns, index=genes)


def _stack_obs(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    names = list(dict.fromkeys(name for frame in frames for name in frame.columns))
    index = pd.Index(np.concatenate([frame.index.to_numpy(dtype=object) for frame in frames]), dtype=object)
    obs = pd.DataFrame(index=index)
    for name in names:
        obs[name] = _stack_column([frame.get(name, _nothing(frame.index)) for frame in frames]).array
    return obs


def _nothing(index: pd.Index) -> pd.Series:
    return pd.Series(np.full(len(index), np.nan), index=index)


def _stack_column(parts: Sequence[pd.Series]) -> pd.Series:
    if all(pd.api.types.is_numeric_dtype(part) and not pd.api.types.is_bool_dtype(part) for part in parts):
        return pd.concat(parts)
    if len(parts) == 1 and not pd.api.types.is_object_dtype(parts[0]):
        return parts[0]
    if all(pd.api.types.is_bool_dtype(part) for part in parts):
        return pd.concat(parts)
    values = pd.concat([part.astype(object) for part in parts])
    return pd.Series(pd.Categorical(values.where(values.isna(), values.astype(str))), index=values.index)
