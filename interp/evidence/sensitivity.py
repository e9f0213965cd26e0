"""Ruler sensitivity: the chosen arm refitted under other rulers, and how much of the main ruler each of them holds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interp.evidence.holdouts import MIN_STAGES, PAIRS, row_spearman
from interp.evidence.order import order_endpoint
from interp.runs.seeds import stream
from interp.stats import bootstrap_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interp.biology import Ruler, StageGraph
    from interp.evidence.arms import Arm
    from interp.evidence.fits import Solver
    from interp.evidence.panel import FloatArray, Labels, Panel

MAIN, REFITTED, SAME, MISSING = "main", "refitted", "same here", "not computable"
COLUMNS = ("ruler", "source", "status", "with_main", "order", "lo", "hi", "donors", "stages", "reason")
# Distances that differ by less are equal; they come from another sum of the same hops.
SAME_WITHIN = 1e-9


@dataclass(frozen=True, eq=False)
class _Entry:
    ruler: Ruler
    labels: Labels
    status: str
    with_main: float
    reason: str = ""


def ruler_sensitivity(
    panel: Panel, arm: Arm, main: Ruler, others: Sequence[Ruler], graph: StageGraph, solver: Solver, *, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Refit one arm under every ruler, with the operator and the settings that were chosen under the main one.

    Parameters
    ----------
    panel
        The anchors; their labels carry the main ruler.
    arm
        The chosen arm.
    main
        The main ruler.
    others
        Rulers to compare with it, from `sensitivity_rulers`; the main one among them is passed over.
    graph
        Stage graph; gives the unit.
    solver
        How adaptors are fitted.
    seed
        Seed of the bootstrap.

    Returns
    -------
    table, order
        One row per ruler, the main one first: ruler, source, status (``main``, ``refitted``, ``same here`` for one
        that equals the main ruler on this panel's stages, or ``not computable``), with_main (Spearman with the main
        ruler over pairs of stages), order (each ruler's own, mean over donors), lo, hi (bootstrap over donors, 95 %),
        donors, stages (left out with an answer), reason. And the order endpoint in full, arms named by ruler.

    Raises
    ------
    InputError
        A ruler lacks a stage of the panel.
    """
    entries = _entries(panel, main, others, graph)
    arms = [
        replace(arm, name=entry.ruler.name, draw=number, labels=entry.labels)
        for number, entry in enumerate(entries)
        if entry.status in (MAIN, REFITTED)
    ]
    order = order_endpoint(panel, arms, solver)
    rows = []
    for number, entry in enumerate(entries):
        answered = order[order["draw"] == (0 if entry.status == SAME else number)]
        rows.append(_row(entry, answered, seed))
    return pd.DataFrame(rows, columns=list(COLUMNS)), order


def _entries(panel: Panel, main: Ruler, others: Sequence[Ruler], graph: StageGraph) -> list[_Entry]:
    labels = panel.labels
    found = [_Entry(main, labels, MAIN, 1.0)]
    for ruler in others:
        if ruler.identity == main.identity:
            continue
        distances = ruler.in_hops(graph, labels.stages)
        relation = _relation(labels.ruler, distances)
        if np.allclose(distances, labels.ruler, rtol=0.0, atol=SAME_WITHIN):
            found.append(_Entry(ruler, labels, SAME, relation))
        elif not distances.any():
            found.append(_Entry(ruler, labels, MISSING, relation, "zero between all stages of this panel"))
        else:
            found.append(_Entry(ruler, labels.with_ruler(distances), REFITTED, relation))
    return found


def _relation(main: FloatArray, other: FloatArray) -> float:
    """Spearman over pairs of different stages; NaN where either ruler is constant."""
    upper = np.triu_indices(len(main), 1)
    return float(row_spearman(main[upper][None], other[upper][None])[0]) if len(upper[0]) else float("nan")


def _row(entry: _Entry, order: pd.DataFrame, seed: int) -> dict:
    answered = order[(order["pairs"] == PAIRS[0]) & order["value"].notna()]
    by_split = answered.groupby(["donor", "split"])["value"].mean()
    donors = by_split.groupby(level="donor").mean().to_numpy()
    status, reason = entry.status, entry.reason
    if not len(donors):
        status = MISSING if status == REFITTED else status
        reason = reason or f"no unseen donor has a left-out stage with {MIN_STAGES} others at distances that differ"
    lo, hi = (
        bootstrap_interval(donors, rng=stream(seed, "evidence rulers")) if len(donors) else (float("nan"), float("nan"))
    )
    return {
        "ruler": entry.ruler.name,
        "source": entry.ruler.source,
        "status": status,
        "with_main": entry.with_main,
        "order": float(donors.mean()) if len(donors) else float("nan"),
        "lo": lo,
        "hi": hi,
        "donors": len(donors),
        "stages": answered["stage"].nunique(),
        "reason": reason,
    }
