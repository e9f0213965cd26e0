import numpy as np
import pytest

from interp.evidence import Candidates
from interp.evidence.inputs import (
    MIN_GENES,
    bag_of_tokens,
    no_operator,
    principal_components,
    random_projection,
    variable_genes,
)
from interp.extraction.span import SpanBasis
from interp.stats import Split

N_GENES, N_ANCHORS = 80, 24
SPLIT = Split("fold0", ("a",), ("b",), np.arange(16), np.arange(16, N_ANCHORS))
OTHER = Split("fold1", ("b",), ("a",), np.arange(16, N_ANCHORS), np.arange(16))


class Rows:
    """A panel that knows its training anchors only."""

    def train(self, split):
        return split.train


@pytest.fixture(scope="module")
def expression():
    rng = np.random.default_rng(0)
    return rng.gamma(2.0, size=(N_ANCHORS, N_GENES)) * np.linspace(0.1, 3.0, N_GENES)


@pytest.fixture(scope="module")
def candidates(expression):
    return Candidates("chosen", lambda split: (), lambda split: expression)


def features(made, split=SPLIT):
    return [made.features(split, i) for i in range(len(made.names(split)))]


def test_no_operator_is_the_expression(candidates, expression):
    (found,) = features(no_operator(candidates))
    assert (found == expression).all()


def test_a_projection_is_linear_and_as_wide_as_it_says(candidates, expression):
    made = random_projection(candidates, 0, seed=0)
    assert made.names(SPLIT) == ["random projection 10", "random projection 50", "random projection 80"]
    for found in features(made):
        weights, *_ = np.linalg.lstsq(expression, found, rcond=None)
        np.testing.assert_allclose(expression @ weights, found)
    assert [found.shape[1] for found in features(made)] == [10, 50, N_GENES]


def test_projections_repeat_and_differ_by_draw_split_and_seed(candidates):
    first = features(random_projection(candidates, 0, seed=0))[0]
    assert (features(random_projection(candidates, 0, seed=0))[0] == first).all()
    for made, split in (
        (random_projection(candidates, 1, seed=0), SPLIT),
        (random_projection(candidates, 0, seed=1), SPLIT),
        (random_projection(candidates, 0, seed=0), OTHER),
    ):
        assert (features(made, split)[0] != first).any()


def test_a_wide_projection_keeps_what_the_adaptor_can_reach(candidates, expression):
    wide = features(random_projection(candidates, 0, seed=0))[-1]
    assert SpanBasis.from_features(wide[:16]).rank == SpanBasis.from_features(expression[:16]).rank == 15


def test_components_are_those_of_the_training_anchors(candidates, expression):
    from sklearn.decomposition import PCA

    made = principal_components(candidates, Rows())
    assert made.names(SPLIT) == ["PCA 10", "PCA 15"]  # 16 anchors have no more than 15
    expected = PCA(10).fit(expression[SPLIT.train]).transform(expression)
    found = features(made)[0]
    found = found - found[SPLIT.train].mean(axis=0)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-9)
    assert made.names(OTHER) == ["PCA 7"]


def test_the_most_variable_genes_of_the_training_anchors_are_kept(expression):
    calm = expression.copy()
    calm[SPLIT.train, -1] = 1.0  # varies between test anchors only
    made = variable_genes(Candidates("chosen", lambda split: (), lambda split: calm), Rows())
    assert [found.shape[1] for found in features(made)] == [40, 20, MIN_GENES]
    for found in features(made):
        columns = [int(np.flatnonzero((calm == column[:, None]).all(axis=0))[0]) for column in found.T]
        dropped = np.setdiff1d(np.arange(N_GENES), columns)
        variance = calm[SPLIT.train].var(axis=0)
        assert variance[columns].min() >= variance[dropped].max()
        assert N_GENES - 1 not in columns
        assert columns == sorted(columns)


def test_few_genes_are_all_kept_once(expression):
    few = Candidates("chosen", lambda split: (), lambda split: expression[:, :6])
    (found,) = features(variable_genes(few, Rows()))
    assert (found == expression[:, :6]).all()


def test_a_bag_of_tokens_knows_no_expression(candidates):
    shares = np.random.default_rng(1).random((N_ANCHORS, N_GENES))
    (found,) = features(bag_of_tokens(candidates, lambda split: shares))
    assert (found == shares).all()
