"""Worlds whose truth is known, small: the same machinery as the recipe of the planted worlds."""

import numpy as np
import pytest

from interp.evidence import WHOLE
from interp.evidence.calibration import PLANTED, CalibrationSizes, calibrate, world_panel
from interp.evidence.gates import THRESHOLDS
from interp.evidence.nulls import FAMILIES, WITHIN_STUDIES
from interp.evidence.verdict import READABLE

STAGES = ("HSC", "CMP", "GMP", "neutrophil", "erythroblast", "CLP", "naive B", "NK")
SMALL = CalibrationSizes(
    n_donors=6, n_cells=1500, n_genes=800, stages=STAGES, panel_genes=150, n_splits=2, n_coherent=20, n_other=20,
    gate_nulls=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def worlds():
    return {world: calibrate(world, sizes=SMALL) for world in PLANTED}


def test_the_planted_order_alone_is_readable(worlds):
    said = {world: found.order["readable"]["status"] == READABLE for world, found in worlds.items()}
    assert said == PLANTED


def test_labels_without_order_are_told_from_order_by_their_base_level(worlds):
    above = {world: found.order["base"]["above_by"] for world, found in worlds.items()}
    assert above["ordered"] > 0.1 > above["labels-only"]


def test_every_family_and_every_gate_is_in_the_result(worlds):
    for world, found in worlds.items():
        more = {WITHIN_STUDIES} if world == "study-is-stage" else set()
        assert set(found.order["readable"]["against"]) == {*FAMILIES, *more}
        assert {row["gate"] for row in found.gates} == set(THRESHOLDS)


def test_the_gates_pass_labels_that_have_no_order(worlds):
    """Why they are no evidence of order, and stand beside the share of nulls that pass them."""
    for gate in ("random holdout", "donor holdout"):
        row = next(r for r in worlds["labels-only"].gates if r["gate"] == gate and r["pairs"] == "all")
        assert row["status"] == "pass"
        assert row["null_pass_rate"] > 0.5


def test_genes_are_chosen_on_training_donors():
    panel, candidates = world_panel("ordered", SMALL)
    widths = {split.id: candidates.features(split, 0) for split in (*panel.splits, panel.whole)}
    assert set(widths) == {*(split.id for split in panel.splits), WHOLE}
    assert all(features.shape == (len(panel), SMALL.panel_genes) for features in widths.values())
    first, second = (widths[split.id] for split in panel.splits)
    assert not np.array_equal(first, second)
