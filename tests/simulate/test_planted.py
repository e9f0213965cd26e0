import numpy as np
import pytest

from interp.biology import StageGraph
from interp.errors import InputError
from interp.simulate.planted import PlantedSizes, planted_cells

SMALL = PlantedSizes(n_donors=4, n_genes=40, stages_each=5, cells_each=7)


def test_every_donor_has_its_stages_and_cells():
    cells = planted_cells(SMALL)
    assert cells.counts.shape == (4 * 5 * 7, 40)
    for donor in set(cells.donor):
        own = cells.stage[cells.donor == donor]
        assert len(set(own)) == 5
        assert {int((own == stage).sum()) for stage in own} == {7}


def test_lineage_follows_the_tree_on_its_genes_and_nuisance_on_the_others():
    cells = planted_cells(SMALL)
    assert cells.lineage[12:].any() == cells.nuisance[:12].any() == False  # noqa: E712
    gram = cells.lineage.T @ cells.lineage
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-12)
    graph = StageGraph.hematopoiesis()
    edges = [s for s in graph.stages if s != graph.root and any(s in graph.path(t) for t in SMALL.stages)]
    profile = {s: sum(cells.lineage[:, edges.index(e)] for e in graph.path(s)[1:]) for s in SMALL.stages if s != "HSC"}
    stages = list(profile)
    squared = np.array([[((profile[a] - profile[b]) ** 2).sum() for b in stages] for a in stages])
    np.testing.assert_allclose(squared / squared.max(), graph.ruler(stages) / graph.ruler(stages).max())


def test_the_mean_of_an_anchor_keeps_its_nuisance():
    from scipy.stats import pearsonr

    cells = planted_cells(PlantedSizes(n_donors=40, n_genes=40, stages_each=1, cells_each=8, within=0.1, counts=50.0))
    values = np.log1p(cells.counts)[:, 12:]
    means = values.reshape(40, 8, -1).mean(axis=1)
    between = np.corrcoef(means, rowvar=False)
    expected = cells.nuisance[12:] @ cells.nuisance[12:].T
    scale = np.sqrt(np.diag(expected))
    off = ~np.eye(28, dtype=bool)
    assert pearsonr(between[off], (expected / np.outer(scale, scale))[off]).statistic > 0.3


def test_seeds_repeat_and_differ():
    first = planted_cells(SMALL, seed=3)
    assert (planted_cells(SMALL, seed=3).counts == first.counts).all()
    assert (planted_cells(SMALL, seed=4).lineage != first.lineage).any()


@pytest.mark.parametrize(
    ("spoiled", "words"),
    [
        ({"stages": ("HSC", "hepatocyte")}, "hepatocyte"),
        ({"stages_each": 9}, "9 of 8 stages"),
        ({"lineage_genes": 3}, "3 of 400 genes carry 8 edges"),
    ],
)
def test_impossible_sizes_are_refused(spoiled, words):
    with pytest.raises(InputError, match=words):
        planted_cells(PlantedSizes(**spoiled))
