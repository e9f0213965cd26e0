from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from interp.errors import InputError
from interp.evidence import Candidates, coexpression, cooccurrence, gene_correlation, randomised
from interp.evidence.controls import CONTROLS, FIXED, GAUSSIAN, GENES, MATCHED, RANDOM, UNTRAINED, VALUES
from interp.extraction.operators import Operator
from interp.stats import Split

N_GENES = 30
SPLIT = Split("fold0", ("a",), ("b",), np.arange(1), np.arange(1, 2))
OTHER = Split("fold1", ("b",), ("a",), np.arange(1, 2), np.arange(1))


@pytest.fixture(scope="module")
def matrix():
    rng = np.random.default_rng(0)
    return rng.gamma(2.0, size=(N_GENES, N_GENES)) * (rng.random((N_GENES, N_GENES)) < 0.6)


@pytest.fixture(scope="module")
def candidates(matrix):
    genes = tuple(f"G{i}" for i in range(N_GENES))
    drift = np.hstack([matrix, matrix.T])
    operators = [
        Operator("L0H0.mean.out", "mean", "out", matrix, genes),
        Operator("L0H0.mean.in", "mean", "in", matrix, genes),
        Operator("drift.mean.out", "mean", "out", drift, genes),
    ]
    expression = np.random.default_rng(1).random((5, N_GENES))
    return Candidates("chosen", lambda split: operators, lambda split: expression)


def drawn(candidates, name, draw=0, split=SPLIT, seed=0):
    return [operator.matrix for operator in randomised(candidates, name, draw, seed=seed).operators(split)]


@pytest.mark.parametrize("name", MATCHED)
def test_one_random_operator_per_candidate_shared_by_both_orientations(candidates, matrix, name):
    out, inward, drift = drawn(candidates, name)
    assert (out == inward).all()
    assert (out != matrix).any()
    assert drift.shape == (N_GENES, 2 * N_GENES)
    made = randomised(candidates, name, 0, seed=0)
    assert made.names(SPLIT) == candidates.names(SPLIT)
    expression = candidates.expression(SPLIT)
    for place, operator in enumerate((out, out.T)):
        features, expected = made.features(SPLIT, place), expression @ operator.astype(np.float64)
        np.testing.assert_allclose(features - features[0], expected - expected[0], atol=1e-6 * expected.std())


def test_features_are_exact_beside_their_spread_where_anchors_hardly_differ(candidates):
    alike = 1000.0 + 1e-3 * candidates.expression(SPLIT)
    made = randomised(replace(candidates, expression=lambda split: alike), VALUES, 0, seed=0)
    features, expected = made.features(SPLIT, 0), alike @ made.operators(SPLIT)[0].matrix.astype(np.float64)
    np.testing.assert_allclose(features - features[0], expected - expected[0], atol=1e-5 * expected.std(axis=0).max())


@pytest.mark.parametrize("name", MATCHED)
def test_draws_splits_and_seeds_differ_and_repeat(candidates, name):
    first = drawn(candidates, name)[0]
    assert (drawn(candidates, name)[0] == first).all()
    for other in (
        drawn(candidates, name, draw=1),
        drawn(candidates, name, split=OTHER),
        drawn(candidates, name, seed=1),
    ):
        assert (other[0] != first).any()


def test_gaussian_keeps_support_and_moments(candidates, matrix):
    values = np.array([drawn(candidates, GAUSSIAN, draw)[0] for draw in range(20)])
    assert ((values != 0) == (matrix != 0)).all()
    on = values[:, matrix != 0]
    assert on.mean() == pytest.approx(matrix[matrix != 0].mean(), rel=0.05)
    assert on.std() == pytest.approx(matrix[matrix != 0].std(), rel=0.05)


def test_shuffled_values_keep_support_and_values(candidates, matrix):
    out, _, drift = drawn(candidates, VALUES)
    assert ((out != 0) == (matrix != 0)).all()
    values = np.sort(matrix.astype(np.float32).ravel())
    assert (np.sort(out.ravel()) == values).all()
    assert (np.sort(drift[:, :N_GENES].ravel()) == values).all()


def test_permuted_genes_keep_the_spectrum(candidates, matrix):
    out, _, drift = drawn(candidates, GENES)
    np.testing.assert_allclose(np.linalg.svd(out)[1], np.linalg.svd(matrix)[1], atol=1e-6 * np.linalg.norm(matrix))
    np.testing.assert_allclose(np.trace(out), np.trace(matrix), rtol=1e-6)
    np.testing.assert_allclose(drift[:, N_GENES:].T, drift[:, :N_GENES])


def test_every_control_of_the_method_is_expected_once():
    assert len(set(CONTROLS)) == len(CONTROLS) == len(FIXED) + len(RANDOM) + 1
    assert {*FIXED, *RANDOM, UNTRAINED} == set(CONTROLS)


def test_coexpression_is_the_correlation_of_training_cells(candidates):
    rng = np.random.default_rng(0)
    cells = rng.poisson(1.0, size=(50, N_GENES)).astype(float)
    cells[:, 3] = 2.0
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = np.nan_to_num(np.corrcoef(cells, rowvar=False))
    expected[3, 3] = 1.0
    np.testing.assert_allclose(gene_correlation(cells), expected, atol=1e-12)
    np.testing.assert_allclose(gene_correlation(sparse.csr_matrix(cells)), expected, atol=1e-12)
    genes = [f"G{i}" for i in range(N_GENES)]
    control = coexpression(candidates, lambda split: expected, lambda split: genes)
    np.testing.assert_allclose(control.features(SPLIT, 0), candidates.expression(SPLIT) @ expected)


def test_cooccurrence_is_even_attention_and_what_is_left_of_it_in_cells_of_one_length(candidates, matrix):
    counts = np.round(matrix * 10)
    uniform = counts / np.linspace(3.0, 9.0, N_GENES)
    genes = [f"G{i}" for i in range(N_GENES)]
    control = cooccurrence(candidates, lambda split: counts, lambda split: uniform, lambda split: genes)
    x = candidates.expression(SPLIT)
    expected = [uniform, np.divide(uniform, counts, out=np.zeros_like(counts), where=counts > 0), counts, counts > 0]
    assert len(control.names(SPLIT)) == len(expected)
    for place, operator in enumerate(expected):
        np.testing.assert_allclose(control.features(SPLIT, place), x @ operator)


def test_an_unknown_control_is_refused(candidates):
    with pytest.raises(InputError, match="no random control"):
        randomised(candidates, "magic", 0, seed=0)
