"""`interp geometry`: measure the manifold of any embedding of cells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interp.cli import arguments as given

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData


def geometry(
    *,
    cells: Annotated[list[Path], typer.Option(help="h5ad files with raw counts; one only, with --embedding.")],
    out: Annotated[Path, typer.Option(help="Folder to write: geometry.md, geometry.csv, gates.csv, figures/.")],
    algorithm: Annotated[
        str | None, typer.Option(help="Folder of an algorithm, or the name of a shipped one; its latents are measured.")
    ] = None,
    embedding: Annotated[
        str | None, typer.Option(help="Key of obsm, such as X_pca, X_scGPT or X_interp, measured instead.")
    ] = None,
    ruler: Annotated[
        str, typer.Option(help="hops, depth, branch, or a CSV: a matrix of stages, or an edge list (a, b, length).")
    ] = "hops",
    ruler_source: Annotated[
        str, typer.Option(help="For a CSV: where its distances come from; your word that the model had no part.")
    ] = "",
    donor: given.Donor = "donor",
    tissue: given.Tissue = "tissue",
    cell_type: given.CellType = "cell_type",
    study: given.Study = "study",
    replicate: given.Replicate = None,
    total_counts: given.TotalCounts = None,
    gene_key: given.GeneKey = None,
    nulls: Annotated[int, typer.Option(min=1, help="Permutations of the stages behind each null.")] = 199,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Measure how an embedding of cells lies: neighbourhoods, ruler, dimension, shape, each beside its own null.

    Cells are averaged to anchors (donor x tissue x cell type). Nothing is fitted, so nothing is held out.

    interp geometry --cells blood.h5ad --embedding X_pca --out runs/pca

    interp geometry --cells blood.h5ad --algorithm hematopoiesis-mini --ruler depth --out runs/depth
    """
    from interp.biology import Ruler, StageGraph, read_ruler
    from interp.cells import operator_genes
    from interp.cells.anchors import anchor_means, anchors
    from interp.errors import InputError
    from interp.evidence import Panel, frozen_gates
    from interp.evidence.manifold import measure_manifold
    from interp.report.geometry import draw_geometry, write_geometry

    if (algorithm is None) == (embedding is None):
        msg = "give --algorithm or --embedding, one of them: it names what is measured"
        raise InputError(msg)
    columns = {
        "donor": donor, "tissue": tissue, "cell_type": cell_type, "study": study, "replicate": replicate,
        "total_counts": total_counts, "gene_key": gene_key,
    }  # fmt: skip
    panel_cells, graph = given.read_panel(cells, columns), StageGraph.hematopoiesis()
    known = {"hops": Ruler.hops, "depth": Ruler.depth_only, "branch": Ruler.branch_only}
    chosen = (
        known[ruler](graph)
        if ruler in known
        else read_ruler(ruler, source=ruler_source, independent_of_model=bool(ruler_source))
    )
    latents = anchor_means(panel_cells, _latents(panel_cells, algorithm, embedding))
    inputs = anchors(panel_cells, operator_genes(panel_cells, vocabulary=panel_cells.var_names))
    panel = Panel.from_anchors(latents, graph, (), "embedding", ruler=chosen)
    table = measure_manifold(panel, latents.features, inputs=inputs.features, seed=seed, n_null=nulls)
    gates = frozen_gates(panel, latents.features, inputs.features, seed=seed)
    out.mkdir(parents=True, exist_ok=True)
    write_geometry(out, table, gates, title=str(algorithm or embedding), ruler=chosen.name)
    draw_geometry(out, panel, latents.features, graph, gates, table)
    typer.echo((out / "geometry.md").read_text().split("## Measures")[0].strip())
    typer.echo(f"\nResults lie in {out}: geometry.md, geometry.csv, gates.csv, figures/")


def _latents(cells: AnnData, algorithm: str | None, embedding: str | None) -> np.ndarray:
    import numpy as np

    from interp.errors import InputError

    if algorithm is not None:
        from interp.extraction.algorithm import CompactAlgorithm

        totals = cells.obs["total_counts"].to_numpy()
        return CompactAlgorithm.load(algorithm).latents(cells.X, list(cells.var_names), total_counts=totals)
    if embedding not in cells.obsm:
        there = ", ".join(cells.obsm) or "none (several files keep none)"
        msg = f"the cells have no obsm[{embedding!r}]; there are: {there}"
        raise InputError(msg)
    return np.asarray(cells.obsm[embedding])
