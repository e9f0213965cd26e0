"""`interp pretrain`: train a small scGPT on one's own cells."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from interp.cli import arguments as given


def pretrain(
    *,
    cells: Annotated[list[Path], typer.Option(help="h5ad files with raw counts, one or several.")],
    out: Annotated[Path, typer.Option(help="Checkpoint folder to write.")],
    hold_out: Annotated[
        list[str],
        typer.Option(
            help="Part of a donor's or replicate's name; its cells are kept for early stopping. May be repeated."
        ),
    ],
    donor: given.Donor = "donor",
    tissue: given.Tissue = "tissue",
    cell_type: given.CellType = "cell_type",
    study: given.Study = "study",
    replicate: given.Replicate = None,
    total_counts: given.TotalCounts = None,
    gene_key: given.GeneKey = None,
    layers: Annotated[int, typer.Option(min=1)] = 6,
    heads: Annotated[int, typer.Option(min=1)] = 4,
    width: Annotated[int, typer.Option(min=4, help="d_model.")] = 128,
    tokens: Annotated[int, typer.Option(min=8, help="Most genes of a cell in a training step.")] = 192,
    steps: Annotated[int, typer.Option(min=1)] = 2800,
    learning_rate: Annotated[float, typer.Option(min=0)] = 1e-3,
    dropout: Annotated[float, typer.Option(min=0, max=1)] = 0.1,
    min_cells: Annotated[
        int, typer.Option(min=1, help="A gene enters the vocabulary when so many training cells express it.")
    ] = 10,
    seed: int = 0,
) -> None:
    """Pretrain a small scGPT by masked values and whole profiles; an interrupted training continues.

    Example: interp pretrain --cells a.h5ad b.h5ad --hold-out donor_7 --out my-model
    """
    from interp.scgpt.checkpoint import save_checkpoint
    from interp.scgpt.pretrain import PretrainSettings, expressed_genes, split_panel
    from interp.scgpt.pretrain import pretrain as train

    columns = {
        "donor": donor, "tissue": tissue, "cell_type": cell_type, "study": study, "replicate": replicate,
        "total_counts": total_counts, "gene_key": gene_key,
    }  # fmt: skip
    panel = given.read_panel(cells, columns, require_stages=False)
    training, held_out = split_panel(panel, hold_out)
    settings = PretrainSettings(
        n_layers=layers, n_heads=heads, d_model=width, d_hid=width, tokens=tokens, steps=steps, seed=seed,
        learning_rate=learning_rate, dropout=dropout,
    )  # fmt: skip
    state = out.with_name(f"{out.name}.training")
    model = train(training, held_out, state, genes=expressed_genes(training, min_cells), settings=settings)
    save_checkpoint(out, model)
    typer.echo(f"{out}: {sum(p.numel() for p in model.parameters()):,} parameters; learning curve in {state}")
