"""Applying a compact algorithm to AnnData, in memory or on disk: results are written beside the cells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.errors import InputError
from interp.extraction.measure import Labels, Measured, measure

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import ArrayLike, NDArray

    from interp.extraction.algorithm import CompactAlgorithm


@dataclass(frozen=True)
class Reading:
    """Where the counts and names of cells are; as in `CompactAlgorithm.transform`."""

    gene_key: str | None = None
    layer: str | None = None
    total_counts: str | ArrayLike | None = None
    min_coverage: float | None = None
    skip_empty: bool = False


def annotate(
    algorithm: CompactAlgorithm, cells: AnnData, *, keys: Mapping[str, str | None], reading: Reading, copy: bool
) -> AnnData:
    """Write latents, pseudotime, stage and score into cells; parameters as in `CompactAlgorithm.transform`.

    Returns
    -------
    anndata.AnnData
        The cells or their copy; a copy of backed cells is backed by the same file.

    Raises
    ------
    InputError
        As `CompactAlgorithm.transform`.
    """
    found = measure_cells(algorithm, cells, _counts(cells, reading.layer), reading, "The cells")
    cells = _copied(cells) if copy else cells
    write_results(algorithm, cells, found, keys)
    return cells


def annotate_file(
    algorithm: CompactAlgorithm,
    path: str | os.PathLike[str],
    *,
    keys: Mapping[str, str | None],
    reading: Reading,
    out: str | os.PathLike[str] | None,
) -> AnnData:
    """Read an h5ad file in chunks and return its cells without their counts; parameters as in `annotate`.

    Parameters
    ----------
    algorithm, keys, reading
        As in `annotate`.
    path
        The file.
    out
        The h5ad file to write, with all that `path` holds and the results; None to write none.

    Returns
    -------
    anndata.AnnData
        obs, var and the results; X is None.

    Raises
    ------
    InputError
        As `CompactAlgorithm.transform`.
    """
    from interp.extraction.cellfile import open_cells_file, write_beside

    with open_cells_file(Path(path), reading.layer) as (cells, counts):
        found = measure_cells(algorithm, cells, counts, reading, str(path))
        write_results(algorithm, cells, found, keys)
    if out is not None:
        write_beside(Path(path), Path(out), cells, keys)
    return cells


def measure_cells(algorithm: CompactAlgorithm, cells: AnnData, counts: Any, reading: Reading, where: str) -> Measured:
    """Measure the counts of cells by the labels that stand beside them.

    Parameters
    ----------
    algorithm
        The algorithm.
    cells
        obs, var, varm and uns are read; X is not.
    counts
        Their raw counts, (cell, gene).
    reading
        Where names and totals are.
    where
        Name of the cells in messages.

    Returns
    -------
    Measured
    """
    genes = _gene_names(cells, reading.gene_key)
    totals = _totals(cells, reading.total_counts)
    return measure(
        algorithm,
        counts,
        genes,
        totals,
        labels=_labels(cells, reading, where),
        min_coverage=reading.min_coverage,
        skip_empty=reading.skip_empty,
    )


def write_results(algorithm: CompactAlgorithm, cells: AnnData, found: Measured, keys: Mapping[str, str | None]) -> None:
    """Write what was measured, and what is read out of it, into obsm, obs and uns of the cells.

    Parameters
    ----------
    algorithm
        The algorithm.
    cells
        The cells, changed.
    found
        What was measured.
    keys
        Names of ``latent, pseudotime, stage, ood, geodesic``; what has none is not written.
    """
    import pandas as pd

    z, there = found.z, ~found.empty
    written = {"latent": keys["latent"], "pseudotime": keys["pseudotime"]}
    cells.obsm[keys["latent"]] = z
    cells.obs[keys["pseudotime"]] = _spread(algorithm.pseudotime(z[there]), there)
    if "stage" in algorithm.readouts and keys["stage"]:
        stages = _spread(algorithm.predict_stage(z[there]).astype(object), there)
        cells.obs[keys["stage"]] = pd.Categorical(stages, categories=list(algorithm.readouts["stage"].classes))
        written["stage"] = keys["stage"]
    if found.ood is not None and keys["ood"]:
        cells.obs[keys["ood"]] = found.ood
        written["ood"] = keys["ood"]
    if keys["geodesic"]:
        cells.obs[keys["geodesic"]] = _spread(algorithm.geodesic_pseudotime(z[there]), there)
        written["geodesic"] = keys["geodesic"]
    record = {"name": algorithm.name, "sha256": algorithm.sha256, "coverage": found.coverage}
    record |= {"n_missing_genes": found.n_missing, "n_skipped_cells": int(found.empty.sum()), "keys": written}
    cells.uns["interp"] = {**cells.uns.get("interp", {}), "algorithm": record}


def _spread(values: NDArray, there: NDArray[np.bool_]) -> NDArray:
    """Put values of the cells that are there in their place, and nothing (NaN or None) at the others."""
    if there.all():
        return values
    spread = np.full(len(there), None if values.dtype == object else np.nan, dtype=values.dtype)
    spread[there] = values
    return spread


def _copied(cells: AnnData) -> AnnData:
    """Copy cells; of backed ones all but the counts, which stay in their file."""
    from anndata import AnnData

    if not cells.isbacked:
        return cells.copy()
    if cells.is_view:  # only these cells are read
        return cells.to_memory()
    parts = {name: getattr(cells, name).copy() for name in ("obs", "var")}
    parts |= {name: dict(getattr(cells, name)) for name in ("obsm", "varm", "obsp", "varp", "layers", "uns")}
    return AnnData(**parts, filename=cells.filename, filemode="r")


def _gene_names(cells: AnnData, gene_key: str | None) -> list[str]:
    if gene_key is None:
        return [str(name) for name in cells.var_names]
    if gene_key not in cells.var:
        msg = f"There is no var column {gene_key!r}; there are: {', '.join(map(repr, cells.var.columns)) or 'none'}."
        raise InputError(msg)
    return list(cells.var[gene_key].astype(object).where(cells.var[gene_key].notna(), "").astype(str))


def _counts(cells: AnnData, layer: str | None) -> Any:
    if layer is None and cells.X is not None:
        return cells.X
    if layer is not None and layer in cells.layers:
        return cells.layers[layer]
    if layer == "raw" and cells.raw is not None and cells.raw.shape[1] == cells.n_vars:
        return cells.raw.X
    known = ", ".join(map(repr, cells.layers)) or "none"
    msg = f"The cells have no X to read counts from; layers: {known}." if layer is None else ""
    raise InputError(msg or f"There is no layer {layer!r}; there are: {known}.")


def _totals(cells: AnnData, total_counts: str | ArrayLike | None) -> NDArray | None:
    if total_counts is None:
        # read_cells records the total over all genes of the file; any other column of this name could mean anything.
        recorded = "panel" in cells.uns.get("interp", {}) and "total_counts" in cells.obs
        return cells.obs["total_counts"].to_numpy(dtype=np.float64) if recorded else None
    if not isinstance(total_counts, str):
        return np.asarray(total_counts, dtype=np.float64)
    if total_counts not in cells.obs:
        msg = f"There is no obs column {total_counts!r}; there are: {', '.join(map(repr, cells.obs)) or 'none'}."
        raise InputError(msg)
    return cells.obs[total_counts].to_numpy(dtype=np.float64)


def _labels(cells: AnnData, reading: Reading, where: str) -> Labels:
    """Names and studies of the cells; a gene that a study did not measure is missing there, and not zero."""
    labels = {"where": where, "cells": cells.obs_names, "var": cells.var if reading.gene_key is None else None}
    if "measured" not in cells.varm or "study" not in cells.obs:
        return Labels(**labels)
    table, study = cells.varm["measured"], cells.obs["study"].astype(str).to_numpy()
    studies, codes = np.unique(study, return_inverse=True)
    everything = np.ones(len(table), bool)
    measured = [table[name].to_numpy(bool) if name in table else everything for name in studies]
    return Labels(**labels, studies=tuple(studies), codes=codes, measured=np.array(measured).T)
