from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from interp.evidence import CHOSEN, Arm, frozen_gates, gates
from interp.evidence.gates import (
    BLOCKED,
    BRANCH,
    DONOR,
    FROZEN,
    RANDOM,
    TRUST,
    GateValue,
    gate_rows,
)  # fmt: skip
from interp.evidence.pairs import GATE_PAIRS

COLUMNS = {"gate", "panel", "pairs", "value", "threshold", "status", "reason", "n", "p", "at_floor", "null_pass_rate"}
T_AND_B = ("HSC", "CLP", "pro-B", "pre-B", "naive B", "memory B", "DN T", "DP T", "naive CD4 T", "naive CD8 T")


def table_of(rows):
    return pd.DataFrame(rows).set_index(["gate", "pairs"])


@pytest.fixture(scope="module")
def ordered(planted, solver):
    panel, features, _ = planted()
    return table_of(gates(panel, Arm(CHOSEN, lambda _: features), solver, seed=0, n_null=4))


def test_an_ordered_world_passes_what_can_be_computed(ordered):
    for gate in (RANDOM, DONOR):
        assert set(ordered.loc[gate, "status"]) == {"pass"}
        assert (ordered.loc[gate, "value"] > 0.5).all()
    assert ordered.loc[(BLOCKED, "all"), "status"] == "pass"
    assert ordered.loc[(BLOCKED, "all"), "at_floor"]
    assert ordered.loc[(TRUST, "all"), "value"] > 0.8
    assert ordered["null_pass_rate"].dropna().between(0, 1).all()


def test_rows_have_the_columns_of_the_contract(ordered):
    assert set(ordered.reset_index()) == COLUMNS
    assert set(ordered.loc[DONOR].index) == set(GATE_PAIRS)
    assert set(ordered["panel"]) == {"internal"}


def test_branches_with_too_few_stages_are_not_computable(ordered):
    rows = ordered.loc[BRANCH]
    assert set(rows["status"]) == {"not computable"}
    assert rows["reason"].str.contains("3 are needed").all()


def test_one_donor_cannot_be_held_out(planted, solver):
    panel, features, _ = planted(n_donors=1)
    table = table_of(gates(panel, Arm(CHOSEN, lambda _: features), solver, seed=0, n_null=2))
    assert set(table.loc[DONOR, "status"]) == {"not computable"}
    assert table.loc[DONOR, "reason"].str.contains("one donor").all()
    assert table.loc[(TRUST, "all"), "status"] == "not computable"
    assert "8 points" in table.loc[(TRUST, "all"), "reason"]


def test_frozen_gates_are_named_so_and_use_the_latents_as_they_are(planted):
    panel, features, loadings = planted(n_donors=5)
    latents = features @ loadings
    rows = frozen_gates(replace(panel, name="external", splits=()), latents, features, seed=0, n_null=3)
    table = table_of(rows)
    assert f"donor ({FROZEN})" in table.index
    assert not any("holdout" in gate for gate, _ in table.index)
    assert set(table["panel"]) == {"external"}
    assert table.loc[(f"donor ({FROZEN})", "all"), "n"] == 5
    again = table_of(
        frozen_gates(replace(panel, name="external", splits=()), 7.0 * latents, features, seed=0, n_null=3)
    )
    pd.testing.assert_series_equal(table["value"], again["value"])


@pytest.mark.parametrize(
    ("gate", "outcome", "status"),
    [
        (TRUST, GateValue(0.80), "pass"),
        (TRUST, GateValue(0.79), "fail"),
        (DONOR, GateValue(0.20), "pass"),
        (BLOCKED, GateValue(0.001), "pass"),
        (BLOCKED, GateValue(0.002), "fail"),
        (BLOCKED, GateValue(0.0001, reason="too few ways"), "not computable"),
        (RANDOM, GateValue(float("nan")), "not computable"),
    ],
)
def test_status_by_threshold(gate, outcome, status):
    assert outcome.status(gate) == status


def test_a_gate_that_most_nulls_pass_is_called_uninformative(planted):
    panel, _, _ = planted()
    key = (DONOR, "all")
    missing = {key: GateValue(reason="too few groups")}
    nulls = [{key: GateValue(0.5)}, {key: GateValue(0.3)}, {key: GateValue(0.1)}, missing]
    (row,) = gate_rows(panel, {key: GateValue(0.9, 6)}, nulls)
    assert row["null_pass_rate"] == pytest.approx(2 / 3)
    assert row["reason"] == "uninformative: 67% of 3 null draws pass"
    (row,) = gate_rows(panel, {key: GateValue(0.1, 6)}, nulls)
    assert (row["status"], row["reason"]) == ("fail", "")
    (row,) = gate_rows(panel, {key: GateValue(0.9, 6)}, [missing])
    assert np.isnan(row["null_pass_rate"])
