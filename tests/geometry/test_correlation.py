from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr, rankdata, spearmanr

from interp.errors import InputError
from interp.geometry import nuisance_correlation, residual_correlation, ruler_correlation
from interp.geometry.correlation import same

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


def test_a_case_by_hand():
    # 4 points; the pairs (01, 02, 03, 12, 13, 23) have distance ranks 1 .. 6 and ruler ranks 2, 1, 3, 5, 4, 6
    distances, ruler = np.zeros((4, 4)), np.zeros((4, 4))
    above = np.triu_indices(4, 1)
    distances[above], ruler[above] = [1, 2, 3, 4, 5, 6], [20, 10, 30, 50, 40, 60]
    distances, ruler = distances + distances.T, ruler + ruler.T
    # pairs 01 and 23 share a donor: their mean ranks are (1 + 6) / 2 = 3.5 and (2 + 6) / 2 = 4, those of the others
    # (2 + 3 + 4 + 5) / 4 = 3.5 and (1 + 3 + 5 + 4) / 4 = 3.25
    x = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    y = np.array([-2, -2.25, -0.25, 1.75, 0.75, 2])
    expected = (x @ y) / np.sqrt((x @ x) * (y @ y))
    assert x @ y == 15.5
    assert residual_correlation(distances, ruler, [same([0, 0, 1, 1])]).value == pytest.approx(expected, rel=1e-12)


def test_donor_tissue_and_study_are_taken_out():
    rng = np.random.default_rng(5)
    donors = np.repeat(np.arange(6), 6)
    tissues, studies = np.tile(np.arange(3), 12), donors // 2
    shared = [same(donors), same(tissues), same(studies)]
    noise = [rng.random((36, 36)) for _ in range(2)]
    # a donor, a tissue and a study lie together both in the latents and, by what was sampled, in the ruler
    distances, ruler = (n + n.T - 3 * sum(m.astype(float) for m in shared) for n in noise)
    assert ruler_correlation(distances, ruler).value > 0.5
    found = nuisance_correlation(distances, ruler, donors=donors, tissues=tissues, studies=studies)
    above = np.triu_indices(36, 1)
    design = np.column_stack([np.ones(630), *[m[above] for m in shared]])
    left = []
    for matrix in (distances, ruler):
        ranks = rankdata(matrix[above])
        left.append(ranks - design @ np.linalg.solve(design.T @ design, design.T @ ranks))
    assert found.value == pytest.approx(pearsonr(*left)[0], abs=1e-12)
    assert abs(found.value) < 0.2
    order = rng.permutation(36)
    at = np.ix_(order, order)
    again = nuisance_correlation(
        distances[at], ruler[at], donors=donors[order], tissues=tissues[order], studies=studies[order]
    )
    assert again.value == pytest.approx(found.value, abs=1e-12)
    one_study = nuisance_correlation(distances, ruler, donors=donors, tissues=tissues, studies=np.zeros(36))
    assert "3 of 4 columns" in one_study.reason
    donor_is_study = nuisance_correlation(distances, ruler, donors=donors, tissues=tissues, studies=donors)
    assert donor_is_study.against(0.0) == "not computable"


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
    with pytest.raises(InputError, match="144 values that are not finite"):
        ruler_correlation(symmetric(0), np.full((N, N), np.nan))
    with pytest.raises(InputError, match="One donor per point"):
        nuisance_correlation(symmetric(0), symmetric(1), donors=[1], tissues=np.arange(N), studies=np.arange(N))
