import numpy as np
import pandas as pd
import pytest

from interp.biology import Stage, StageGraph
from interp.errors import InputError


@pytest.fixture(scope="module")
def graph():
    return StageGraph.hematopoiesis()


def small(rows):
    return StageGraph.from_edges(pd.DataFrame(rows, columns=["stage", "parent", "branch"]))


def test_shipped_graph_has_34_stages_in_7_branches(graph):
    assert len(graph) == 34
    assert len(graph.branches) == 7
    assert graph.root == "HSC"
    ids = [graph.cell_ontology(stage) for stage in graph.stages]
    assert len(set(ids)) == 34
    assert all(len(i) == 10 and i.startswith("CL:") and i[3:].isdigit() for i in ids)


@pytest.mark.parametrize(
    ("stage", "depth", "parent", "branch"),
    [
        ("HSC", 0, None, "stem and progenitor"),
        ("GMP", 3, "CMP", "stem and progenitor"),
        ("platelet", 5, "megakaryocyte", "erythroid and megakaryocyte"),
        ("mast cell", 4, "GMP", "granulocyte"),
        ("non-classical monocyte", 5, "classical monocyte", "monocyte and dendritic"),
        ("plasma cell", 6, "naive B", "B and plasma"),
        ("Treg", 6, "naive CD4 T", "T"),
        ("ILC", 3, "CLP", "NK and ILC"),
    ],
)
def test_places_in_the_tree(graph, stage, depth, parent, branch):
    assert (graph.depth(stage), graph.parent(stage), graph.branch(stage)) == (depth, parent, branch)


def test_ruler_by_hand():
    graph = small([("a", "", "x"), ("b", "a", "x"), ("c", "b", "y"), ("d", "a", "z")])
    expected = [[0, 1, 2, 1], [1, 0, 1, 2], [2, 1, 0, 3], [1, 2, 3, 0]]
    np.testing.assert_array_equal(graph.ruler(), expected)
    np.testing.assert_array_equal(graph.ruler(["c", "d", "c"]), [[0, 3, 0], [3, 0, 3], [0, 3, 0]])
    assert graph.ruler([]).shape == (0, 0)


def test_ruler_equals_shortest_paths(graph):
    from scipy.sparse.csgraph import shortest_path

    index = {stage: i for i, stage in enumerate(graph.stages)}
    adjacency = np.zeros((len(graph), len(graph)))
    for stage in graph.stages:
        if graph.parent(stage) is not None:
            adjacency[index[stage], index[graph.parent(stage)]] = 1
    np.testing.assert_array_equal(graph.ruler(), shortest_path(adjacency, directed=False))
    assert graph.ruler().dtype == np.float64


def test_order_of_rows_does_not_matter_for_hops(graph):
    shuffled = StageGraph.from_edges(graph.to_frame().iloc[::-1])
    np.testing.assert_array_equal(shuffled.ruler(graph.stages), graph.ruler())


def test_table_round_trip(graph):
    again = StageGraph.from_edges(graph.to_frame())
    assert again == graph
    pd.testing.assert_frame_equal(again.to_frame(), graph.to_frame())


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([("a", "", "x"), ("a", "", "x")], "repeated"),
        ([("a", "", "x"), ("b", "q", "x")], "no row of their own"),
        ([("a", "", "x"), ("b", "", "x")], "exactly one root"),
        ([("a", "b", "x"), ("b", "a", "x")], "exactly one root"),
        ([("r", "", "x"), ("a", "b", "x"), ("b", "a", "x")], "cycle"),
        ([], "exactly one root"),
    ],
)
def test_what_is_no_rooted_tree_is_refused(rows, says):
    with pytest.raises(InputError, match=says):
        small(rows)


def test_missing_column_is_named():
    with pytest.raises(InputError, match="branch"):
        StageGraph.from_edges(pd.DataFrame({"stage": ["a"], "parent": [""]}))


@pytest.mark.parametrize("ask", ["parent", "branch", "depth", "cell_ontology", "children", "path"])
def test_unknown_stage_lists_the_stages(graph, ask):
    with pytest.raises(InputError, match=r"'hsc'.*HSC"):
        getattr(graph, ask)("hsc")
    with pytest.raises(InputError):
        graph.ruler(["HSC", "hsc"])


def test_moving_a_debated_edge_changes_hops_but_not_the_branch(graph):
    moved = graph.moved("pDC", "CLP")
    assert graph.hops("pDC", "NK") == 5
    assert moved.hops("pDC", "NK") == 2
    assert moved.branch("pDC") == graph.branch("pDC")
    assert graph.parent("pDC") == "GMP"


def test_a_move_below_itself_is_refused(graph):
    with pytest.raises(InputError, match="cycle"):
        graph.moved("CMP", "GMP")


def test_sensitivity_moves_every_debated_edge_once_and_all_together(graph):
    graphs = graph.sensitivity()
    assert len(graphs) == len(graph.debated) + 1
    assert graphs["basophil under MEP"].parent("basophil") == "MEP"
    together = graphs["all debated edges"]
    assert {together.parent(stage) for stage in ("eosinophil", "basophil", "mast cell")} == {"MEP"}
    assert all((g.ruler() != graph.ruler()).any() for g in graphs.values())
    assert small([("a", "", "x")]).sensitivity() == {}


def test_graphs_compare_by_content():
    assert StageGraph((Stage("a", None, "x"),)) == small([("a", "", "x")])
