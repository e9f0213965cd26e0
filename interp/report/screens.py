"""What a run found of its heads by probes and by ablation, beside what needs no model and beside other heads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interp.report.tables import markdown, shown

if TYPE_CHECKING:
    from pathlib import Path

TOP_HEADS = 8
ALPHA = 0.05
PROBED = "balanced_accuracy"
# What decides of ablation, and what stands beside it.
ABLATED = ("ablation.mean.balanced_accuracy", "ablation.mean.neg_masked_loss")


def probed_heads(run: Path) -> str:
    """Say what a linear probe of the stage reads in heads and layers, and what reads as much without the model."""
    table, beside = (pd.read_csv(run / name) for name in ("probes.csv", "probe_baselines.csv"))
    rows = table[(table["metric"] == PROBED) & (table["role"] == "score")]
    if not rows["value"].notna().any():
        return f"The stage cannot be probed: {_reason(table)}."
    best, single = rows[rows["layer"].isna()], rows[rows["layer"].notna()]
    others = beside[(beside["metric"] == PROBED) & beside["layer"].isna() & beside["value"].notna()]
    others = others.sort_values(["value", "difference"], ascending=False).drop_duplicates("name")
    top = float(best["value"].max()) if len(best) else float(single["value"].max())
    more = others[others["value"] >= top]
    words = ", ".join(f"{name} {shown(value)}" for name, value in zip(more["name"], more["value"], strict=True))
    if len(more):
        said = f"**As much or more is read without the trained model: {words}.**"
    else:
        said = f"**{_nearest(others)}**" if len(others) else "Nothing without the model stands beside it."
    n = int((single["q"] < ALPHA).sum())
    table = pd.concat([best, single.sort_values("value", ascending=False, kind="stable").head(TOP_HEADS)])
    return (
        "Balanced accuracy of the stage from the `<cls>` row, on donors that the probe never saw; `best z` is the head "
        f"that each fold chose on its training donors. {n} of {len(single)} layers and heads have q < {ALPHA:g} "
        f"against labels dealt anew within donors. {said}\n\n{markdown(_printed(table, 'control task'))}"
    )


def ablated_heads(run: Path) -> str:
    """Say what is missed without each head, and whether the chosen heads are used."""
    table = pd.read_csv(run / "ablation.csv")
    used = json.loads((run / "used.json").read_text())
    parts = [f"**The heads of the chosen operator are {_judged(used)}.**"]
    if used.get("against"):
        parts.append(f"Ablated: {used['heads']}.\n\n" + markdown(_ways(used)))
    for metric in ABLATED:
        rows = table[(table["metric"] == metric) & (table["role"] == "score")]
        if not rows["value"].notna().any():
            parts.append(f"{metric}: not computable ({_reason(rows)}).")
            continue
        n = int((rows["q"] < ALPHA).sum())
        best = rows.sort_values("value", ascending=False, kind="stable").head(TOP_HEADS)
        parts.append(
            f"`{metric}`: by how much it drops when z of one head becomes its mean over cells; {n} of {len(rows)} "
            f"heads have q < {ALPHA:g}.\n\n{markdown(_printed(best, 'mean of its layer'))}"
        )
    return "\n\n".join(parts)


def _nearest(others: pd.DataFrame) -> str:
    """Say what comes nearest without the trained model, and how sure the difference is."""
    row = others.iloc[0]
    return (
        f"Nothing without the trained model reads as much; the nearest is {row['name']} with {shown(row['value'])}, "
        f"{shown(row['difference'])} ({_interval(row['difference_lo'], row['difference_hi'])}) under {row['against']}, "
        f"q = {shown(row['q'])}."
    )


def _judged(used: dict[str, Any]) -> str:
    return f"{used['status']}: {used['reason']}"


def _ways(used: dict[str, Any]) -> pd.DataFrame:
    rows = [
        {
            "ablation": way, "drop of the readout": one["drop"], "beyond random heads": one["excess"],
            "95 % interval": _interval(one["lo"], one["hi"]), "statistic": one["statistic"], "p": one["p"],
            "random sets": one["n_sets"], "donors": one["n_donors"],
        }
        for way, one in used["against"].items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _printed(rows: pd.DataFrame, null: str) -> pd.DataFrame:
    bounds = zip(rows["lo"], rows["hi"], strict=True)
    return pd.DataFrame(
        {
            "name": rows["name"], "value": rows["value"], "95 % interval": [_interval(lo, hi) for lo, hi in bounds],
            null: rows["null_mean"], "floor": rows["floor"], "tied": rows["tied"], "p": rows["p"], "q": rows["q"],
            "donors": rows["n_donors"],
        }
    )  # fmt: skip


def _interval(lo: Any, hi: Any) -> str:
    return "-" if lo is None or hi is None or not np.isfinite(lo) else f"{shown(float(lo))} to {shown(float(hi))}"


def _reason(rows: pd.DataFrame) -> str:
    reasons = rows["reason"].dropna()
    return str(reasons.iloc[0]) if len(reasons) else "no donor could be scored"
