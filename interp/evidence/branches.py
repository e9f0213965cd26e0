"""Branch by branch: what each one holds, and the order of its left-out stages beside its nulls; no new fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from interp.evidence.arms import CHOSEN
from interp.evidence.comparison import by_arm, compare
from interp.evidence.holdouts import MIN_STAGES, PAIRS
from interp.evidence.order import donor_values
from interp.runs.seeds import stream
from interp.stats import bootstrap_interval

if TYPE_CHECKING:
    from interp.biology import StageGraph
    from interp.evidence.panel import Panel

COLUMNS = (
    "branch", "anchors", "stages", "donors", "pairs", "order", "lo", "hi", "donors_measured", "stages_measured",
    "null_mean", "null_95", "hardest_null", "above_all_nulls", "status", "reason",
)  # fmt: skip
COMPUTED, MISSING = "computed", "not computable"
NO_NULLS = "no null draw left its stages out"


def branch_table(
    panel: Panel, graph: StageGraph, order: pd.DataFrame, nulls: pd.DataFrame, *, seed: int = 0
) -> pd.DataFrame:
    """Split the order endpoint by the branch of the stage that was left out.

    Parameters
    ----------
    panel
        The anchors.
    graph
        Stage graph; gives the branches and their stages.
    order
        From `order_endpoint`; of its arms only the chosen one counts.
    nulls
        The same for the null families.
    seed
        Seed of the bootstrap.

    Returns
    -------
    pandas.DataFrame
        One row per branch of the graph and way to count pairs (`PAIRS`; with one study all pairs only): branch;
        anchors (coarse labels included), stages and donors that the panel has of it; pairs; order (mean over stages,
        then donors), lo, hi (bootstrap over donors, 95 %), donors_measured, stages_measured; null_mean and null_95,
        the largest mean and 95th percentile among the null families, hardest_null, the family of the latter;
        above_all_nulls (None without nulls); status (``computed`` or ``not computable``) and reason.
    """
    kinds = PAIRS if len(set(panel.studies)) > 1 else PAIRS[:1]
    chosen = order[order["arm"] == CHOSEN] if len(order) else order
    rows = []
    for branch in graph.branches:
        held = _held(panel, graph, branch)
        stages = {stage for stage in graph.stages if graph.branch(stage) == branch}
        own, null = (table[table["stage"].isin(stages)] for table in (chosen, nulls))
        rows += [held | {"pairs": pairs} | _measured(panel, held, own, null, pairs, seed) for pairs in kinds]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _held(panel: Panel, graph: StageGraph, branch: str) -> dict[str, Any]:
    mine = panel.obs[(panel.obs["branch"] == branch).to_numpy()]
    known = mine["stage"].dropna()
    return {
        "branch": branch,
        "anchors": len(mine),
        "stages": known.nunique(),
        "donors": mine["donor"].nunique(),
    }


def _measured(
    panel: Panel, held: dict[str, Any], own: pd.DataFrame, null: pd.DataFrame, pairs: str, seed: int
) -> dict[str, Any]:
    known = own[(own["pairs"] == pairs) & own["value"].notna()]
    if known.empty:
        return {"donors_measured": 0, "stages_measured": 0, "status": MISSING, "reason": _why(panel, held, pairs)}
    donors = donor_values(known, pairs).set_index("donor")["value"]
    rng = stream(seed, f"evidence branch {held['branch']} {pairs}")
    lo, hi = bootstrap_interval(donors.to_numpy(), rng=rng)
    found = {
        "order": float(donors.mean()), "lo": lo, "hi": hi, "donors_measured": len(donors),
        "stages_measured": known["stage"].nunique(), "status": COMPUTED, "reason": "",
    }  # fmt: skip
    return found | _against(known, null[(null["pairs"] == pairs) & null["value"].notna()], pairs, seed)


def _against(known: pd.DataFrame, null: pd.DataFrame, pairs: str, seed: int) -> dict[str, Any]:
    """Largest mean and percentile of the null families, over the donors that every family was computed in."""
    if null.empty:
        return {"reason": NO_NULLS}
    donors, arms, lost = by_arm(donor_values(pd.concat([known, null]), pairs))
    if not donors:
        return {"reason": "no donor has its stages in every null family"}
    observed = arms[CHOSEN][0]
    compared = {name: compare(name, observed, draws, seed=seed) for name, draws in arms.items() if name != CHOSEN}
    hardest = max(compared.values(), key=lambda c: c.percentile)
    partly = f"not computable for {', '.join(lost)}" if lost else ""
    return {
        "null_mean": max(c.null_mean for c in compared.values()),
        "null_95": hardest.percentile,
        "hardest_null": hardest.name,
        "above_all_nulls": bool(observed.mean() > hardest.percentile) and not lost,
        "reason": partly,
    }


def _why(panel: Panel, held: dict[str, Any], pairs: str) -> str:
    if not held["anchors"]:
        return "no anchor in this panel"
    if not held["stages"]:
        return "coarse labels only: no anchor has an exact stage"
    if not panel.splits:
        return "one donor: nothing can be held out"
    others = "other stages" if pairs == PAIRS[0] else "other stages in the donor's own study"
    return f"no left-out stage has {MIN_STAGES} {others} at distances that differ"
