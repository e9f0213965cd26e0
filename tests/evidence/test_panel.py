from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from interp.biology import Ruler
from interp.errors import InputError
from interp.evidence.panel import UNKNOWN, Labels, Panel
from interp.stats import donor_folds

COLUMNS = ["donor", "tissue", "study", "cell_type", "stage", "branch"]


def anchors(rows):
    return SimpleNamespace(obs=pd.DataFrame(rows, columns=COLUMNS))


@pytest.fixture
def panel(graph):
    rows = [
        ("a", "blood", "s", "CD4 T cell", None, "T"),
        ("a", "blood", "s", "NK", "NK", "NK and ILC"),
        ("b", "blood", "s", "HSC", "HSC", "stem and progenitor"),
    ]
    return Panel.from_anchors(anchors(rows), graph, donor_folds(["a", "b"], 2, 0))


def test_classes_follow_the_graph_and_coarse_labels_have_none(panel):
    assert panel.labels.stages == ("HSC", "NK")
    assert panel.classes.tolist() == [UNKNOWN, 1, 0]
    assert panel.exact(np.arange(3)).tolist() == [1, 2]


def test_training_anchors_are_those_of_training_donors(panel):
    for split in panel.splits:
        assert set(panel.donors[panel.train(split)]) == set(split.train_donors)
        assert set(panel.donors[panel.test(split)]) == set(split.test_donors)
    assert panel.train(panel.whole).tolist() == [0, 1, 2]
    assert panel.test(panel.whole).tolist() == []


def test_ruler_between_anchors(panel, graph):
    assert panel.ruler(np.array([1, 2])).tolist() == graph.ruler(["NK", "HSC"]).tolist()


def test_permuted_labels_keep_names_and_ruler_together(graph):
    labels = Labels.of(graph, ["HSC", "NK", "GMP"]).permuted([2, 0, 1])
    assert labels.stages == ("GMP", "HSC", "NK")
    assert labels.ruler.tolist() == graph.ruler(labels.stages).tolist()
    assert labels.branch == tuple(graph.branch(s) for s in labels.stages)
    assert labels.depth.tolist() == [graph.depth(s) for s in labels.stages]


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([("a", "t", "s", "x", None, None)], COLUMNS, "exact stage"),
        ([("a", "t", "s", "x", "no such stage", None)], COLUMNS, "no such stage"),
        ([("a", "t", "s", "x")], COLUMNS[:4], "stage"),
    ],
)
def test_what_cannot_be_used_is_said(graph, rows, columns, message):
    with pytest.raises(InputError, match=message):
        Panel.from_anchors(SimpleNamespace(obs=pd.DataFrame(rows, columns=columns)), graph, [])


def test_a_given_ruler_replaces_hops_and_nothing_else(graph):
    rows = [("a", "blood", "s", stage, stage, "x") for stage in ("HSC", "NK", "CLP")]
    given = Ruler.depth_only(graph)
    panel = Panel.from_anchors(anchors(rows), graph, [], ruler=given)
    plain = Panel.from_anchors(anchors(rows), graph, [])
    ratio = panel.labels.ruler[np.triu_indices(3, 1)] / given.of(panel.labels.stages)[np.triu_indices(3, 1)]
    np.testing.assert_allclose(ratio, ratio[0])
    assert (panel.labels.branch, panel.labels.depth.tolist()) == (plain.labels.branch, plain.labels.depth.tolist())
    short = Ruler("short", ("HSC", "NK"), np.array([[0.0, 1.0], [1.0, 0.0]]), "x")
    with pytest.raises(InputError, match="incomplete for this panel: it lacks CLP"):
        Panel.from_anchors(anchors(rows), graph, [], ruler=short)
