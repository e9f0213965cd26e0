"""`summary.md`, its tables and figures: what the model misses without each head, and whether named heads are used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interp.report.tables import markdown, shown
from interp.runs.files import new_folder, write_csv, write_json, write_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from interp.ablation import AblationResult, HeadSetNull, Redundancy, Used

ALPHA = 0.05
# Rows of the tables of heads that are printed; all stand in ablation.csv.
SHOWN = 10
LABELS = {
    "balanced_accuracy": "balanced accuracy",
    "auroc": "AUROC",
    "spearman": "Spearman correlation",
    "neg_log_loss": "log-probability of the true class (nats)",
    "r2": "R2",
    "log_odds": "log-odds of the true class",
    "slope": "slope of what is read on the truth",
    "neg_masked_loss": "masked-value loss",
    "order": "order of stages (Spearman)",
    "trustworthiness": "trustworthiness",
}
NEEDS = {
    "order": "no donor has four stages among the cells that were run",
    "trustworthiness": "no donor has more than 30 cells among those that were run",
}
METHOD = (
    "Readouts of the `<cls>` row were fitted on the intact model and training donors, frozen, and scored on donors "
    "that they never saw; every value is a mean over donors. A drop is what the score loses without a head, so a loss "
    "stands with a minus and its drop is its rise. p is the exact one-sided sign-flip test over donors, and no less "
    "than that of the intact readout being above chance; q is Benjamini-Hochberg over all heads. That a head is missed "
    "does not make it special: any disturbance hurts a frozen readout. So *used* asks whether named heads are missed "
    "more than random heads of the same layers, beyond what they do to the masked-value loss, under mean and under "
    "resample ablation."
)


@dataclass(frozen=True)
class TargetReport:
    """What was found of one target beside the screen.

    Attributes
    ----------
    target, metric
        What was read, and the metric that decides.
    nulls
        One for each way of ablation; empty where not asked for.
    used
        The answer; None without nulls.
    redundancy
        None where not asked for.
    """

    target: str
    metric: str
    nulls: tuple[HeadSetNull, ...] = ()
    used: Used | None = None
    redundancy: Redundancy | None = None


def head_summary(result: AblationResult, metric: str, target: str, *, most: int = SHOWN) -> pd.DataFrame:
    """Return the heads that are missed most under one metric, as they are printed."""
    rows = _rows(result, metric, target).head(most)
    return pd.DataFrame(
        {
            "head": rows["name"],
            _change(metric).split(" ", 1)[0]: rows["value"],
            "95 % interval": _intervals(rows),
            "other heads of its layer": rows["null_mean"],
            "p": rows["p"],
            "q": rows["q"],
            "tied": rows["tied"],
            "donors": rows["n_donors"],
        }
    )


def headline(result: AblationResult, report: TargetReport) -> str:
    """Say in a few sentences which head is missed most, how sure that is, and whether the named ones are used."""
    rows = _rows(result, report.metric, report.target)
    exact = rows[rows["value"].notna()]
    if exact.empty:
        return f"{report.target} cannot be judged: {rows['reason'].iloc[0] if len(rows) else 'it was not measured'}."
    top, name = exact.iloc[0], LABELS.get(report.metric, report.metric)
    text = f"{report.target}, {name} {shown(top['base'])} on {shown(int(top['n_donors']))} donors never seen: "
    text += f"without {top['name']} it drops by {shown(top['value'])} [{shown(top['lo'])}, {shown(top['hi'])}], "
    text += f"the most of {len(exact)} heads; {int((exact['q'] < ALPHA).sum())} have q < {ALPHA:g}"
    text += f", {int(exact['tied'].sum())} are tied with the best." if exact["tied"].any() else "."
    if 2.0 ** -int(top["n_donors"]) >= ALPHA:
        text += f" {int(top['n_donors'])} donors cannot give p < {ALPHA:g}."
    if report.used is not None:
        text += f" {_named(report.used)}: {report.used.status} ({report.used.reason})."
    return text


def _named(used: Used) -> str:
    """The named heads; where they were chosen differently by fold, only that."""
    return "Heads chosen on other donors" if ";" in used.heads else used.heads


def gradient_words(result: AblationResult) -> list[str]:
    """Say how far gradients rank the heads as exact ablation does, a sentence for each objective."""
    return [
        f"{LABELS.get(row['metric'], row['metric'])}{' of ' + row['target'] if row['target'] else ''}: "
        f"Spearman {shown(row['value'])} over {row['n_heads']} heads"
        for row in result.facts["spearman"]
    ]


def write_ablation(folder: Path, result: AblationResult, reports: Sequence[TargetReport], *, title: str) -> None:
    """Write the tables, `used.json` and `summary.md`.

    Parameters
    ----------
    folder
        Where to write: ablation.csv, donors.csv, exact_vs_gradient.csv, left_out.csv, nulls.csv, pairs.csv, greedy.csv
        as far as there is something in them.
    result
        The screen.
    reports
        One for each target.
    title
        What was ablated.
    """
    write_csv(folder / "ablation.csv", result.table)
    write_csv(folder / "donors.csv", result.donors)
    write_csv(folder / "left_out.csv", result.left_out)
    joint = [report.redundancy for report in reports if report.redundancy is not None]
    tables = {
        "exact_vs_gradient": [result.exact_vs_gradient],
        "nulls": [null.table().assign(target=null.target, metric=null.metric) for r in reports for null in r.nulls],
        "pairs": [one.pairs.assign(target=one.target, metric=one.metric) for one in joint],
        "greedy": [one.greedy.assign(target=one.target, metric=one.metric) for one in joint],
    }
    for name, parts in tables.items():
        path = folder / f"{name}.csv"
        if any(len(part) for part in parts):
            write_csv(path, pd.concat(parts, ignore_index=True))
        else:
            path.unlink(missing_ok=True)  # of an earlier run into the same folder
    write_json(folder / "used.json", {r.target: r.used.report() for r in reports if r.used is not None})
    write_text(folder / "summary.md", _summary(result, reports, title))


def draw_ablation(folder: Path, result: AblationResult, reports: Sequence[TargetReport]) -> None:
    """Draw bars, head heat maps, gradients against exact values and redundancy into `figures/`."""
    from interp import figures

    prefix = f"ablation.{result.facts['replacement']}"
    with new_folder(folder / "figures") as aside, figures.style():
        for report in reports:
            rows = _rows(result, report.metric, report.target)
            if not rows["value"].notna().any():
                continue
            stem, label = _stem(report.target), _change(report.metric)
            metric = f"{prefix}.{report.metric}"
            nulls = pd.concat([null.table() for null in report.nulls]) if report.nulls else None
            bars = figures.ablation_bars(
                result.table, nulls, metric=metric, target=report.target, alpha=ALPHA, label=label
            )
            figures.save(bars.figure, aside / f"bars_{stem}")
            _heat(result, report.metric, report.target, aside / f"heads_{stem}")
            if report.redundancy is not None:
                words = f"{label}, joint minus sum"
                figures.save(
                    figures.redundancy_matrix(report.redundancy.pairs, label=words).figure, aside / f"redundancy_{stem}"
                )
        if len(_rows(result, "neg_masked_loss", "")):
            _heat(result, "neg_masked_loss", "", aside / "heads_masked_loss")
        for row in result.facts["spearman"]:
            picture = figures.gradient_scatter(
                result.exact_vs_gradient, metric=row["metric"], target=row["target"], label=_change(row["metric"])
            )
            figures.save(picture.figure, aside / f"gradient_{_stem(row['target'] or 'masked_loss')}")


def _heat(result: AblationResult, metric: str, target: str, path: Path) -> None:
    from interp import figures

    name = f"ablation.{result.facts['replacement']}.{metric}"
    # small effects need a digit more than large ones
    digits = 3 if _rows(result, metric, target)["value"].abs().max() > 0.01 else 4
    about = {"metric": name, "target": target, "label": _change(metric)}
    figures.save(figures.head_heatmap(result.table, **about, alpha=ALPHA, digits=digits).figure, path)


def _change(metric: str) -> str:
    """What a drop of a metric is called: that of a loss with a minus is its rise."""
    short = LABELS.get(metric, metric).split(" (")[0]
    short = short.replace(" of the true class", "").replace(" of what is read on the truth", "")
    return f"rise of {short}" if metric == "neg_masked_loss" else f"drop of {short}"


def _summary(result: AblationResult, reports: Sequence[TargetReport], title: str) -> str:
    facts = result.facts
    parts = [f"# Ablation of every head of {title}"]
    parts += [f"**{headline(result, report)}**" for report in reports]
    if facts["spearman"]:
        parts.append("**Gradients against exact ablation.** " + "; ".join(gradient_words(result)) + ".")
    parts.append(METHOD)
    parts.append(
        f"{facts['n_heads']} heads, {facts['replacement']} ablation; {facts['n_cells']:,} cells of "
        f"{len(facts['donors'])} donors were run, the smallest p of so many is {shown(facts['smallest_p'])}."
    )
    for report in reports:
        parts += _section(result, report)
    if len(_rows(result, "neg_masked_loss", "")):
        parts.append("## Masked-value loss")
        parts.append("The heads whose absence raises it most, in units of the variance of a uniform bin.")
        parts.append(markdown(head_summary(result, "neg_masked_loss", "")))
    for metric in ("order", "trustworthiness"):
        rows = _rows(result, metric, "")
        if len(rows):
            known = rows["value"].notna().any()
            table = (
                markdown(head_summary(result, metric, "")) if known else f"Not computable: {rows['reason'].iloc[0]}."
            )
            parts += [f"## {LABELS[metric].capitalize()} of the embedding", table]
    if len(result.left_out):
        parts += ["## Left out", markdown(result.left_out)]
    return "\n\n".join(parts) + "\n"


def _section(result: AblationResult, report: TargetReport) -> list[str]:
    rows = _rows(result, report.metric, report.target)
    if not rows["value"].notna().any():
        return []
    name = LABELS.get(report.metric, report.metric)
    parts = [f"## {report.target}", f"Drop of {name}, one head at a time; all stand in `ablation.csv`."]
    parts.append(markdown(head_summary(result, report.metric, report.target)))
    if report.used is not None:
        parts += [
            f"### Used? {report.used.heads}",
            f"{report.used.status}: {report.used.reason}.",
            _against(report.used),
        ]
    if report.redundancy is not None:
        parts += ["### Together", _TOGETHER, markdown(_pairs(report.redundancy)), markdown(_greedy(report.redundancy))]
    return parts


_TOGETHER = (
    "Redundancy is the joint drop minus the sum of the single drops: above zero heads stand in for each other, below "
    "zero what one does passes through the other. The growing set is chosen on other donors than it is scored on."
)


def _against(used: Used) -> str:
    rows = [
        {
            "ablation": name,
            "drop": one.drop,
            "beyond random heads": one.excess,
            "95 % interval": _interval(one.lo, one.hi),
            "p over donors": one.p_donors,
            "statistic": one.statistic,
            "p over sets": one.p,
            "random sets": f"{one.n_sets} ({'all there are' if one.whole else 'drawn'})",
        }
        for name, one in used.against.items()
    ]
    return markdown(pd.DataFrame(rows))


def _pairs(found: Redundancy) -> pd.DataFrame:
    rows = found.pairs.sort_values("redundancy", ascending=False, kind="stable")
    return pd.DataFrame(
        {
            "pair": rows["first"] + " + " + rows["second"],
            "joint drop": rows["joint"],
            "sum of single drops": rows["drop_first"] + rows["drop_second"],
            "redundancy": rows["redundancy"],
            "95 % interval": _intervals(rows),
            "p": rows["p"],
            "q": rows["q"],
        }
    )


def _greedy(found: Redundancy) -> pd.DataFrame:
    rows = found.greedy
    return pd.DataFrame(
        {
            "heads": rows["step"],
            "joint drop": rows["value"],
            "95 % interval": _intervals(rows),
            "sum of single drops": rows["singles"],
            "in most folds": rows["heads"],
        }
    )


def _rows(result: AblationResult, metric: str, target: str) -> pd.DataFrame:
    table = result.table
    wanted = f"ablation.{result.facts['replacement']}.{metric}"
    return table[(table["metric"] == wanted) & (table["target"] == target) & (table["role"] == "score")]


def _intervals(rows: pd.DataFrame) -> list[str]:
    bounds = zip(rows["lo"].astype(float), rows["hi"].astype(float), strict=True)
    return [_interval(lo, hi) for lo, hi in bounds]


def _interval(lo: float, hi: float) -> str:
    return f"{shown(lo)} to {shown(hi)}" if np.isfinite(lo) else "-"


def _stem(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)
