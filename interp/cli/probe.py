"""`interp probe`: what can be read from every layer and head of a model."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interp.cli import arguments as given

if TYPE_CHECKING:
    from interp.probing import ProbeResult


class Kept(StrEnum):
    """What a probe sees of a cell."""

    cls = "cls"
    mean = "mean"
    genes = "genes"


def probe(
    *,
    model: Annotated[str, typer.Option(help="Checkpoint folder, scgpt-mini or scgpt-sim.")],
    cells: Annotated[list[Path], typer.Option(help="h5ad files with raw counts.")],
    target: Annotated[
        list[str],
        typer.Option(help="stage, branch, cell_type, depth, any obs column, or CD4/CD8, monocyte/macrophage."),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write: probe.md, csv tables, figures/, activations/.")],
    sites: Annotated[
        list[str] | None, typer.Option(help="Activations to probe; resid_post and z by default (interp capture).")
    ] = None,
    reduce: Annotated[
        Kept, typer.Option(help="Seen of a cell: the <cls> row, the mean over its genes, or rows of --genes.")
    ] = Kept.cls,
    genes: Annotated[
        list[str] | None, typer.Option(help="For --reduce genes: symbols, whose rows are set side by side.")
    ] = None,
    groups: Annotated[str, typer.Option(help="obs column of the unit that is held out and counted.")] = "donor",
    draws: Annotated[int, typer.Option(min=3, help="Draws of each control task.")] = 40,
    baselines: Annotated[
        bool, typer.Option(help="Also probe raw expression, HVG, PCA, random projections, tokens, untrained models.")
    ] = True,
    untrained: Annotated[int, typer.Option(min=1, help="Untrained models that are averaged.")] = 1,
    donor: given.Donor = "donor",
    tissue: given.Tissue = "tissue",
    cell_type: given.CellType = "cell_type",
    study: given.Study = "study",
    replicate: given.Replicate = None,
    total_counts: given.TotalCounts = None,
    gene_key: given.GeneKey = None,
    seed: Annotated[int, typer.Option()] = 0,
    device: Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu, cuda, cuda:1.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON instead.")] = False,
) -> None:
    """Read a target from every layer and head by a linear probe, scored on donors that it never saw.

    Classes are read by logistic regression, numbers by ridge. Beside each value stands a control task (labels dealt
    anew), and the same probe on raw expression, its principal components, random projections, the bag of tokens, and
    untrained models: a head that reads less than these has learned nothing of the target that they had not.

    At least three donors are needed, five for any p below 0.05.

    \b
    interp probe --model scgpt-mini --cells blood.h5ad --target cell_type \\
        --out runs/probe

    Two targets, from the mean over each cell's genes, heads alone:

    \b
    interp probe --model scgpt-mini --cells blood.h5ad --target stage depth \\
        --sites z --reduce mean --out runs/heads

    What the attention between three genes tells:

    \b
    interp probe --model scgpt-mini --cells blood.h5ad --target CD4/CD8 \\
        --sites pattern --reduce genes --genes CD3D CCL5 LTB --out runs/pattern
    """  # noqa: D301 (a word of the command-line library: lines that are kept)
    import interp
    from interp.probing import ProbeSettings
    from interp.report.probing import draw_probes, write_probes

    columns = {
        "donor": donor, "tissue": tissue, "cell_type": cell_type, "study": study, "replicate": replicate,
        "total_counts": total_counts, "gene_key": gene_key,
    }  # fmt: skip
    panel = given.read_panel(cells, columns, require_stages=False)
    network = interp.load_model(model, device=device)
    settings = ProbeSettings(draws=draws, untrained_seeds=tuple(range(untrained)))
    _check_targets(panel.obs, target, groups, settings)
    activations = interp.capture(
        network, panel, sites=sites or ("resid_post", "z"), reduce=reduce.value, genes=genes, seed=seed,
        out=out / "activations",
    )  # fmt: skip
    beside: dict[str, Any] = {"cells": panel, "model": network} if baselines else {"obs": panel.obs}
    results = [
        interp.probe(activations, name, groups=groups, settings=settings, seed=seed, **beside) for name in target
    ]
    write_probes(out, results, title=f"{model} on {', '.join(path.name for path in cells)}")
    draw_probes(out, results)
    typer.echo(_as_json(results) if as_json else _as_text(results, out))


def _check_targets(obs: Any, targets: list[str], groups: str, settings: Any) -> None:
    """Refuse an unknown target before the capture, which may take long."""
    from interp.probing.targets import read_task

    for name in targets:
        read_task(obs, name, donor=groups, min_cells=settings.min_cells, max_cells=settings.max_cells)


def _as_text(results: list[ProbeResult], out: Path) -> str:
    from interp.report.probing import baseline_table, headline, screen_table

    parts = []
    for result in results:
        parts.append(headline(result))
        tables = [] if result.facts["reason"] else [screen_table(result), baseline_table(result)]
        shown = [table for table in tables if len(table)]
        parts += [table.to_string(index=False, na_rep="-", float_format=lambda x: f"{x:.3g}") for table in shown]
    return "\n\n".join([*parts, f"Results lie in {out}: probe.md, probes.csv, baselines.csv, donors.csv, figures/"])


def _as_json(results: list[ProbeResult]) -> str:
    found = [
        {
            "facts": result.facts,
            "table": json.loads(result.table.to_json(orient="records")),
            "baselines": json.loads(result.baselines.to_json(orient="records")),
            "left_out": json.loads(result.left_out.to_json(orient="records")),
        }
        for result in results
    ]
    return json.dumps(found, indent=1)
