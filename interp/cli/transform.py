"""`interp transform`: apply a compact algorithm to cells."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def transform(
    algorithm: Annotated[str, typer.Argument(help="Folder of an algorithm, or the name of a shipped one.")],
    cells: Annotated[Path, typer.Argument(help="h5ad file with raw counts.")],
    *,
    out: Annotated[Path, typer.Option(help="h5ad file to write.")],
    gene_key: Annotated[str | None, typer.Option(help="var column with gene symbols.")] = None,
    total_counts: Annotated[str | None, typer.Option(help="obs column with the counts over all genes.")] = None,
) -> None:
    """Add latents, stage and pseudotime to cells, without the model.

    Writes obsm["X_interp"], obs["interp_stage"], obs["interp_pseudotime"] and uns["interp"].
    """
    import anndata

    import interp
    from interp.cells.files import write_cells
    from interp.errors import InputError

    if not cells.is_file():
        msg = f"there is no file {cells}; give an h5ad file with raw counts"
        raise InputError(msg)
    loaded = interp.CompactAlgorithm.load(algorithm)
    result = loaded.transform(anndata.read_h5ad(cells), gene_key=gene_key, total_counts=total_counts)
    write_cells(result, out)
    typer.echo(f"{out}: {result.n_obs:,} cells with latents, stage and pseudotime")
