import numpy as np
import pandas as pd
import pytest

from interp.biology import Ruler, sensitivity_rulers
from interp.evidence import CHOSEN, Arm, Settings, donor_values, order_endpoint, ruler_sensitivity
from interp.evidence.sensitivity import MAIN, MISSING, REFITTED, SAME

WORD = {"source": "a textbook", "independent_of_model": True}


@pytest.fixture(scope="module")
def asked(planted, graph, solver):
    panel, features, _ = planted()
    arm = Arm(CHOSEN, lambda split: features, settings={split.id: Settings(0.01, 1.0) for split in panel.splits})
    main = Ruler.hops(graph)
    table, order = ruler_sensitivity(panel, arm, main, sensitivity_rulers(graph), graph, solver)
    return panel, arm, table.set_index("ruler"), order


def test_the_main_ruler_gives_the_order_endpoint_itself(asked, solver):
    panel, arm, table, _ = asked
    values = donor_values(order_endpoint(panel, [arm], solver))["value"]
    row = table.iloc[0]
    assert (row.name, row["status"], row["with_main"], row["donors"]) == ("hops", MAIN, 1.0, len(values))
    assert row["order"] == pytest.approx(values.mean(), abs=1e-12)
    assert row["lo"] < row["order"] < row["hi"]


def test_rulers_that_move_no_edge_of_the_panel_are_the_same_here_and_not_fitted(asked, graph):
    panel, _, table, order = asked
    moved = table.drop(index=["hops", "depth only", "branch only"])
    here = graph.ruler(panel.labels.stages)
    for name, row in moved.iterrows():
        other = next(r for r in sensitivity_rulers(graph) if r.name == name)
        assert (row["status"] == SAME) == np.array_equal(other.of(panel.labels.stages), here), name
    same = table[table["status"] == SAME]
    assert len(same)
    for name in ("order", "lo", "hi"):
        assert set(same[name]) == {table.loc["hops", name]}
    assert set(order["arm"]) == set(table.index[table["status"].isin([MAIN, REFITTED])])


def test_each_ruler_says_how_much_of_the_main_one_it_holds(asked, graph):
    panel, _, table, _ = asked
    stages = panel.labels.stages
    upper = np.triu_indices(len(stages), 1)
    pairs = [Ruler.hops(graph).of(stages)[upper], Ruler.depth_only(graph).of(stages)[upper]]
    expected = pd.DataFrame(pairs).T.corr("spearman").iloc[0, 1]
    assert table.loc["depth only", "with_main"] == pytest.approx(expected)
    assert table["status"].loc[["depth only", "branch only"]].tolist() == [REFITTED, REFITTED]


def test_a_ruler_in_other_units_changes_nothing(planted, graph, solver):
    panel, features, _ = planted(n_donors=2, n_folds=2)
    names = list(panel.labels.stages)
    days = Ruler.from_matrix(pd.DataFrame(24 * graph.ruler(names), names, names), name="days", **WORD)
    table, _ = ruler_sensitivity(panel, Arm(CHOSEN, lambda _: features), Ruler.hops(graph), [days], graph, solver)
    assert table["status"].tolist() == [MAIN, SAME]


def test_what_cannot_be_asked_is_not_computable_with_its_reason(planted, graph, solver):
    panel, features, _ = planted(stages=("CMP", "GMP", "MEP", "CLP", "HSC"), n_donors=2, n_folds=2)
    others = [Ruler.branch_only(graph)]  # all of these are stem and progenitor cells
    table, order = ruler_sensitivity(panel, Arm(CHOSEN, lambda _: features), Ruler.hops(graph), others, graph, solver)
    row = table.set_index("ruler").loc["branch only"]
    assert row["status"] == MISSING
    assert "zero" in row["reason"]
    assert np.isnan(row["order"])
    assert set(order["arm"]) == {"hops"}


def test_a_branch_ruler_that_vanishes_with_the_left_out_stage_leaves_that_stage_out(planted, graph, solver):
    panel, features, _ = planted(stages=("CMP", "GMP", "MEP", "CLP", "NK"), n_donors=2, n_folds=2)
    others = [Ruler.branch_only(graph)]
    table, order = ruler_sensitivity(panel, Arm(CHOSEN, lambda _: features), Ruler.hops(graph), others, graph, solver)
    assert table["status"].tolist() == [MAIN, REFITTED]
    assert "NK" not in set(order[order["arm"] == "branch only"]["stage"])
    assert table["stages"].tolist() == [5, 4]
