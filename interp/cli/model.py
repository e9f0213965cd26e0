"""`interp model`: fetch and convert checkpoints, say what they hold and whether they fit the user's cells."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from interp.cli import arguments as given

Model = Annotated[str, typer.Argument(help="Checkpoint folder, scgpt-mini or scgpt-sim.")]

model_app = typer.Typer(
    help="Get a model and look at it: download, info, check, convert.\n\n"
    "Example: interp model download scgpt-human --to models/scgpt-human",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class Dtype(StrEnum):
    """Types that weights can be written as."""

    float32 = "float32"
    float16 = "float16"


@model_app.command()
def download(
    name: Annotated[str, typer.Argument(help="scgpt-human, the published whole-human model (207 MB).")],
    *,
    to: Annotated[Path, typer.Option(help="Folder for args.json, vocab.json and best_model.pt.")],
    mirror: Annotated[
        list[str] | None,
        typer.Option(
            help="https address of a folder with the three files; tried instead of the known ones, in the order "
            "given. May be repeated. Also: environment variable INTERP_MIRRORS, separated by blanks."
        ),
    ] = None,
) -> None:
    """Fetch a published checkpoint; an interrupted download continues, and the files' sha256 sums decide.

    Example: interp model download scgpt-human --to models/scgpt-human
    """
    from interp.scgpt.download import download_model

    folder = download_model(name, to, mirrors=mirror or ())
    typer.echo(f"{folder}: {name} is complete and its sums are right. Next: interp model info {folder}")


@model_app.command()
def convert(
    folder: Annotated[str, typer.Argument(help="Folder of any readable checkpoint, such as a published one.")],
    *,
    to: Annotated[Path, typer.Option(help="Folder to write.")],
    dtype: Annotated[
        Dtype, typer.Option(help="float32 keeps the weights exactly; float16 halves the file.")
    ] = Dtype.float32,
) -> None:
    """Write a checkpoint as safetensors with a model card, and say which keys were kept, missing or dropped.

    Example: interp model convert models/scgpt-human --to models/scgpt-human-safe
    """
    from interp.cli.tables import aligned, key_rows
    from interp.scgpt.convert import convert_checkpoint

    report = convert_checkpoint(folder, to, dtype=dtype.value)
    rows = key_rows(len(report.loaded), report.missing, report.misshaped, report.extra, extra="dropped keys")
    typer.echo(
        aligned([("read", f"{report.source} ({report.key_style} keys)"), *rows, ("written", f"{to}, {dtype.value}")])
    )


@model_app.command()
def info(
    model: Model,
    *,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Print a checkpoint's sizes, vocabulary, keys and hook points, and whether its files are the published ones.

    What can be captured, with shapes: interp capture --model MODEL --list-sites

    Example: interp model info scgpt-mini
    """
    from interp.cli.tables import aligned, file_table, model_rows
    from interp.runs.hashes import json_text
    from interp.scgpt.describe import describe_checkpoint

    found = describe_checkpoint(model)
    if json:
        typer.echo(json_text(found, indent=2))
    else:
        typer.echo(f"{aligned(model_rows(found))}\n\n{file_table(found['files'])}")


@model_app.command()
def check(
    model: Model,
    *,
    cells: Annotated[list[Path], typer.Option(help="h5ad files with raw counts.")],
    donor: given.Donor = "donor",
    tissue: given.Tissue = "tissue",
    cell_type: given.CellType = "cell_type",
    study: given.Study = "study",
    gene_key: given.GeneKey = None,
    layer: Annotated[str | None, typer.Option(help="Layer with the raw counts, where X holds others.")] = None,
    n_cells: Annotated[int, typer.Option(help="Most cells looked at.", min=1)] = 500,
) -> None:
    """State how well a model predicts masked values of cells, beside means, and warn when it does not fit them.

    The means are learned on the very cells they predict, so a model above them has earned it.

    Example: interp model check models/scgpt-human --cells blood.h5ad
    """
    import interp
    from interp.cli.tables import aligned, fit_rows
    from interp.scgpt.fit_check import check_fit

    columns: dict[str, Any] = {
        "donor": donor, "tissue": tissue, "cell_type": cell_type, "study": study, "gene_key": gene_key, "layer": layer,
    }  # fmt: skip
    panel = given.read_panel(cells, columns, require_stages=False)
    found = check_fit(interp.load_model(model), panel, n_cells=n_cells)
    typer.echo(found.scores.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    typer.echo(f"\n{aligned(fit_rows(found, panel.n_vars))}")
    for warning in found.warnings:
        typer.echo(f"Warning: {warning}", err=True)
