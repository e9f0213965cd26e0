from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr, rankdata, spearmanr

from interp.errors import InputError
from interp.geometry import residual_correlation, ruler_correlation

N = 12


def symmetric(seed):
    matrix = np.random.default_rng(seed).random((N, N))
    return matrix + matrix.T


@pytest.fixture
def groups():
    return np.arange(N) % 3


def test_equals_scipy_over_all_pairs_and_over_some(groups):
    distances, ruler = symmetric(0), np.round(symmetric(1) * 3)
    above = np.triu_indices(N, 1)
    assert ruler_correlation(distances, ruler).value == pytest.approx(spearmanr(distances[above], ruler[above])[0])
    same = groups[:, None] == groups
    at = np.nonzero(np.triu(same, 1))
    found = ruler_correlation(distances, ruler, pairs=same)
    assert found.value == pytest.approx(spearmanr(distances[at], ruler[at])[0])


def test_the_residuals_equal_a_regression_written_out(groups):
    distances, ruler, same = symmetric(0), symmetric(1), (groups[:, None] == groups).astype(float)
    above = np.triu_indices(N, 1)
    left = []
    for matrix in (distances, ruler):
        ranks = rankdata(matrix[above])
        # on one indicator, a regression takes out the mean of each of its two values
        left.append(ranks - np.where(same[above] > 0, ranks[same[above] > 0].mean(), ranks[same[above] == 0].mean()))
    assert residual_correlation(distances, ruler, [same]).value == pytest.approx(pearsonr(*left)[0])


def test_what_the_indicator_explains_is_taken_out(groups):
    same = groups[:, None] == groups
    distances, ruler = 0.01 * symmetric(0) + ~same, 0.01 * symmetric(1) + ~same
    assert ruler_correlation(distances, ruler).value > 0.4
    assert abs(residual_correlation(distances, ruler, [same]).value) < 0.3


def test_without_indicators_it_is_spearman():
    assert residual_correlation(symmetric(0), symmetric(1), []).value == pytest.approx(
        ruler_correlation(symmetric(0), symmetric(1)).value
    )


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (lambda same: ruler_correlation(symmetric(0), np.ones((N, N))), "constant"),
        (lambda same: ruler_correlation(symmetric(0), symmetric(1), pairs=np.zeros((N, N))), "0 pairs"),
        (lambda same: residual_correlation(symmetric(0), symmetric(1), [same], pairs=np.zeros((N, N))), "0 pairs"),
        (lambda same: residual_correlation(symmetric(0), symmetric(1), [same, ~same]), "2 of 3 columns"),
        (lambda same: residual_correlation(symmetric(0), symmetric(1), [same], pairs=same), "1 of 2 columns"),
        (lambda same: residual_correlation(symmetric(0), same, [same]), "entirely"),
    ],
)
def test_not_computable_with_the_reason(groups, found, reason):
    measured = found(groups[:, None] == groups)
    assert not measured.computable
    assert np.isnan(measured.value)
    assert reason in measured.reason


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"\(12, 12\); one has \(3, 3\)"):
        ruler_correlation(symmetric(0), np.ones((3, 3)))
