import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from threadpoolctl import threadpool_limits

from interp.biology import StageGraph
from interp.errors import InputError
from interp.extraction.cell_adaptor import CellAdaptor, HybridAdaptor
from interp.extraction.folding import fold
from interp.extraction.operators import Operator

GRAPH = StageGraph.hematopoiesis()
STAGES = ("HSC", "CMP", "GMP", "neutrophil", "MEP", "erythroblast", "CLP", "NK")


class World:
    """Cells of eight donors in which every edge of the tree adds a program, and donors differ."""

    def __init__(self, *, n_features=40, per_group=12, noise=1.0, n_donors=8, seed=0):
        rng = np.random.default_rng(seed)
        program = {stage: rng.standard_normal(n_features) for stage in GRAPH.stages}
        means = {s: sum(program[t] for t in GRAPH.path(s)) for s in STAGES}
        shift = 0.4 * rng.standard_normal((n_donors, n_features))
        keys = [(d, s) for d in range(n_donors) for s in STAGES]
        self.donors = np.array([f"d{d}" for d, _ in keys for _ in range(per_group)])
        self.stages = np.array([s for _, s in keys for _ in range(per_group)])
        centres = np.array([means[s] + shift[d] for d, s in keys for _ in range(per_group)])
        self.features = centres + noise * rng.standard_normal(centres.shape)
        self.names = [f"cell{i}" for i in range(len(centres))]
        self.anchor_donors = np.array([f"d{d}" for d, _ in keys])
        self.anchor_stages = np.array([s for _, s in keys])
        self.anchors = self.features.reshape(len(keys), per_group, n_features).mean(axis=1)

    def train(self, without=None):
        """Rows of the cells and of the anchors of the first five donors, maybe without a stage."""
        known = [f"d{d}" for d in range(5)]
        return tuple(
            np.flatnonzero(np.isin(donors, known) & (stages != without))
            for donors, stages in ((self.donors, self.stages), (self.anchor_donors, self.anchor_stages))
        )


@pytest.fixture(scope="module")
def world():
    return World()


def fit(adaptor, world, cells, anchors):
    names = [world.names[i] for i in cells]
    prior = {}
    if isinstance(adaptor, HybridAdaptor):
        prior = {"anchors": world.anchors[anchors], "anchor_stages": world.anchor_stages[anchors]}
    return adaptor.fit(world.features[cells], world.stages[cells], donors=world.donors[cells], names=names, **prior)


@pytest.mark.parametrize("adaptor", [CellAdaptor(n_latent=5), HybridAdaptor(n_latent=5)])
def test_a_left_out_stage_of_unseen_donors_finds_its_place(world, adaptor):
    """Every stage in turn, as the order endpoint asks; a ruler dealt out anew is the level without order."""
    found, dealt = [], []
    names = list(GRAPH.stages)
    shuffled = np.random.default_rng(0).permutation(len(names))
    for stage in STAGES:
        cells, anchors = world.train(without=stage)
        fit(adaptor, world, cells, anchors)
        unseen = np.flatnonzero(~np.isin(world.anchor_donors, [f"d{d}" for d in range(5)]))
        asked = unseen[world.anchor_stages[unseen] == stage]
        others = [s for s in STAGES if s != stage]
        distances = adaptor.distances(world.anchors[asked], world.anchors[anchors]).mean(axis=0)
        means = [distances[world.anchor_stages[anchors] == other].mean() for other in others]
        ruler = GRAPH.ruler(names)
        at = [names.index(s) for s in (stage, *others)]
        found.append(spearmanr(means, ruler[at[0], at[1:]]).statistic)
        moved = shuffled[at]
        dealt.append(spearmanr(means, ruler[moved[0], moved[1:]]).statistic)
    assert np.mean(found) > 0.8
    assert np.mean(found) > np.mean(dealt) + 0.4


@pytest.mark.parametrize("adaptor", [CellAdaptor(n_latent=5), HybridAdaptor(n_latent=5)])
def test_distances_depend_on_neither_the_order_of_cells_nor_the_threads(world, adaptor):
    cells, anchors = world.train()
    first = fit(clone(adaptor), world, cells, anchors)
    order = np.random.default_rng(1).permutation(len(cells))
    second = fit(clone(adaptor), world, cells[order], anchors)
    with threadpool_limits(2):
        third = fit(clone(adaptor), world, cells, anchors)
    for other in (second, third):
        np.testing.assert_allclose(other.distances(world.anchors), first.distances(world.anchors), atol=1e-6)


