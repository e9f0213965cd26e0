from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import spearmanr
from sklearn.metrics import balanced_accuracy_score, r2_score, roc_auc_score

from interp.probing.metrics import AUROC, BALANCED, LOG_LOSS, R2, SPEARMAN, DonorClasses, DonorNumbers


@pytest.fixture
def tested():
    rng = np.random.default_rng(0)
    labels, donors = rng.integers(0, 3, 90), np.repeat([0, 1, 3], 30)
    return labels, donors, np.round(rng.standard_normal((90, 3)) + np.eye(3)[labels], 1)


def test_each_donors_scores_are_scikit_learns(tested):
    labels, donors, logits = tested
    found = DonorClasses(labels, donors, 4, 3, np.ones(3, bool)).metrics(logits)
    for donor in (0, 1, 3):
        y, z = labels[donors == donor], logits[donors == donor]
        p = softmax(z, axis=1)
        assert found[BALANCED][donor] == pytest.approx(balanced_accuracy_score(y, z.argmax(axis=1)))
        assert found[AUROC][donor] == pytest.approx(roc_auc_score(y, p, multi_class="ovr"))
        loss = -np.log(p[np.arange(len(y)), y])
        assert -found[LOG_LOSS][donor] == pytest.approx(np.mean([loss[y == name].mean() for name in range(3)]))
    assert all(np.isnan(values[2]) for values in found.values())


def test_equal_scores_count_half():
    found = DonorClasses(np.array([0, 1, 0, 1]), np.zeros(4, int), 1, 2, np.ones(2, bool)).metrics(np.zeros((4, 2)))
    assert found[AUROC][0] == 0.5
    assert found[LOG_LOSS][0] == pytest.approx(-np.log(2))


def test_cells_of_an_untrained_class_are_not_scored(tested):
    labels, donors, logits = tested
    trained = np.array([True, True, False])
    logits = np.where(trained, logits, -np.inf)
    found = DonorClasses(labels, donors, 4, 3, trained).metrics(logits)
    kept = labels < 2
    less = DonorClasses(labels[kept], donors[kept], 4, 2, trained[:2]).metrics(logits[kept, :2])
    for name, values in found.items():
        np.testing.assert_allclose(values, less[name])


def test_a_donor_with_one_class_is_not_scored():
    found = DonorClasses(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), 2, 2, np.ones(2, bool)).metrics(
        np.eye(4)[:, :2]
    )
    assert np.isnan(found[BALANCED]).tolist() == [True, False]


def test_numbers_are_scored_within_donors():
    rng = np.random.default_rng(1)
    values, donors = rng.standard_normal(60), np.repeat([0, 2], 30)
    predicted = values + rng.standard_normal(60) + 5.0 * donors
    found = DonorNumbers(values, donors, 3)
    scores = found.metrics(predicted)
    for donor in (0, 2):
        p, y = predicted[donors == donor], values[donors == donor]
        assert scores[SPEARMAN][donor] == pytest.approx(spearmanr(p, y).statistic)
        assert scores[R2][donor] == pytest.approx(r2_score(y, p))
        assert found.loss(predicted)[donor] == pytest.approx(np.mean((p - y) ** 2))
    assert np.isnan(scores[SPEARMAN][1])


def test_a_constant_prediction_orders_nothing_and_a_constant_target_is_not_scored():
    scores = DonorNumbers(np.array([1.0, 2.0, 3.0, 3.0]), np.array([0, 0, 1, 1]), 2).metrics(np.ones(4))
    assert scores[SPEARMAN][0] == 0
    assert np.isnan(scores[SPEARMAN][1])
