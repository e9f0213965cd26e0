"""`interp discover`: the main job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from interp.cli import arguments as given
from interp.cli.inputs import Inputs


def discover(
    *,
    model: Annotated[str, typer.Option(help="Checkpoint folder, scgpt-mini or scgpt-sim.")] = "scgpt-sim",
    cells: Annotated[
        list[Path] | None, typer.Option(help="h5ad files with raw counts; without, the embedded atlas.")
    ] = None,
    external: Annotated[
        list[Path] | None, typer.Option(help="h5ad files of other donors, for the frozen algorithm.")
    ] = None,
    negative: Annotated[
        list[Path] | None, typer.Option(help="h5ad files of other cells, for the negative control.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Run folder; an interrupted run continues there.")] = Path("runs/default"),
    donor: given.Donor = "donor",
    tissue: given.Tissue = "tissue",
    cell_type: given.CellType = "cell_type",
    study: given.Study = "study",
    replicate: given.Replicate = None,
    total_counts: given.TotalCounts = None,
    gene_key: given.GeneKey = None,
    splits: Annotated[
        int | None, typer.Option(min=2, help="Donor folds; every donor is tested once. Default 3.")
    ] = None,
    attention_cells: Annotated[
        int | None, typer.Option(min=1, help="Training cells whose attention makes an operator. Default 600.")
    ] = None,
    genes: Annotated[int | None, typer.Option(min=10, help="Most genes of the operator panel. Default 1,200.")] = None,
    draws: Annotated[
        int | None, typer.Option(min=1, help="Draws of each random control. Default 20 (no p under 0.048); publish 99.")
    ] = None,
    untrained_draws: Annotated[
        int | None,
        typer.Option(min=1, help="Untrained models; each takes a pass over the attention cells. Default: as --draws."),
    ] = None,
    label_nulls: Annotated[int | None, typer.Option(min=1, help="Refits under permuted stages. Default 199.")] = None,
    probe_cells: Annotated[
        int | None, typer.Option(min=1, help="Cells on which layers and heads are probed for the stage. Default 600.")
    ] = None,
    ablation_cells: Annotated[
        int | None, typer.Option(min=1, help="Cells on which every head is ablated, one by one. Default 300.")
    ] = None,
    kinds: Annotated[
        str | None,
        typer.Option(
            help="Kinds of operators to choose among, by comma: mean, sum, lift, value_weighted, qk, ov, gram, "
            "mvc_gram, pooled, drift. Default mean,sum,drift."
        ),
    ] = None,
    ruler: Annotated[
        Path | None,
        typer.Option(help="CSV of distances between stages: a matrix, or an edge list a,b,length. Default: hops."),
    ] = None,
    ruler_source: Annotated[
        str | None,
        typer.Option(
            help="Where these distances come from. Naming it is your word that nothing of the model went into them."
        ),
    ] = None,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Find heads, extract a compact algorithm, and judge it beside nulls and matched controls.

    Without arguments: scgpt-sim on the embedded simulated atlas (400 genes, 300 attention cells). On real cells:
    interp discover --model scgpt-mini --cells a.h5ad b.h5ad --external c.h5ad --out runs/blood
    """
    from interp.discover import EMBEDDED, DiscoverSettings
    from interp.discover import discover as run
    from interp.errors import InputError

    columns = {
        "donor": donor, "tissue": tissue, "cell_type": cell_type, "study": study, "replicate": replicate,
        "total_counts": total_counts, "gene_key": gene_key,
    }  # fmt: skip
    if cells is None and (external or negative):
        msg = "--external and --negative need --cells: the embedded default brings its own panels"
        raise InputError(msg)
    if (ruler is None) != (ruler_source is None):
        msg = "--ruler FILE and --ruler-source TEXT go together: a ruler stands beside its source in every result"
        raise InputError(msg)
    given_files = {"cells": cells, "external": external, "negative": negative}
    inputs = Inputs(
        model, **{name: tuple(map(str, paths or ())) for name, paths in given_files.items()}, columns=columns,
        ruler=None if ruler is None else str(ruler), ruler_source=ruler_source,
    )  # fmt: skip
    panels = inputs.panels()
    parts = (
        {} if panels is None else {"cells": panels.internal, "external": panels.external, "negative": panels.negative}
    )
    chosen: dict[str, Any] = {
        "n_splits": splits,
        "attention_cells": attention_cells,
        "genes": genes,
        "probe_cells": probe_cells,
        "ablation_cells": ablation_cells,
        "draws": draws,
        "untrained_draws": draws if untrained_draws is None else untrained_draws,
        "label_nulls": label_nulls,
        "kinds": tuple(kinds.replace(",", " ").split()) if kinds is not None else None,
    }
    settings = replace(
        DiscoverSettings() if cells else EMBEDDED, seed=seed, **{k: v for k, v in chosen.items() if v is not None}
    )
    folder = run(model, **parts, out=out, settings=settings, ruler=inputs.distances(), inputs=inputs.noted())
    typer.echo((folder / "summary.md").read_text().split("## Panel")[0].strip())
    typer.echo(f"\nResults lie in {folder}: summary.md, verdict.json, gates.json, controls.csv, algorithm/, figures/")
