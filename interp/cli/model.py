"""`interp model`: what a checkpoint holds and whether it fits the user's cells."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from interp.cli import arguments as given

model_app = typer.Typer(help="Look at a model: info, check.", no_args_is_help=True, rich_markup_mode=None)


@model_app.command()
def info(model: Annotated[str, typer.Argument(help="Checkpoint folder, scgpt-mini or scgpt-sim.")]) -> None:
    """Print the sizes and the vocabulary of a checkpoint."""
    import interp

    loaded = interp.load_model(model, device="cpu")
    for name, value in loaded.config.to_args().items():
        typer.echo(f"{name:16} {value}")
    typer.echo(f"{'genes':16} {len(loaded.vocabulary.genes):,}")
    typer.echo(f"{'parameters':16} {sum(p.numel() for p in loaded.parameters()):,}")


@model_app.command()
def check(
    model: Annotated[str, typer.Argument(help="Checkpoint folder, scgpt-mini or scgpt-sim.")],
    *,
    cells: Annotated[list[Path], typer.Option(help="h5ad files with raw counts.")],
    donor: given.Donor = "donor",
    tissue: given.Tissue = "tissue",
    cell_type: given.CellType = "cell_type",
    study: given.Study = "study",
    gene_key: given.GeneKey = None,
    n_cells: Annotated[int, typer.Option(help="Most cells looked at.", min=1)] = 500,
) -> None:
    """State how well the model predicts masked values of these cells, beside means learned from the same cells.

    The baselines are learned on the very cells they predict, so a model above them has earned it.
    """
    import interp
    from interp.scgpt.evaluate import masked_value_scores

    columns = {"donor": donor, "tissue": tissue, "cell_type": cell_type, "study": study, "gene_key": gene_key}
    panel = given.read_panel(cells, columns, require_stages=False)
    loaded = interp.load_model(model)
    table = masked_value_scores({"model": loaded}, panel, panel, n_cells=n_cells)
    typer.echo(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
