"""`interp extract`: from a finished run to operators, compaction, factors and genes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def extract(
    run: Annotated[Path, typer.Argument(help="Folder of an `interp discover`; it says which cells and model it had.")],
    *,
    top_heads: Annotated[int, typer.Option(min=1, help="Heads whose operators are kept in every kind.")] = 4,
    rank: Annotated[int, typer.Option(min=2, help="Rank of the surrogate whose factors are ablated.")] = 64,
    rotations: Annotated[
        int, typer.Option(min=1, help="Random bases that the factors' concentration is held against.")
    ] = 20,
    bootstraps: Annotated[int, typer.Option(min=1, help="Donor resamples behind each gene's interval.")] = 200,
    gene_sets: Annotated[
        Path | None, typer.Option(help="GMT file of programs to name factors by; the project's own by default.")
    ] = None,
) -> None:
    """Take what a run found apart, and write it so that it can be read.

    Writes RUN/extraction/: operators of the best heads in every kind (safetensors), the compaction chain with paired
    losses, factors with their ablation beside rotated bases, gene programs, genes of the folded map with intervals
    over donors, figures, and extraction.md, which tells all of it. A killed extraction continues with the same call.

    interp discover --model scgpt-mini --cells a.h5ad b.h5ad --out runs/blood

    interp extract runs/blood
    """
    from interp.biology import read_gmt
    from interp.cli.inputs import Inputs
    from interp.discover import extract as go_on

    inputs = Inputs.of_run(run)
    panels = inputs.panels()
    parts = (
        {} if panels is None else {"cells": panels.internal, "external": panels.external, "negative": panels.negative}
    )
    sizes: dict[str, Any] = {"top_heads": top_heads, "rank": rank, "rotations": rotations, "bootstraps": bootstraps}
    programs = None if gene_sets is None else read_gmt(gene_sets)
    out = go_on(run, inputs.model, **parts, ruler=inputs.distances(), programs=programs, inputs=inputs.noted(), **sizes)
    typer.echo((out / "extraction.md").read_text().split("## Compaction")[0].strip())
    typer.echo(f"\nResults lie in {out}: extraction.md, operators/, chain.csv, factor_*.csv, attribution.csv, figures/")
