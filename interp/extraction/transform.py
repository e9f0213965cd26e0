"""Applying a compact algorithm to counts and to AnnData: sparse stays sparse, cells pass in chunks."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.errors import InputError
from interp.extraction.runner import algorithm as runner

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import ArrayLike, NDArray

    from interp.extraction.algorithm import CompactAlgorithm

logger = logging.getLogger(__name__)

# Cells read at a time; the result does not depend on it.
CHUNK_CELLS = 8192


def latents_of(
    algorithm: CompactAlgorithm,
    X: Any,
    genes: Sequence[str],
    total_counts: ArrayLike | None = None,
    *,
    min_coverage: float | None = None,
    rows: NDArray | None = None,
    where: str = "The cells",
    chunk: int = CHUNK_CELLS,
) -> NDArray:
    """Map raw counts to latents.

    Parameters
    ----------
    algorithm
        The algorithm.
    X
        Raw counts, (cell, gene): dense, sparse, or on disk; anything whose rows can be sliced.
    genes
        Gene symbols, (gene,); an empty name is a gene that was not measured.
    total_counts
        Counts over all genes, (cell,); default the row sums.
    min_coverage
        Share of the map's weight that the genes must carry; default the algorithm's own.
    rows
        Cells to map, index (row,); default all.
    where
        Name of the cells in messages.
    chunk
        Cells at a time.

    Returns
    -------
    numpy.ndarray
        (row, latent) float64, the same bytes whatever the storage, the chunk and the order of the genes.

    Raises
    ------
    InputError
        Not raw counts, empty cells, duplicate genes, or too few of the algorithm's genes.
    """
    if len(X.shape) != 2 or X.shape[1] != len(genes):
        msg = f"{where}: counts of shape {tuple(X.shape)} do not fit {len(genes):,} genes; give (cell, gene)."
        raise InputError(msg)
    with _input_errors(where):
        columns, _ = runner.match(algorithm, genes, min_coverage)
    matrix, offset = runner.restricted(algorithm, columns)
    found = columns[columns >= 0]
    n_cells = X.shape[0] if rows is None else len(rows)
    totals = None if total_counts is None else np.asarray(total_counts, dtype=np.float64)
    if totals is not None and totals.shape != (X.shape[0],):
        msg = f"{where}: totals of shape {totals.shape} were given for {X.shape[0]:,} cells; give one per cell."
        raise InputError(msg)
    z = np.empty((n_cells, len(offset)))
    for start in range(0, n_cells, chunk):
        part = slice(start, min(start + chunk, n_cells))
        index = part if rows is None else rows[part]
        block = _block(X, index, where)
        own = np.asarray(block.sum(axis=1), dtype=np.float64).ravel() if totals is None else totals[index]
        # Sparse times dense goes row by row in the order of the columns: no other cell, chunk or storage can change it.
        z[part] = _scaled(block, found, own, algorithm.target_sum, where) @ matrix + offset
    return z


def annotate(
    algorithm: CompactAlgorithm,
    cells: AnnData,
    *,
    keys: Mapping[str, str | None],
    gene_key: str | None,
    layer: str | None,
    total_counts: str | ArrayLike | None,
    min_coverage: float | None,
    copy: bool,
) -> AnnData:
    """Write latents, pseudotime and stage into cells; parameters as in `CompactAlgorithm.transform`.

    Returns
    -------
    anndata.AnnData
        The cells or their copy.

    Raises
    ------
    InputError
        As `CompactAlgorithm.transform`.
    """
    import pandas as pd

    genes = _symbols(cells, gene_key)
    least = algorithm.min_coverage if min_coverage is None else min_coverage
    if gene_key is None and algorithm.coverage(genes) < least:
        _explain_ids(algorithm, cells, genes)
    counts = _counts(cells, layer)
    totals = _totals(cells, total_counts)
    z = np.empty((cells.n_obs, len(algorithm.c)))
    found: dict[str, tuple[float, int]] = {}
    for study, rows, names in _studies(cells, genes):
        where = study or "The cells"
        with _input_errors(where):
            columns, coverage = runner.match(algorithm, names, min_coverage)
        n_missing = int((columns < 0).sum())
        if n_missing:
            message = (
                "%s: %d of the algorithm's %d genes are missing and stand at their training mean (coverage %.0f %%)"
            )
            logger.warning(message, where, n_missing, len(columns), 100 * coverage)
        found[where] = (coverage, n_missing)
        z[rows] = latents_of(algorithm, counts, names, totals, min_coverage=min_coverage, rows=rows, where=where)
    cells = (cells.to_memory() if cells.isbacked else cells.copy()) if copy else cells
    cells.obsm[keys["latent"]] = z
    cells.obs[keys["pseudotime"]] = algorithm.pseudotime(z)
    if "stage" in algorithm.readouts:
        classes = list(algorithm.readouts["stage"].classes)
        cells.obs[keys["stage"]] = pd.Categorical(algorithm.predict_stage(z), categories=classes)
    if keys["geodesic"]:
        cells.obs[keys["geodesic"]] = algorithm.geodesic_pseudotime(z)
    coverage, n_missing = min(entry[0] for entry in found.values()), max(entry[1] for entry in found.values())
    record = {"name": algorithm.name, "sha256": algorithm.sha256, "coverage": coverage, "n_missing_genes": n_missing}
    record["keys"] = {name: key for name, key in keys.items() if key}
    cells.uns["interp"] = {**cells.uns.get("interp", {}), "algorithm": record}
    return cells


@contextmanager
def _input_errors(where: str) -> Iterator[None]:
    """Turn the runner's complaints into `InputError`, with the name of the cells."""
    try:
        yield
    except runner.CountsError as error:
        msg = f"{where}: {error}"
        raise InputError(msg) from error


