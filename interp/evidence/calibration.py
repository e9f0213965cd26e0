"""Planted worlds through the evidence: what is called readable where the truth is known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.biology import StageGraph
from interp.cells.anchors import anchors
from interp.cells.panel import operator_genes
from interp.cells.read import read_cells
from interp.evidence.arms import CHOSEN, Candidates
from interp.evidence.fits import Solver
from interp.evidence.gates import gates
from interp.evidence.inputs import no_operator
from interp.evidence.nulls import null_arms, null_families
from interp.evidence.order import ORDER, donor_values, order_endpoint
from interp.evidence.panel import WHOLE, Panel
from interp.evidence.selection import arm_of, choose
from interp.evidence.verdict import verdict
from interp.simulate import simulate
from interp.stats import donor_folds

if TYPE_CHECKING:
    from interp.evidence.arms import Arm
    from interp.evidence.panel import FloatArray
    from interp.stats import Split

# One world with the order that the endpoint asks for, and two without it.
PLANTED = {"ordered": True, "labels-only": False, "study-is-stage": False}


@dataclass(frozen=True)
class CalibrationSizes:
    """How large a calibration is.

    Attributes
    ----------
    n_donors, n_cells, n_genes, stages
        Of every simulated atlas; stages as in `simulate`.
    panel_genes
        Most genes of the features, chosen on the training donors of each split.
    n_splits
        Donor folds.
    n_coherent, n_other, gate_nulls
        Draws of the permuted stages, of each other null family, and behind the gates' pass rates.
    """

    n_donors: int = 15
    n_cells: int = 6000
    n_genes: int = 1000
    stages: tuple[str, ...] | None = None
    panel_genes: int = 400
    n_splits: int = 3
    n_coherent: int = 199
    n_other: int = 49
    gate_nulls: int = 20


@dataclass(frozen=True, eq=False)
class WorldResult:
    """What the evidence says of one world.

    Attributes
    ----------
    world
        Its name in `interp.simulate`.
    order
        The order endpoint's entry of the verdict; None where it is not computable in any donor.
    gates
        Rows as from `interp.evidence.gates`.
    n_anchors, n_stages
        Size of its panel.
    """

    world: str
    order: dict[str, Any] | None
    gates: list[dict]
    n_anchors: int
    n_stages: int


def calibrate(
    world: str,
    *,
    sizes: CalibrationSizes | None = None,
    strength: float = 1.0,
    seed: int = 0,
    solver: Solver | None = None,
) -> WorldResult:
    """Take one simulated world through anchors, tuning, order endpoint, null families and gates, without any model.

    Parameters
    ----------
    world
        Name of a world of `interp.simulate`.
    sizes
        How large.
    strength
        Factor on the effect of cell types on log expression.
    seed
        Seed of the atlas, the splits and all draws.
    solver
        How adaptors are fitted.

    Returns
    -------
    WorldResult

    Raises
    ------
    InputError
        There is no such world.
    """
    sizes, solver = sizes or CalibrationSizes(), solver or Solver(seed=seed)
    panel, candidates = world_panel(world, sizes, strength=strength, seed=seed)
    arm = tuned(candidates, panel, solver, seed=seed)
    draws = {"n_coherent": sizes.n_coherent, "n_other": sizes.n_other}
    order = order_endpoint(panel, [arm, *null_arms(arm, panel, seed=seed, **draws)], solver)
    judged = verdict(donor_values(order), nulls=null_families(panel), expected=(), seed=seed)["endpoints"].get(ORDER)
    rows = gates(panel, arm, solver, seed=seed, n_null=sizes.gate_nulls)
    return WorldResult(world, judged, rows, len(panel), len(panel.labels))


def world_panel(
    world: str, sizes: CalibrationSizes, *, strength: float = 1.0, seed: int = 0
) -> tuple[Panel, Candidates]:
    """Simulate a world and take its anchors; the one candidate gives the anchors' expression as it is.

    Parameters
    ----------
    world, sizes, strength, seed
        As in `calibrate`.

    Returns
    -------
    panel, candidates
        The anchors with their donor splits, and the identity on them.
    """
    size: dict[str, Any] = {"n_donors": sizes.n_donors, "n_cells": sizes.n_cells, "n_genes": sizes.n_genes}
    atlas = simulate(**size, world=world, seed=seed, strength=strength, stages=sizes.stages)
    cells = read_cells(atlas, donor="donor", tissue="tissue", cell_type="cell_type", study="study")
    donors, studies = (cells.obs[name].astype(str).to_numpy() for name in ("donor", "study"))
    splits = donor_folds(donors, sizes.n_splits, seed, strata=studies)
    training: dict[str, Any] = {split.id: split.train_donors for split in splits} | {WHOLE: None}
    options: dict[str, Any] = {"vocabulary": cells.var_names, "n_top": sizes.panel_genes}
    genes = {name: operator_genes(cells, training_donors=chosen, **options) for name, chosen in training.items()}
    union = sorted(set().union(*genes.values()))
    means = anchors(cells, union)
    columns = {name: np.searchsorted(union, chosen) for name, chosen in genes.items()}

    def expression(split: Split) -> FloatArray:
        return means.features[:, columns[split.id]]

    panel = Panel.from_anchors(means, StageGraph.hematopoiesis(), splits)
    return panel, no_operator(Candidates(CHOSEN, lambda split: (), expression))


def tuned(candidates: Candidates, panel: Panel, solver: Solver, *, seed: int) -> Arm:
    """Tune the only candidate in every split, as any arm is, and name it the arm under test."""
    splits = (*panel.splits, panel.whole)
    chosen = {split.id: choose(candidates, panel, split, solver, seed=seed) for split in splits}
    return replace(arm_of(candidates, chosen), name=CHOSEN, family="operator")
