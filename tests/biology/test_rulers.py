import numpy as np
import pandas as pd
import pytest

from interp.biology import StageGraph
from interp.biology.rulers import Ruler, read_ruler, sensitivity_rulers
from interp.errors import InputError

WORD = {"source": "a textbook", "independent_of_model": True}
GRAPH = StageGraph.hematopoiesis()


def square(values, names=("A", "B", "C")):
    return pd.DataFrame(np.array(values, dtype=float), index=list(names), columns=list(names))


def test_the_graphs_rulers_by_hand():
    stages = ["HSC", "CLP", "NK", "naive B"]
    assert Ruler.hops(GRAPH).of(stages)[0].tolist() == [0, 2, 3, 5]
    assert Ruler.depth_only(GRAPH).of(stages)[2].tolist() == [3, 1, 0, 2]
    assert Ruler.branch_only(GRAPH).of(["NK", "ILC", "naive B", "NK"])[0].tolist() == [0, 0, 1, 0]


def test_hops_are_the_graphs_own():
    np.testing.assert_array_equal(Ruler.hops(GRAPH).of(GRAPH.stages), GRAPH.ruler())


def test_every_debated_edge_is_moved_once_and_all_together():
    rulers = {ruler.name: ruler for ruler in sensitivity_rulers(GRAPH)}
    assert {"hops", "depth only", "branch only", "hops, all debated edges"} <= set(rulers)
    assert len(rulers) == 3 + len(GRAPH.debated) + 1
    moved = rulers["hops, pDC under CLP"].of(["pDC", "CLP"])
    assert moved[0, 1] == 1
    assert rulers["hops"].of(["pDC", "CLP"])[0, 1] > 1


def test_an_edge_list_gives_shortest_paths():
    edges = pd.DataFrame({"a": ["A", "B", "A"], "b": ["B", "C", "C"], "length": [1.0, 1.5, 9.0]})
    ruler = Ruler.from_edges(edges, **WORD)
    assert ruler.of(["A", "C", "C"]).tolist() == [[0, 2.5, 2.5], [2.5, 0, 0], [2.5, 0, 0]]


def test_a_matrix_may_name_its_columns_in_another_order():
    table = square([[0, 1, 2], [1, 0, 3], [2, 3, 0]])
    assert Ruler.from_matrix(table[["C", "A", "B"]], **WORD).of(["A", "B", "C"]).tolist() == table.values.tolist()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([[0, 1, np.nan], [1, 0, 1], [np.nan, 1, 0]], "incomplete.*A to C"),
        ([[0, 1, 2], [1, 0, 1], [3, 1, 0]], "asymmetric.*A to C is 2 and back 3"),
        ([[0, -1, 2], [-1, 0, 1], [2, 1, 0]], "negative"),
        ([[1, 1, 2], [1, 0, 1], [2, 1, 0]], "diagonal"),
    ],
)
def test_a_matrix_that_is_no_ruler_is_refused(values, words):
    with pytest.raises(InputError, match=words):
        Ruler.from_matrix(square(values), **WORD)


def test_a_text_in_the_matrix_is_a_missing_distance():
    table = square([[0, 1, 2], [1, 0, 1], [2, 1, 0]]).astype(object)
    table.iloc[0, 1] = "far"
    with pytest.raises(InputError, match="incomplete"):
        Ruler.from_matrix(table, **WORD)


def test_stages_that_are_not_connected_are_refused():
    edges = pd.DataFrame({"a": ["A", "C"], "b": ["B", "D"]})
    with pytest.raises(InputError, match="not connected: A to C"):
        Ruler.from_edges(edges, **WORD)


@pytest.mark.parametrize("length", [0.0, -1.0, np.nan])
def test_an_edge_has_a_positive_length(length):
    with pytest.raises(InputError, match="A to B"):
        Ruler.from_edges(pd.DataFrame({"a": ["A"], "b": ["B"], "length": [length]}), **WORD)


def test_rows_and_columns_name_the_same_stages():
    table = square([[0, 1, 2], [1, 0, 1], [2, 1, 0]]).rename(columns={"C": "D"})
    with pytest.raises(InputError, match="differ in C, D"):
        Ruler.from_matrix(table, **WORD)


def test_a_repeated_stage_is_refused():
    with pytest.raises(InputError, match="A stand twice"):
        Ruler.from_matrix(square(np.zeros((3, 3)), ("A", "A", "B")), **WORD)


def test_independence_of_the_model_must_be_stated():
    table = square([[0, 1, 2], [1, 0, 1], [2, 1, 0]])
    with pytest.raises(InputError, match="compared with itself"):
        Ruler.from_matrix(table, source="PCA of the model", independent_of_model=False)
    with pytest.raises(InputError, match="source="):
        Ruler.from_matrix(table, source=" ", independent_of_model=True)


def test_a_panel_with_other_stages_is_refused():
    with pytest.raises(InputError, match="incomplete for this panel: it lacks NK"):
        Ruler.from_matrix(square([[0, 1, 2], [1, 0, 1], [2, 1, 0]]), **WORD).of(["A", "NK"])


def test_files_of_both_kinds_are_read(tmp_path):
    table = square([[0, 1, 2], [1, 0, 1], [2, 1, 0]])
    table.to_csv(tmp_path / "matrix.csv")
    pd.DataFrame({"a": ["A", "B"], "b": ["B", "C"]}).to_csv(tmp_path / "edges.csv", index=False)
    for name in ("matrix", "edges"):
        ruler = read_ruler(tmp_path / f"{name}.csv", **WORD)
        assert ruler.name == name
        assert ruler.of(["A", "B", "C"]).tolist() == table.to_numpy().tolist()
    with pytest.raises(InputError, match="there is no file"):
        read_ruler(tmp_path / "none.csv", **WORD)


def test_a_unit_says_nothing_and_hops_stay_as_they_are():
    stages = ["HSC", "CLP", "NK", "naive B", "NK"]
    hops = Ruler.hops(GRAPH)
    assert hops.in_hops(GRAPH, stages).tobytes() == hops.of(stages).tobytes()
    names = stages[:4]
    hours = Ruler.from_matrix(pd.DataFrame(24 * hops.of(names), names, names), **WORD)
    np.testing.assert_allclose(hours.in_hops(GRAPH, stages), hops.of(stages), rtol=1e-12)
    depth = Ruler.depth_only(GRAPH).in_hops(GRAPH, names)
    assert np.square(depth).mean() == pytest.approx(np.square(hops.of(names)).mean())


def test_rounding_in_a_file_leaves_an_exact_ruler():
    ruler = Ruler.from_matrix(square([[1e-9, 1, 2], [1.0000002, 0, -1e-8], [2, -1e-8, 0]]), **WORD)
    assert np.array_equal(ruler.matrix, ruler.matrix.T)
    assert ruler.matrix.min() == 0
    assert not ruler.matrix.diagonal().any()


def test_identity_follows_the_distances_and_the_source():
    table = square([[0, 1, 2], [1, 0, 3], [2, 3, 0]])
    first, again = (Ruler.from_matrix(table, **WORD).identity for _ in range(2))
    assert first == again
    assert first != Ruler.from_matrix(2 * table, **WORD).identity
    assert first != Ruler.from_matrix(table, source="a guess", independent_of_model=True).identity
