import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from interp.biology import StageGraph
from interp.errors import InputError
from interp.extraction.adaptor import LETAdaptor

STAGES = np.array(["HSC", "MPP", "CMP", "GMP", "MEP", "CLP"] * 4)


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(1)
    programs = {stage: rng.standard_normal(40) for stage in sorted(set(STAGES))}
    return np.array([programs[stage] for stage in STAGES]) + 0.1 * rng.standard_normal((len(STAGES), 40))


def test_distances_follow_the_hops(features):
    adaptor = LETAdaptor(n_latent=5, n_starts=1, ridge=0.01).fit(features, STAGES)
    hops = StageGraph.hematopoiesis().ruler(STAGES)
    pairs = np.triu_indices(len(STAGES), 1)
    assert np.corrcoef(adaptor.distances(features)[pairs], hops[pairs])[0, 1] > 0.98


def test_it_clones_and_works_in_a_pipeline(features):
    adaptor = LETAdaptor(n_latent=3, n_starts=1, alpha=1.0, seed=4)
    assert clone(adaptor).get_params() == adaptor.get_params()
    pipeline = make_pipeline(StandardScaler(), clone(adaptor))
    assert pipeline.fit_transform(features, STAGES).shape == (len(STAGES), 3)
    # standardising twice changes nothing
    twice = pipeline[-1].distances(pipeline[0].transform(features))
    np.testing.assert_allclose(twice, adaptor.fit(features, STAGES).distances(features), atol=0.02)
    assert adaptor.get_feature_names_out().tolist() == ["letadaptor0", "letadaptor1", "letadaptor2"]


def test_another_graph_gives_another_ruler(features):
    graph = StageGraph.hematopoiesis()
    moved = graph.moved("MEP", "MPP")
    first, second = (LETAdaptor(g, n_latent=5, n_starts=1).fit(features, STAGES) for g in (graph, moved))
    gmp, mep = features[3:4], features[4:5]
    assert second.distances(gmp, mep) > first.distances(gmp, mep) + 0.5


def test_misuse_is_refused(features):
    with pytest.raises(InputError, match="24 anchors need one stage each"):
        LETAdaptor().fit(features, STAGES[:3])
    with pytest.raises(InputError, match="at least two different stages"):
        LETAdaptor().fit(features, ["HSC"] * len(features))
    with pytest.raises(InputError):
        LETAdaptor().fit(features, ["no such stage"] * len(features))
    with pytest.raises(NotFittedError):
        LETAdaptor().transform(features)
