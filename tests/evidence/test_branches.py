import numpy as np
import pandas as pd
import pytest

from interp.evidence.branches import COMPUTED, MISSING, branch_table

COLUMNS = ["arm", "draw", "split", "donor", "stage", "pairs", "value"]


def order_of(panel, arm, draw, value, pairs=("all",)):
    """The order table of an arm; `value` is called with donor and stage."""
    rows = [
        (arm, draw, split.id, donor, stage, kind, value(donor, stage))
        for split in panel.splits
        for donor in split.test_donors
        for stage in panel.labels.stages
        for kind in pairs
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.fixture
def panel(planted):
    return planted(n_donors=4, n_folds=2)[0]


def by_branch(panel, graph, order, nulls):
    return branch_table(panel, graph, order, nulls).set_index(["branch", "pairs"])


def test_a_branch_is_the_mean_over_its_stages_and_then_donors(panel, graph):
    level = {"HSC": 0.2, "CMP": 0.4, "erythroblast": 0.9}
    number = {donor: i for i, donor in enumerate(sorted(set(panel.donors)))}
    order = order_of(panel, "chosen", 0, lambda donor, stage: level.get(stage, 0.5) + 0.1 * number[donor])
    other = order_of(panel, "no operator", 0, lambda donor, stage: 7.0)
    nulls = pd.concat([order_of(panel, "stages permuted", draw, lambda d, s, v=draw: 0.1 * v) for draw in range(3)])
    table = by_branch(panel, graph, pd.concat([order, other]), nulls)
    row = table.loc[("erythroid and megakaryocyte", "all")]
    assert row["order"] == pytest.approx(0.9 + 0.15)
    assert (row["anchors"], row["stages"], row["donors"], row["donors_measured"]) == (4, 1, 4, 4)
    stem = table.loc[("stem and progenitor", "all")]
    assert stem["stages"] == 5
    assert stem["order"] == pytest.approx(np.mean([0.2, 0.4, 0.5, 0.5, 0.5]) + 0.15)
    assert row["null_mean"] == pytest.approx(0.1)
    assert row["null_95"] == pytest.approx(0.19)
    assert row["above_all_nulls"]


def test_the_hardest_family_is_named_and_decides(panel, graph):
    order = order_of(panel, "chosen", 0, lambda donor, stage: 0.5)
    nulls = pd.concat(
        [
            order_of(panel, "ruler shuffled", 0, lambda donor, stage: 0.0),
            order_of(panel, "features shuffled", 0, lambda donor, stage: 0.6),
        ]
    )
    row = by_branch(panel, graph, order, nulls).loc[("NK and ILC", "all")]
    assert (row["hardest_null"], row["null_95"], row["above_all_nulls"]) == ("features shuffled", 0.6, False)


def test_branches_that_cannot_be_measured_say_why(panel, graph):
    nothing = pd.DataFrame(columns=COLUMNS)
    order = order_of(panel, "chosen", 0, lambda donor, stage: np.nan if stage == "NK" else 0.5)
    table = by_branch(panel, graph, order, nothing)
    assert table.loc[("T", "all"), ["status", "reason"]].tolist() == [MISSING, "no anchor in this panel"]
    assert "4 other stages" in table.loc[("NK and ILC", "all"), "reason"]
    known = table.loc[("granulocyte", "all")]
    assert known["status"] == COMPUTED
    assert "no null" in known["reason"]
    assert pd.isna(known["above_all_nulls"])


def test_coarse_labels_are_counted_and_not_measured(panel, graph):
    panel.obs.loc[panel.obs["stage"] == "NK", "stage"] = None
    row = by_branch(panel, graph, order_of(panel, "chosen", 0, lambda d, s: 0.5), pd.DataFrame(columns=COLUMNS))
    assert row.loc[("NK and ILC", "all"), "anchors"] == 4
    assert row.loc[("NK and ILC", "all"), "stages"] == 0


def test_pairs_within_a_study_are_a_row_of_their_own_where_there_are_several_studies(planted, graph):
    panel = planted(n_donors=4, n_folds=2, n_studies=2)[0]
    order = pd.concat(
        [
            order_of(panel, "chosen", 0, lambda d, s: 0.5),
            order_of(panel, "chosen", 0, lambda d, s: 0.1, pairs=("within-study",)),
        ]
    )
    table = by_branch(panel, graph, order, pd.DataFrame(columns=COLUMNS))
    assert table.loc[("granulocyte", "all"), "order"] == pytest.approx(0.5)
    assert table.loc[("granulocyte", "within-study"), "order"] == pytest.approx(0.1)