def _block(X: Any, index: slice | NDArray, where: str) -> Any:
    from scipy import sparse

    from interp.cells.counts import check_counts

    block = X[index]
    if not sparse.issparse(block):
        block = np.asarray(block)
        if not (np.issubdtype(block.dtype, np.number) or block.dtype == bool):
            msg = f"{where}: the counts have type {block.dtype}; raw counts are numbers."
            raise InputError(msg)
    # float64 before anything is summed, so that narrow integers cannot overflow
    block = sparse.csr_matrix(block, dtype=np.float64)
    check_counts(block.data, where, hint="Give raw counts; layer= names the layer that holds them.")
    return block


def _scaled(block: Any, columns: NDArray, totals: NDArray, target_sum: float, where: str) -> Any:
    """Return log1p(counts / total * target) of the columns, in their order."""
    taken = block[:, columns]
    taken.sort_indices()
    with _input_errors(where):
        totals = runner.check_totals(totals, block.shape[0])
        runner.check_share(np.asarray(taken.sum(axis=1)).ravel(), totals)
    taken.data = np.log1p(taken.data / np.repeat(totals, np.diff(taken.indptr)) * target_sum)
    return taken


def _symbols(cells: AnnData, gene_key: str | None) -> list[str]:
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


def _studies(cells: AnnData, genes: list[str]) -> Iterator[tuple[str, NDArray, list[str]]]:
    """Name, rows and measured genes of each study: a gene that a study did not measure is missing, not zero."""
    if "measured" not in cells.varm or "study" not in cells.obs:
        yield "", np.arange(cells.n_obs), genes
        return
    measured, study = cells.varm["measured"], cells.obs["study"].astype(str).to_numpy()
    for name in sorted(set(study)):
        if name in measured:
            there = measured[name].to_numpy(dtype=bool)
            names = [gene if known else "" for gene, known in zip(genes, there, strict=True)]
        else:
            names = genes
        yield name, np.flatnonzero(study == name), names


def _explain_ids(algorithm: CompactAlgorithm, cells: AnnData, genes: list[str]) -> None:
    """If another column of var holds more of the algorithm's genes, say so instead of listing missing genes."""
    wanted = set(algorithm.genes)
    held = {key: len(wanted & set(cells.var[key].astype(str))) for key in cells.var.columns}
    best = max(held, key=held.__getitem__, default=None)
    if best is not None and held[best] > len(wanted & set(genes)):
        msg = (
            f"The names of var are not the algorithm's gene symbols (such as {genes[0]}), but the var column {best!r} "
            f"holds {held[best]:,} of its {len(wanted):,} genes; give gene_key={best!r}."
        )
        raise InputError(msg)
