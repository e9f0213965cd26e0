"""`interp ablate`: what a model misses without each of its heads, and whether named heads are used."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interp.cli import arguments as given
from interp.errors import InputError

if TYPE_CHECKING:
    from interp.ablation import AblationResult
    from interp.report.ablation import TargetReport


class Replaced(StrEnum):
    """What z of a head becomes."""

    mean = "mean"
    type_mean = "type mean"
    zero = "zero"
    resample = "resample"
    resample_same = "resample same type"
    resample_other = "resample other type"


class Method(StrEnum):
    """How drops are found."""

    exact = "exact"
    gradient = "gradient"
    both = "both"


def ablate(
    *,
    model: Annotated[str, typer.Option(help="Checkpoint folder, scgpt-mini or scgpt-sim.")],
    cells: Annotated[list[Path], typer.Option(help="h5ad files with raw counts.")],
    target: Annotated[
        list[str],
        typer.Option(help="stage, branch, cell_type, depth, any obs column, or CD4/CD8, monocyte/macrophage."),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write: summary.md, csv tables, used.json, figures/.")],
    heads: Annotated[
        list[str] | None,
        typer.Option(help="Heads to judge together, as L2H5; by default those missed most, chosen on other donors."),
    ] = None,
    replacement: Annotated[Replaced, typer.Option(help="What a head's output becomes in the screen.")] = Replaced.mean,
    method: Annotated[
        Method, typer.Option(help="exact, gradient (top heads exact beside it), or both for all heads.")
    ] = Method.both,
    size: Annotated[int, typer.Option(min=1, help="Heads to judge together where none are named.")] = 3,
    null_sets: Annotated[
        int, typer.Option(min=0, help="Most random sets of as many heads in the same layers; 0 for none.")
    ] = 999,
    pairs: Annotated[int, typer.Option(min=0, help="Top heads ablated in pairs and growing sets; 0 for none.")] = 6,
    gates: Annotated[bool, typer.Option(help="Also judge by the embedding's order and trustworthiness.")] = False,
    n_cells: Annotated[int, typer.Option(min=1, help="Cells run for each target, evenly over donors, classes.")] = 600,
    train_cells: Annotated[
        int, typer.Option(min=5, help="Most cells of a donor and class that readouts are trained on.")
    ] = 200,
    max_tokens: Annotated[int | None, typer.Option(help="Longest cell; the model's limit by default.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps over which gradients are integrated.")] = 1,
    groups: Annotated[str, typer.Option(help="obs column of the unit that is held out and counted.")] = "donor",
    donor: given.Donor = "donor",
    tissue: given.Tissue = "tissue",
    cell_type: given.CellType = "cell_type",
    study: given.Study = "study",
    replicate: given.Replicate = None,
    total_counts: given.TotalCounts = None,
    gene_key: given.GeneKey = None,
    seed: Annotated[int, typer.Option()] = 0,
    device: Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu, cuda, cuda:1.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the tables as JSON instead.")] = False,
) -> None:
    """Take out every head alone, and see what a frozen readout and the masked-value loss miss.

    Readouts of the cell embedding are fitted on the intact model and some donors, and scored on the others. The heads
    that are missed most are then taken out together, and beside them random heads of the same layers: named heads are
    used when they are missed more than these, beyond what they do to the masked-value loss, under mean and under
    resample ablation. Pairs and growing sets show whether heads stand in for each other.

    At least three donors are needed, five for any p below 0.05.

    \b
    interp ablate --model scgpt-mini --cells blood.h5ad --target cell_type \\
        --out runs/ablate

    Two heads by name, on fewer cells, beside 99 random pairs:

    \b
    interp ablate --model scgpt-mini --cells blood.h5ad --target stage \\
        --heads L3H0 L5H2 --n-cells 200 --null-sets 99 --out runs/two
    """  # noqa: D301 (a word of the command-line library: lines that are kept)
    import interp
    from interp.ablation import AblationSettings, prepare, screen_heads
    from interp.probing import ProbeSettings
    from interp.report.ablation import draw_ablation, write_ablation

    named = _heads(heads)
    columns = {
        "donor": donor, "tissue": tissue, "cell_type": cell_type, "study": study, "replicate": replicate,
        "total_counts": total_counts, "gene_key": gene_key,
    }  # fmt: skip
    panel = given.read_panel(cells, columns, require_stages=False)
    network = interp.load_model(model, device=device)
    settings = AblationSettings(probes=ProbeSettings(max_cells=train_cells), max_tokens=max_tokens, steps=steps)
    _check_heads(network, named)
    bench = prepare(
        network, panel, target, effects=["masked_loss", *(["gates"] if gates else [])], donor=groups, n_cells=n_cells,
        settings=settings, seed=seed,
    )  # fmt: skip
    result = screen_heads(bench, replacement=replacement.value, method=method.value)
    wanted: dict[str, Any] = {"named": named, "size": size, "null_sets": null_sets, "pairs": pairs}
    reports = [_report(result, name, **wanted) for name in dict.fromkeys(target)]
    write_ablation(out, result, reports, title=f"{model} on {', '.join(path.name for path in cells)}")
    draw_ablation(out, result, reports)
    typer.echo(_as_json(result, reports) if as_json else _as_text(result, reports, out))


def _heads(names: list[str] | None) -> list[tuple[int, int]] | None:
    from interp.ablation.table import head_name
    from interp.heads import head_of

    found = []
    for name in names or ():
        head = head_of(name)
        if head is None or head_name(*head) != name:
            msg = f"{name!r} is no head; write them as L2H5 (layer 2, head 5, both from 0)"
            raise InputError(msg)
        found.append(head)
    return found or None


def _check_heads(network: Any, named: list[tuple[int, int]] | None) -> None:
    """Refuse a head that does not exist before the screen, which may take long."""
    from interp.ablation.head_sets import check_heads

    check_heads(network.config, named or ())


def _report(
    result: AblationResult, target: str, *, named: list[tuple[int, int]] | None, size: int, null_sets: int, pairs: int
) -> TargetReport:
    """Ablate heads together, as far as the target can be read and heads are named or can be chosen."""
    from interp.ablation import head_set_null, judge_used, measure_redundancy
    from interp.ablation.used import NEEDED
    from interp.report.ablation import TargetReport

    bench = result.bench
    if target in bench.reasons:
        rows = result.table.loc[result.table["target"] == target, "metric"]
        return TargetReport(target, rows.iloc[0].rsplit(".", 1)[-1])
    metric = bench.effect(None, target).metrics[0]
    able = result.facts["method"] != "gradient"
    most = bench.model.config.n_layers * bench.model.config.n_heads
    nulls: dict[str, Any] = {}
    if null_sets and (named or able):
        about: dict[str, Any] = {"size": min(size, most), "metric": metric, "target": target, "n_sets": null_sets}
        nulls = {name: head_set_null(result, named, replacement=name, **about) for name in NEEDED}
    together = None
    if able and pairs > 1:
        together = measure_redundancy(result, top=min(pairs, most), metric=metric, target=target)
    return TargetReport(target, metric, tuple(nulls.values()), judge_used(nulls) if nulls else None, together)


def _as_text(result: AblationResult, reports: list[TargetReport], out: Path) -> str:
    from interp.report.ablation import gradient_words, head_summary, headline

    parts = []
    for report in reports:
        parts.append(headline(result, report))
        table = head_summary(result, report.metric, report.target)
        if table["drop"].notna().any():
            parts.append(table.to_string(index=False, na_rep="-", float_format=lambda x: f"{x:.3g}"))
    parts += [f"Gradients against exact, {words}" for words in gradient_words(result)]
    return "\n\n".join([*parts, f"Results lie in {out}: summary.md, ablation.csv, used.json, figures/"])


def _as_json(result: AblationResult, reports: list[TargetReport]) -> str:
    from interp.runs.hashes import json_text

    def rows(table: Any) -> Any:
        return json.loads(table.to_json(orient="records"))

    found = {
        "facts": result.facts,
        "table": rows(result.table),
        "exact_vs_gradient": rows(result.exact_vs_gradient),
        "used": {report.target: report.used.report() for report in reports if report.used is not None},
        "pairs": {r.target: rows(r.redundancy.pairs) for r in reports if r.redundancy is not None},
        "left_out": rows(result.left_out),
    }
    return json_text(found, indent=1)