def test_it_sees_at_most_so_many_cells_of_a_stage(world):
    adaptor = CellAdaptor(n_latent=3, cells_per_stage=10).fit(
        world.features, world.stages, donors=world.donors, names=world.names
    )
    drawn = world.stages[adaptor.rows_]
    assert {stage: (drawn == stage).sum() for stage in STAGES} == dict.fromkeys(STAGES, 10)
    assert adaptor.fit_.basis.n_rows == 80


def test_without_weight_the_hybrid_is_the_cell_adaptor(world):
    cells, anchors = world.train()
    cell = fit(CellAdaptor(n_latent=3), world, cells, anchors)
    hybrid = fit(HybridAdaptor(n_latent=3, topology=0.0), world, cells, anchors)
    assert np.array_equal(cell.transform(world.anchors), hybrid.transform(world.anchors))


@pytest.mark.parametrize("adaptor", [CellAdaptor(n_latent=3), HybridAdaptor(n_latent=3)])
def test_it_folds_with_its_operator(world, adaptor):
    genes = tuple(f"G{i}" for i in range(world.features.shape[1]))
    operator = Operator("L0H0.mean.out", "mean", "out", np.random.default_rng(0).standard_normal((40, 40)), genes)
    prior = {}
    if isinstance(adaptor, HybridAdaptor):
        prior = {"anchors": operator.apply(world.anchors), "anchor_stages": world.anchor_stages}
    adaptor.fit(operator.apply(world.features), world.stages, **prior)
    folded = fold(operator, adaptor.fit_).latents(world.anchors)
    np.testing.assert_allclose(folded, adaptor.transform(operator.apply(world.anchors)), rtol=1e-5, atol=1e-9)


def test_it_is_a_scikit_learn_estimator(world):
    for adaptor in (CellAdaptor(n_latent=3, ridge=0.1, seed=4), HybridAdaptor(n_latent=3, topology=2.0)):
        assert clone(adaptor).get_params() == adaptor.get_params()
        with pytest.raises(NotFittedError):
            adaptor.transform(world.features)
    cells, anchors = world.train()
    adaptor = CellAdaptor(n_latent=3)
    assert fit(adaptor, world, cells, anchors) is adaptor
    assert adaptor.get_feature_names_out().tolist() == ["celladaptor0", "celladaptor1", "celladaptor2"]
    assert adaptor.stages_ == tuple(sorted(STAGES))


def test_misuse_is_refused(world):
    x, y = world.features, world.stages
    hole = x.copy()
    hole[3, 1] = np.nan
    with pytest.raises(InputError, match="1 of 768 rows hold NaN"):
        CellAdaptor().fit(hole, y)
    with pytest.raises(InputError, match="None of the 40 features varies"):
        CellAdaptor().fit(np.ones_like(x), y)
    with pytest.raises(InputError, match="at least two different stages"):
        CellAdaptor().fit(x, ["HSC"] * len(x))
    with pytest.raises(InputError):
        CellAdaptor().fit(x, ["no such stage"] * len(x))
    with pytest.raises(InputError, match="768 cells need one of each: stages"):
        CellAdaptor().fit(x, y[:5])
    with pytest.raises(InputError, match="768 cells need one of each: donors"):
        CellAdaptor().fit(x, y, donors=["a"])
    with pytest.raises(InputError, match="768 cells need one name each"):
        CellAdaptor().fit(x, y, names=["a"])
    with pytest.raises(InputError, match="10 anchors need one stage each"):
        HybridAdaptor().fit(x, y, anchors=world.anchors[:10], anchor_stages=world.anchor_stages[:9])
    with pytest.raises(InputError, match="39 features given"):
        HybridAdaptor().fit(x, y, anchors=world.anchors[:, 1:], anchor_stages=world.anchor_stages)
    with pytest.raises(InputError, match="not negative"):
        CellAdaptor(local=-1).fit(x, y)
