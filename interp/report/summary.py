"""`summary.md`: what a run found, with every gate, control and verdict as it came out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interp.evidence import CHOSEN, HEAD_NULL, N_DRAWS, ORDER, RANDOM_CONTROLS, controls_table
from interp.heads import tied_with_best
from interp.report.order import branches, headline, null_tables, rulers
from interp.report.screens import ablated_heads, probed_heads
from interp.report.tables import markdown, shown
from interp.runs.files import write_text
from interp.runs.seeds import stream
from interp.stats import bootstrap_interval

if TYPE_CHECKING:
    from pathlib import Path

TOP_HEADS = 8
MANY_PASS = 0.5


def write_summary(run: Path, title: str) -> None:
    """Write `summary.md` from the tables of a run.

    Parameters
    ----------
    run
        Run folder.
    title
        What was studied, for the heading.
    """
    judged = json.loads((run / "verdict.json").read_text())
    config = json.loads((run / "config.json").read_text())
    parts = [
        f"# {title}",
        headline(judged),
        "## Panel\n\n" + _panel(run),
        "## Does the model fit the cells?\n\n" + _model_check(run),
        "## Verdict per endpoint\n\n" + _verdicts(judged),
        "## Controls\n\n" + _controls(run, judged),
        "## Nulls\n\n" + null_tables(judged),
        "## Branches\n\n" + branches(run),
        "## Rulers\n\n" + rulers(run),
        "## Heads\n\n" + _heads(run),
        "## Heads by probes\n\n" + probed_heads(run),
        "## Heads by ablation\n\n" + ablated_heads(run),
        "## Gates\n\n" + _gates(run),
        "## Negative control\n\n" + _negative(run),
        "## Frozen algorithm on the external panel\n\n" + _external(run),
        "## Settings\n\n" + markdown(pd.DataFrame(config["settings"].items(), columns=["setting", "value"])),
    ]
    write_text(run / "summary.md", "\n\n".join(parts) + "\n")


def _panel(run: Path) -> str:
    latents = pd.read_csv(run / "latents.csv", index_col=0)
    splits = json.loads((run / "splits.json").read_text())
    ruler = json.loads((run / "config.json").read_text())["ruler"]
    studies = latents.groupby("study").agg(
        donors=("donor", "nunique"),
        anchors=("donor", "size"),
        exact=("stage", "count"),
        stages=("stage", "nunique"),
        cells=("n_cells", "sum"),
    )
    labels = pd.read_csv(run / "labels.csv")
    unmapped = labels[labels["status"] != "exact"][["panel", "label", "study", "n_cells", "status", "branch"]]
    disjoint = pd.read_csv(run / "disjoint.csv")
    text = [
        f"{len(latents)} anchors on {len(splits['genes']['all'])} genes, {len(splits['splits'])} donor splits. Ruler: "
        f"{ruler['name']} ({ruler['source']}).",
        markdown(studies.reset_index()),
        "Labels that stand for no single stage:\n\n" + (markdown(unmapped) if len(unmapped) else "none."),
    ]
    if len(disjoint):
        columns = {name: name for name in ("panel", "other", "check", "status", "n_shared", "examples")}
        text.append("Disjointness of the panels, two by two:\n\n" + markdown(disjoint, columns))
    return "\n\n".join(text)


def _model_check(run: Path) -> str:
    return (
        "Masked-value prediction on the panel's own cells; the means are learned on the very cells they predict.\n\n"
        + markdown(pd.read_csv(run / "model_check.csv"))
    )


def _verdicts(judged: dict[str, Any]) -> str:
    rows = [
        {
            "endpoint": name, "value": found["value"], "largest null mean": found["base"]["mean"],
            "above it by": found["base"]["above_by"], "95 % interval": f"{shown(found['lo'])} to {shown(found['hi'])}",
            "donors": found["n_donors"], "headroom": found["headroom"], "readable": found["readable"]["status"],
            "p (nulls)": found["readable"]["p"], "model-specific": found["model_specific"]["status"],
            "p (controls)": found["model_specific"]["p"], "q": found["model_specific"]["q"],
            "hardest control": found["model_specific"].get("hardest"), "effect": found["model_specific"].get("effect"),
            "floor": found["model_specific"]["floor"], "donors needed": found["model_specific"].get("donors_needed"),
        }
        for name, found in judged["endpoints"].items()
    ]  # fmt: skip
    return markdown(pd.DataFrame(rows)) if rows else "Nothing could be judged: the panel cannot be split by donor."


def _controls(run: Path, judged: dict[str, Any]) -> str:
    table = pd.read_csv(run / "controls.csv")
    if table.empty:
        return "None: the panel cannot be split by donor."
    means = (
        table.groupby(["control", "draw", "endpoint"])["value"].mean().groupby(["control", "endpoint"]).mean().unstack()
    )
    means.insert(0, "draws", table.groupby("control")["draw"].nunique())
    first = [CHOSEN, *sorted(set(means.index) - {CHOSEN}, key=lambda name: -means.loc[name].get(ORDER, np.nan))]
    return (
        "Means over donors, then draws. Every control went through the same choice among as many candidates, tuning, "
        f"fit and splits. {_draws(table)}\n\n{markdown(means.loc[first].reset_index())}\n\nThe chosen operator less "
        "each control, per donor; the claim is made of the endpoint as a whole, against all of them:\n\n"
        + markdown(_compared(judged))
    )


def _draws(table: pd.DataFrame) -> str:
    """Say how many draws the random controls had, and what that allows."""
    random = table[table["control"].isin(RANDOM_CONTROLS)]
    n = int(random.groupby("control")["draw"].nunique().min()) if len(random) else 0
    if n >= N_DRAWS:
        return f"{n} draws of each random control, as for a publication."
    smallest = shown(1 / (1 + n))
    return f"{n} draws of each random control reach no p under {smallest}: a quick run; a publication takes {N_DRAWS}."


def _compared(judged: dict[str, Any]) -> pd.DataFrame:
    table = controls_table(judged)
    table.insert(
        5, "95 % interval", [f"{shown(lo)} to {shown(hi)}" for lo, hi in zip(table["lo"], table["hi"], strict=True)]
    )
    columns = ["endpoint", "control", "draws", "mean", "effect", "95 % interval", "p", "q", "floor", "status"]
    return table[[*columns, "donors_needed"]].rename(columns={"donors_needed": "donors needed"})


def _heads(run: Path) -> str:
    scores = pd.read_csv(run / "scores.csv")
    scores = scores[scores["metric"] == ORDER]
    choices = json.loads((run / "choices.json").read_text())
    chosen = "; ".join(f"{split}: {choice['name']}" for split, choice in choices.items())
    select, score = (scores[scores["role"] == role].set_index("name") for role in ("select", "score"))
    top = select.sort_values("value", ascending=False, kind="stable").head(TOP_HEADS)
    agreement = select["value"].corr(score["value"].reindex(select.index), method="spearman")
    shown_columns = {"value": "select", "null_mean": "null mean", "floor": "floor", "p": "p", "q": "q", "tied": "tied"}
    table = top[list(shown_columns)].rename(columns=shown_columns)
    table["score"], table["p (score)"] = score["value"].reindex(top.index), score["p"].reindex(top.index)
    return (
        f"Chosen on training donors: {chosen}.\n\nOver {len(select)} candidates the selection score and the held-out "
        f"score (a third of the stages left out at a time) correlate {shown(float(agreement))} (Spearman). "
        f"{_ties(select)} Each is held against its own draws of {HEAD_NULL!r}. The best {len(top)} by selection score:"
        "\n\n" + markdown(table.reset_index())
    )


def _ties(select: pd.DataFrame) -> str:
    """Say which heads cannot be told from the best one, each by the best of its operators."""
    best = select.assign(owner=[name.split(".")[0] for name in select.index])
    best = best.sort_values("value", ascending=False, kind="stable").drop_duplicates("owner")
    tied = best[tied_with_best(best["value"], best["floor"])]
    if best["floor"].isna().all():
        return "No null was drawn, so ties are not known."
    equal = best[best["value"] == best["value"].max()]
    if tied.empty:
        return f"No other head is within the floor of {best['owner'].iloc[0]}."
    return (
        f"**{len(tied)} of {len(best)} heads are tied within the floor of {shown(float(equal['floor'].max()))}** "
        f"({', '.join(tied['owner'])}; a drift counts as one): their ranks say nothing."
    )


def _gates(run: Path) -> str:
    gates = pd.DataFrame(json.loads((run / "gates.json").read_text()))
    if gates.empty:
        return "None could be taken."
    gates["null pass rate"] = [
        f"{shown(rate)} (uninformative)" if rate is not None and rate > MANY_PASS else shown(rate)
        for rate in gates["null_pass_rate"]
    ]
    columns = (
        "panel",
        "gate",
        "pairs",
        "value",
        "threshold",
        "status",
        "null pass rate",
        "n",
        "p",
        "at_floor",
        "reason",
    )
    table = markdown(gates, {name: name for name in columns if name in gates})
    if not (gates["panel"] == "external").any():
        return table
    return (
        "On the external panel nothing is refitted: its group gates are within group under a frozen head, and hold "
        "nothing out.\n\n" + table
    )


def _negative(run: Path) -> str:
    try:
        table = pd.read_csv(run / "negative.csv")
    except pd.errors.EmptyDataError:
        return "No negative panel was given."
    if table.empty:
        return "No negative panel was given."
    return (
        f"Non-hematopoietic cell types, one random stage each, refitted, {table['draws'].max()} draws. The figure is "
        "the pass rate, of the draws that are computable: a gate that random stages pass says nothing of the stages."
        "\n\n" + markdown(table)
    )


def _external(run: Path) -> str:
    table = pd.read_csv(run / "external.csv")
    if table.empty:
        return "No external panel was given."
    rows = []
    for metric, found in table.groupby("metric", sort=False):
        values = found["value"].dropna().to_numpy()
        lo, hi = bootstrap_interval(values, rng=stream(0, f"summary {metric}")) if len(values) else (np.nan, np.nan)
        rows.append(
            {
                "metric": metric,
                "mean over donors": values.mean() if len(values) else np.nan,
                "lo": lo,
                "hi": hi,
                "donors": len(values),
            }
        )
    text = f"Single cells under the frozen algorithm; nothing is refitted and so nothing held out. {_zero_shot(run)}"
    return f"{text}\n\n{markdown(pd.DataFrame(rows))}"


def _zero_shot(run: Path) -> str:
    """Say which external donors stand in no other panel; only those are zero-shot."""
    donors = pd.read_csv(run / "external.csv")["donor"].nunique()
    checks = pd.read_csv(run / "disjoint.csv")
    pairs = checks[(checks["panel"] == "external") | (checks["other"] == "external")]
    shared = int(pairs[pairs["check"] == "donors"]["n_shared"].sum())
    if shared:
        return f"{shared} of {donors} donors stand in another panel, so this is not zero-shot."
    return (
        f"Zero-shot: its {donors} donors stand in no other panel. Whether the model saw them when it was trained is "
        "not known here."
    )
