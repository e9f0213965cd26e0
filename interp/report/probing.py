"""`probe.md`, its tables and figures: what can be read from every layer and head, and what reads as much without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interp.heads import NOT_COMPUTABLE
from interp.report.tables import markdown, shown
from interp.runs.files import new_folder, write_csv, write_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from interp.probing import ProbeResult

ALPHA = 0.05
# Rows of the table of layers and heads that are printed; all stand in probes.csv.
SHOWN = 12
LABELS = {
    "balanced_accuracy": "balanced accuracy",
    "spearman": "Spearman correlation",
}
METHOD = (
    "Every value is a mean over donors that the probe never saw; the penalty was chosen by inner folds of the training "
    "donors. The control task deals labels anew within every donor, and q is Benjamini-Hochberg over all layers and "
    "heads. `best z` is chosen on training donors and scored on the others, so it alone is an honest figure for the "
    "best of many."
)


def primary(result: ProbeResult) -> str:
    """Name the metric that decides between heads."""
    return "spearman" if result.facts["kind"] == "number" else "balanced_accuracy"


def screen_table(result: ProbeResult, *, most: int | None = SHOWN) -> pd.DataFrame:
    """Return the best layers and heads under the metric that decides, with their controls, as they are printed."""
    rows = _scored(result)
    best, single = rows[rows["layer"].isna()], rows[rows["layer"].notna()]
    rows = pd.concat([best, single.head(most or len(single))])
    table = pd.DataFrame(
        {
            "name": rows["name"],
            primary(result): rows["value"],
            "95 % interval": _intervals(rows),
            "control task": rows["null_mean"],
            "selectivity": rows["selectivity"],
            "one map of types": rows["map_mean"],
            "p": rows["p"],
            "q": rows["q"],
            "donors": rows["n_donors"],
        }
    )
    return table.drop(columns=[] if rows["map_mean"].notna().any() else "one map of types")


def baseline_table(result: ProbeResult) -> pd.DataFrame:
    """Return what reads without the model or without its training, against the best of every site, as it is printed."""
    rows = result.baselines
    rows = rows[(rows["metric"] == primary(result)) & rows["layer"].isna()].sort_values(
        ["value", "name", "against"], ascending=[False, True, True]
    )
    differences = _intervals(rows[["difference_lo", "difference_hi"]].set_axis(["lo", "hi"], axis=1))
    return pd.DataFrame(
        {
            "representation": rows["name"],
            primary(result): rows["value"],
            "against": rows["against"],
            "model minus it": rows["difference"],
            "95 % interval": differences,
            "p": rows["p"],
            "q": rows["q"],
        }
    )


def headline(result: ProbeResult) -> str:
    """Say in one or two sentences what was found, and where something without the model reads as much."""
    facts, rows = result.facts, _scored(result)
    target, metric = facts["target"], LABELS[primary(result)]
    if facts.get("reason"):
        return f"{target} cannot be probed: {facts['reason']}."
    bests = rows[rows["layer"].isna()] if rows["layer"].isna().any() else rows.head(1)
    words = [
        f"{row['name']} {shown(row['value'])} [{shown(row['lo'])}, {shown(row['hi'])}]" for _, row in bests.iterrows()
    ]
    text = f"{target}, {metric} on {shown(len(facts['donors']))} donors never seen: {', '.join(words)}."
    single = rows[rows["layer"].notna()]
    n = int((single["q"] < ALPHA).sum())
    text += f" {n} of {len(single)} layers and heads have q < {ALPHA:g}."
    if facts.get("smallest_p", 0.0) >= ALPHA:
        text += (
            f" {len(facts['donors'])} donors cannot give p < {ALPHA:g} (the smallest is {shown(facts['smallest_p'])})."
        )
    return text + _against_baselines(result, float(bests["value"].max()))


def write_probes(folder: Path, results: Sequence[ProbeResult], *, title: str) -> None:
    """Write `probes.csv`, `baselines.csv`, `donors.csv`, `chosen.csv`, `left_out.csv` and `probe.md`.

    Parameters
    ----------
    folder
        Where to write.
    results
        One for each target.
    title
        What was probed.
    """
    write_csv(folder / "probes.csv", _stacked([result.table for result in results]))
    write_csv(folder / "baselines.csv", _stacked([result.baselines for result in results]))
    write_csv(folder / "donors.csv", _stacked([result.donors for result in results]))
    for name in ("chosen", "left_out"):
        tables = [getattr(result, name).assign(target=result.facts["target"]) for result in results]
        write_csv(folder / f"{name}.csv", _stacked(tables))
    parts = [f"# Probes of {title}", METHOD]
    for result in results:
        parts += _section(result)
    write_text(folder / "probe.md", "\n\n".join(parts) + "\n")


def draw_probes(folder: Path, results: Sequence[ProbeResult]) -> None:
    """Draw the layer curves and head heat maps of every target that could be probed into `figures/`."""
    from interp.figures import head_heatmap, layer_curve, save, style

    with new_folder(folder / "figures") as aside, style():
        for result in results:
            if result.facts.get("reason"):
                continue
            metric, stem = primary(result), "".join(c if c.isalnum() else "_" for c in result.facts["target"])
            names = _widest(result.baselines["name"])
            curve = layer_curve(result.table, result.baselines, metric=metric, names=names, label=LABELS[metric])
            save(curve.figure, aside / f"layers_{stem}")
            heads = result.table[result.table["head"].notna()]
            for site, own in heads.groupby("site"):
                picture = head_heatmap(own, metric=metric, alpha=ALPHA, label=LABELS[metric])
                save(picture.figure, aside / f"heads_{stem}_{site}")


def _widest(names: pd.Series) -> list[str]:
    """Leave out of several random projections, and of several principal components but ten, all except the widest."""
    found = names.drop_duplicates().tolist()
    wide: dict[str, int] = {}
    for name in found:
        stem, _, width = name.rpartition("-")
        if width.isdigit():
            wide[stem] = max(wide.get(stem, 0), int(width))
    fixed = [f"{stem}-{width}" for stem, width in wide.items()] + ["PCA-10"]
    return [name for name in found if name in fixed or not name.rpartition("-")[2].isdigit()]


def _section(result: ProbeResult) -> list[str]:
    facts = result.facts
    parts = [f"## {facts['target']}", f"**{headline(result)}**"]
    if not facts.get("reason"):
        kind = f"{len(facts['classes'])} classes ({', '.join(facts['classes'])})" if facts["classes"] else "a number"
        control = facts["map_reason"] or "labels dealt once among the cell types, alike in all donors"
        parts.append(
            f"{facts['n_cells']:,} cells, {len(facts['donors'])} donors in {facts['folds']} folds, {kind}. "
            f"Control task: {facts['draws']} draws, labels kept together by {facts['unit']}. "
            f"One map of types: {control}."
        )
        parts.append(
            f"The best {SHOWN} layers and heads; all stand in `probes.csv`.\n\n" + markdown(screen_table(result))
        )
        if len(result.baselines):
            parts.append("Without the model, or without its training:\n\n" + markdown(baseline_table(result)))
            missing = result.baselines[result.baselines["status"] == NOT_COMPUTABLE]
            parts += [f"Not computable: {row['name']} ({row['reason']})." for _, row in missing.iterrows()]
    if len(result.left_out):
        parts.append("Left out:\n\n" + markdown(result.left_out))
    return parts


def _against_baselines(result: ProbeResult, best: float) -> str:
    rows = result.baselines
    rows = rows[(rows["metric"] == primary(result)) & rows["layer"].isna() & rows["value"].notna()]
    rows = rows.drop_duplicates("name").sort_values("value", ascending=False)
    if rows.empty:
        return " No baseline stands beside it: give the cells."
    better = rows[rows["value"] >= best]
    if better.empty:
        top = rows.iloc[0]
        return f" Nothing without the model reads as much; the nearest is {top['name']} with {shown(top['value'])}."
    words = ", ".join(f"{row['name']} {shown(row['value'])}" for _, row in better.iterrows())
    return f" As much or more is read without the trained model: {words}."


def _scored(result: ProbeResult) -> pd.DataFrame:
    table = result.table
    return table[(table["metric"] == primary(result)) & (table["role"] == "score")]


def _intervals(rows: pd.DataFrame) -> list[str]:
    bounds = zip(rows["lo"].astype(float), rows["hi"].astype(float), strict=True)
    return [f"{shown(lo)} to {shown(hi)}" if np.isfinite(lo) else "-" for lo, hi in bounds]


def _stacked(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    kept = [table for table in tables if len(table)] or list(tables[:1])
    return pd.concat(kept, ignore_index=True)
