"""The negative control: cells outside the process, given stages at random; how often the gates pass them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interp.errors import InputError
from interp.evidence.gates import gate_values
from interp.evidence.panel import COLUMNS, Labels, Panel
from interp.runs.seeds import stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interp.biology import Ruler, StageGraph
    from interp.cells.anchors import Anchors
    from interp.evidence.arms import Arm
    from interp.evidence.fits import Solver
    from interp.stats import Split

# Random assignments of stages to cell types; a pass rate is then known to some 7 percentage points.
N_DRAWS = 50
NAME = "negative"


def negative_panel(anchors: Anchors, graph: StageGraph, splits: Sequence[Split], ruler: Ruler | None = None) -> Panel:
    """Make a panel whose classes are cell types without a stage.

    Parameters
    ----------
    anchors
        Anchors of non-hematopoietic cells; any stage they carry is ignored.
    graph
        Stage graph that stages are drawn from.
    splits
        Donor splits of these cells; may be empty.
    ruler
        Distances between stages; hops of the graph by default. Only its stages are drawn.

    Returns
    -------
    Panel
        Labelled with the first stages, to be replaced by `negative_control`.

    Raises
    ------
    InputError
        There are no anchors, or more cell types than stages.
    """
    types = sorted(set(anchors.obs["cell_type"].astype(str)))
    stages = _stages(graph, ruler)
    check_types(len(types), len(stages))
    classes = np.array([types.index(name) for name in anchors.obs["cell_type"].astype(str)], dtype=np.int64)
    obs = anchors.obs[list(COLUMNS)].copy()
    return Panel(obs, classes, Labels.of(graph, stages[: len(types)], ruler), tuple(splits), NAME)


def negative_control(
    panel: Panel,
    arm: Arm,
    graph: StageGraph,
    solver: Solver,
    *,
    seed: int,
    n_draws: int = N_DRAWS,
    ruler: Ruler | None = None,
) -> pd.DataFrame:
    """Give every cell type one random stage, refit, take the gates, and count how often they pass.

    Parameters
    ----------
    panel
        From `negative_panel`.
    arm
        Features of its anchors, for its splits and ``panel.whole``; settings as in the chosen arm.
    graph
        Stage graph that stages are drawn from.
    solver
        How adaptors are fitted.
    seed
        Seed of the draws.
    n_draws
        Number of assignments.
    ruler
        Distances between stages; hops of the graph by default. Only its stages are drawn.

    Returns
    -------
    pandas.DataFrame
        One row per gate and pairs: gate, pairs, draws, passed, failed, not_computable, at_floor, pass_rate (passed of
        those computable; NaN when none is), mean value, reason (the commonest one for not being computable).
    """
    n_types, stages = len(panel.labels), _stages(graph, ruler)
    rng = stream(seed, "evidence negative control")
    drawn = [
        Labels.of(graph, [stages[s] for s in rng.permutation(len(stages))[:n_types]], ruler) for _ in range(n_draws)
    ]
    found = gate_values(replace(panel, labels=drawn[0]), arm, drawn, solver, seed=seed)
    rows = []
    for gate, pairs in found[0]:
        outcomes = [draw[gate, pairs] for draw in found]
        states = [outcome.status(gate) for outcome in outcomes]
        known = [outcome.value for outcome in outcomes if outcome.status(gate) != "not computable"]
        reasons = pd.Series([o.reason for o in outcomes if o.status(gate) == "not computable"], dtype=object)
        rows.append(
            {
                "gate": gate,
                "pairs": pairs,
                "draws": n_draws,
                "passed": states.count("pass"),
                "failed": states.count("fail"),
                "not_computable": states.count("not computable"),
                "at_floor": sum(outcome.at_floor for outcome in outcomes),
                "pass_rate": states.count("pass") / len(known) if known else float("nan"),
                "value": float(np.mean(known)) if known else float("nan"),
                "reason": reasons.mode().iat[0] if len(reasons) else "",
            }
        )
    return pd.DataFrame(rows)


def check_types(n_types: int, n_stages: int) -> None:
    """Refuse a negative panel without cell types, or with more than there are stages to draw for them.

    Raises
    ------
    InputError
        It is such a one.
    """
    if not 1 <= n_types <= n_stages:
        msg = (
            f"The negative control has {n_types} cell types, but the ruler has {n_stages} stages to draw for them; "
            "pool cell types, give a ruler of more stages, or leave the negative panel out."
        )
        raise InputError(msg)


def _stages(graph: StageGraph, ruler: Ruler | None) -> list[str]:
    return [stage for stage in graph.stages if ruler is None or stage in ruler]
