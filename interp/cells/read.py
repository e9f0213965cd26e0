"""Read one or several files of cells into a panel: checked counts, uniform labels, stages of the stage graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from anndata import AnnData

from interp.cells.assemble import assemble
from interp.cells.obs import Columns, is_panel
from interp.cells.source import open_file, read_source
from interp.errors import InputError

if TYPE_CHECKING:
    from interp.biology import StageGraph

Cells: TypeAlias = str | Path | AnnData
PerFile: TypeAlias = str | Sequence[str | None] | None


def read_cells(
    cells: Cells | Sequence[Cells],
    *,
    donor: str | Sequence[str],
    tissue: PerFile,
    cell_type: PerFile,
    stage: PerFile = None,
    total_counts: PerFile = None,
    layer: PerFile = None,
    gene_key: PerFile = None,
    study: PerFile = None,
    replicate: PerFile = None,
    graph: StageGraph | None = None,
    require_stages: bool = True,
) -> AnnData:
    """Read cells, check them and bring them to the form that the toolkit works on.

    Several files stand on the union of their genes, and ``varm["measured"]`` says which study measured what. Donors and
    cells get their study as a prefix. Every parameter that names a column is one name for all files or a list with one
    name per file.

    Parameters
    ----------
    cells
        An ``.h5ad`` file or AnnData with raw counts, or a list of these.
    donor, tissue, cell_type
        Columns of obs; tissue or cell_type may be None, and is then "unknown".
    stage
        Column of obs that is mapped to stages instead of the cell type.
    total_counts
        Column of obs with each cell's total over all genes of its source, for files cut to fewer genes; None takes
        the cell's own total.
    layer
        Layer with the raw counts; "raw" takes ``.raw`` when no layer has that name.
    gene_key
        Column of var with gene symbols, when the index holds ids.
    study
        Column of obs with the study; None takes the file's stem, or "cells" (numbered) for an AnnData.
    replicate
        Column of obs, such as plates, that makes more anchors but is never a unit of statistics.
    graph
        Stage graph; None takes hematopoiesis.
    require_stages
        Whether it is an error that no label maps to the stage graph.

    Returns
    -------
    AnnData
        X CSR float32 counts (cell, gene); obs donor, tissue, cell_type, stage, branch, study, replicate (category),
        depth (float32, hops), total_counts (float64) and the files' other columns; varm measured, bool (gene, study);
        ``uns["interp"]``: labels (what mapped to what) and panel (hash, sizes, genes per study).

    Raises
    ------
    InputError
        Values that are no counts, only empty cells, duplicate genes or cells, missing columns, cells without a donor or
        tissue, a study that means two gene sets, or labels of which none maps.

    Examples
    --------
    >>> from interp.simulate import simulate
    >>> atlas = simulate(n_donors=2, n_cells=60, n_genes=80, seed=1)
    >>> cells = read_cells(atlas, donor="donor", tissue="tissue", cell_type="cell_type")
    >>> cells.obs["stage"].notna().all().item()
    True
    """
    given = [cells] if isinstance(cells, str | Path | AnnData) else list(cells)
    if not given:
        msg = "no cells: give at least one .h5ad file or AnnData"
        raise InputError(msg)
    names = {"donor": donor, "tissue": tissue, "cell_type": cell_type, "stage": stage, "total_counts": total_counts}
    names |= {"replicate": replicate, "study": study, "layer": layer, "gene_key": gene_key}
    per_file = _per_file(names, len(given))
    stems = _stems(given, per_file)
    sources = []
    for item, columns, stem in zip(given, per_file, stems, strict=True):
        adata = _own(item)
        sources.append(read_source(adata, _panel_defaults(columns, adata), where=_where(item, stem), study=stem))
    return assemble(sources, graph, require_stages=require_stages)


def _per_file(names: dict[str, Any], n: int) -> list[Columns]:
    listed: dict[str, list[str | None]] = {}
    for parameter, value in names.items():
        entries = [value] * n if value is None or isinstance(value, str) else list(value)
        if len(entries) != n:
            msg = f"{parameter}= lists {len(entries)} columns for {n} files; give one name for all, or one per file"
            raise InputError(msg)
        listed[parameter] = entries
    if None in listed["donor"]:
        msg = "donor= is None; every file needs a column of donors, for they are the units of all statistics"
        raise InputError(msg)
    return [Columns(**dict(zip(listed, row, strict=True))) for row in zip(*listed.values(), strict=True)]


def _stems(given: Sequence[Cells], per_file: Sequence[Columns]) -> list[str]:
    numbered = len(given) > 1
    stems = [
        (f"cells{i + 1}" if numbered else "cells") if isinstance(item, AnnData) else Path(item).stem
        for i, item in enumerate(given)
    ]
    used = [stem for stem, columns in zip(stems, per_file, strict=True) if columns.study is None]
    twice = sorted({stem for stem in used if used.count(stem) > 1})
    if twice:
        msg = (
            f"several files are called {', '.join(map(repr, twice))}, and a file's name is its study unless study= "
            "names a column; rename the files, or leave out the one that is given twice"
        )
        raise InputError(msg)
    return stems


def _own(item: Cells) -> AnnData:
    """Return cells in memory that share nothing with what was given, for a panel may be changed."""
    if not isinstance(item, AnnData):
        return open_file(item)
    return item.to_memory() if item.isbacked else item.copy()


def _where(item: Cells, stem: str) -> str:
    return f"the AnnData {stem!r}" if isinstance(item, AnnData) else str(item)


def _panel_defaults(columns: Columns, adata: AnnData) -> Columns:
    if not is_panel(adata):
        return columns
    return replace(
        columns,
        study="study",
        total_counts=columns.total_counts or "total_counts",
        replicate=columns.replicate or "replicate",
    )
