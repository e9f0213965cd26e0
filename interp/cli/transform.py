"""`interp transform`: apply a compact algorithm to cells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from anndata import AnnData

    from interp.extraction.algorithm import CompactAlgorithm

TABLE = ".csv"


def transform(
    algorithm: Annotated[str, typer.Argument(help="Folder of an algorithm, or the name of a shipped one.")],
    cells: Annotated[Path, typer.Argument(help="h5ad file with raw counts; it is read in chunks, whatever its size.")],
    *,
    out: Annotated[Path, typer.Option(help="File to write: .h5ad (the cells with the results) or .csv (the results).")],
    gene_key: Annotated[
        str | None, typer.Option(help="var column with gene symbols or Ensembl ids; default the names of var.")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Layer with the raw counts, or raw; default X.")] = None,
    total_counts: Annotated[
        str | None,
        typer.Option(help="obs column with each cell's counts over all genes, where the file was cut."),
    ] = None,
    min_coverage: Annotated[
        float | None, typer.Option(help="Share of the map's weight that the genes must carry; default the algorithm's.")
    ] = None,
    skip_empty: Annotated[
        bool, typer.Option("--skip-empty", help="Skip cells without counts; the default is to refuse them.")
    ] = False,
) -> None:
    """Add latents, stage, pseudotime and an out-of-distribution score to cells, without the model.

    Writes obsm["X_interp"], obs["interp_stage"], obs["interp_pseudotime"], obs["interp_ood"] and uns["interp"]. Cells
    with interp_ood above 0.99 are stranger than 99 % of the cells that the algorithm was made of: distrust their stage.

    Example: interp transform hematopoiesis-mini blood.h5ad --out blood-read.h5ad

    Example, counts in a layer and ids as names: interp transform my-run/algorithm blood.h5ad --layer counts
    --gene-key symbol --out latents.csv
    """
    import interp
    from interp.errors import InputError

    if out.suffix not in {".h5ad", TABLE}:
        msg = f"--out {out} ends in {out.suffix or 'nothing'}; give a name that ends in .h5ad or .csv"
        raise InputError(msg)
    if not cells.is_file():
        msg = f"there is no file {cells}; give an h5ad file with raw counts"
        raise InputError(msg)
    loaded = interp.CompactAlgorithm.load(algorithm)
    target = out if out.suffix != TABLE else None
    result = loaded.transform(
        cells,
        out=target,
        gene_key=gene_key,
        layer=layer,
        total_counts=total_counts,
        min_coverage=min_coverage,
        skip_empty=skip_empty,
    )
    if target is None:
        _write_table(loaded, result, out)
    typer.echo(f"{out}: {result.n_obs:,} cells with {_found(result)}")


def _write_table(algorithm: CompactAlgorithm, cells: AnnData, out: Path) -> None:
    """Write one row per cell: latents, pseudotime, stage with its probability, and score."""
    import numpy as np
    import pandas as pd

    from interp.runs.files import write_csv

    keys = cells.uns["interp"]["algorithm"]["keys"]
    z = cells.obsm[keys["latent"]]
    table = pd.DataFrame(z, index=cells.obs_names, columns=[f"z{i}" for i in range(z.shape[1])])
    for name in ("pseudotime", "stage", "ood"):
        if name in keys:
            table[name] = cells.obs[keys[name]]
    if "stage" in keys:
        there = np.isfinite(z).all(axis=1)
        table.loc[there, "stage_probability"] = algorithm.predict_proba("stage", z[there]).max(axis=1)
    table.index.name = "cell"
    write_csv(out, table, index=True)


def _found(cells: AnnData) -> str:
    record = cells.uns["interp"]["algorithm"]
    names = {"latent": "latents", "pseudotime": "pseudotime", "stage": "stage", "ood": "out-of-distribution score"}
    listed = ", ".join(text for name, text in names.items() if name in record["keys"])
    return f"{listed}; the genes found carry {record['coverage']:.0%} of the map's weight"
