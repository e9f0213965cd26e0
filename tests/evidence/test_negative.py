from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from interp.errors import InputError
from interp.evidence import Arm, negative_control, negative_panel
from interp.evidence.gates import DONOR, THRESHOLDS, TRUST
from interp.stats import donor_folds

COLUMNS = ["donor", "tissue", "study", "cell_type", "stage", "branch"]


def cells(n_donors, types):
    rows = [(f"d{d}", "lung", "s", name, None, None) for d in range(n_donors) for name in types]
    return SimpleNamespace(obs=pd.DataFrame(rows, columns=COLUMNS))


@pytest.fixture(scope="module")
def counted(graph, solver):
    anchors = cells(4, "abcdef")
    panel = negative_panel(anchors, graph, donor_folds(anchors.obs["donor"], 2, 0))
    rng = np.random.default_rng(0)
    features = rng.normal(size=(6, 20))[panel.classes] + 0.3 * rng.normal(size=(len(panel), 20))
    arm = Arm("negative", lambda _: features)
    return [negative_control(panel, arm, graph, solver, seed=seed, n_draws=8) for seed in (0, 0, 1)]


def test_every_draw_is_counted_once(counted):
    table = counted[0]
    assert set(table["gate"]) == set(THRESHOLDS)
    assert (table[["passed", "failed", "not_computable"]].sum(axis=1) == table["draws"]).all()
    known = table["passed"] + table["failed"]
    expected = (table["passed"] / known.where(known > 0)).to_numpy()
    np.testing.assert_allclose(table["pass_rate"], expected)


def test_what_cannot_be_computed_is_shown_with_its_reason(counted):
    trust = counted[0].set_index("gate").loc[TRUST]
    assert trust["not_computable"] == 8
    assert "24 points" in trust["reason"]
    assert np.isnan(trust["pass_rate"])
    donor = counted[0].set_index(["gate", "pairs"]).loc[(DONOR, "all")]
    assert donor["not_computable"] == 0


def test_draws_depend_on_the_seed_alone(counted):
    assert counted[0].equals(counted[1])
    assert not counted[0].equals(counted[2])


def test_every_cell_type_needs_a_stage_of_its_own(graph):
    with pytest.raises(InputError, match="35 cell types"):
        negative_panel(cells(1, [f"type{i}" for i in range(35)]), graph, [])
