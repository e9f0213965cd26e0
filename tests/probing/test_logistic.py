"""The batched logistic solver against scikit-learn, which is the readable reference."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from interp.errors import InputError
from interp.probing.logistic import WIDEST_BLOCK, LogisticPaths
from interp.probing.logistic_kernel import exponentials

PENALTIES = (1e-1, 1e-3, 1e-5)
LEFT_OUT = [(0,), (1,), (0, 1)]
# Wider than the training cells are many, and than blocks are inverted.
WIDE = WIDEST_BLOCK + 4


def cells(n_classes: int, width: int, seed: int = 0, n: int = 240):
    """Correlated features of unlike scale, classes of unlike size, four folds with a shift of their own."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(n_classes, n, p=np.arange(1, n_classes + 1) / np.arange(1, n_classes + 1).sum())
    folds = np.arange(n) % 4
    x = rng.standard_normal((n, width)) @ rng.standard_normal((width, width)) * rng.uniform(0.1, 30, width)
    x += 2.0 * rng.standard_normal((n_classes, width))[labels] + rng.standard_normal((4, width))[folds]
    return x, labels, folds


def reference(x, labels, penalty):
    """The same probe by scikit-learn, at its optimum."""
    strength = 1 / (penalty * x.shape[1] * len(x))
    probe = LogisticRegression(C=strength, class_weight="balanced", tol=1e-9, max_iter=1000, solver="newton-cholesky")
    return make_pipeline(StandardScaler(), probe).fit(x, labels)


def gradient_norm(fit, x, labels, penalty):
    """Norm of the gradient by the weights of the standardised features, written out."""
    mean, sd = x.mean(axis=0), x.std(axis=0)
    z, w = (x - mean) / sd, fit.coef * sd
    b = fit.intercept + fit.coef @ mean
    n_classes = len(b)
    weights = 1 / np.bincount(labels)[labels]
    weights /= weights.sum()
    pull = weights[:, None] * (softmax(z @ w.T + b, axis=1) - np.eye(n_classes)[labels])
    cost = penalty * x.shape[1] * (2 if n_classes == 2 else 1)
    return np.sqrt(((pull.T @ z + cost * w) ** 2).sum() + (pull.sum(axis=0) ** 2).sum())


def test_the_exponential_is_exact():
    x = -np.concatenate([np.zeros(1), np.geomspace(1e-9, 700, 999), [800.0]])
    found = x.copy()
    exponentials(found, np.empty(len(x), np.int64))
    np.testing.assert_allclose(found[:-1], np.exp(x[:-1]), rtol=1e-13)
    assert found[-1] < 1e-300


@pytest.mark.parametrize(("n_classes", "width"), [(2, 5), (6, 5), (2, 40), (6, 40), (2, WIDE), (3, WIDE)])
def test_every_subset_and_penalty_reaches_scikit_learns_optimum(n_classes, width):
    x, labels, folds = cells(n_classes, width)
    run = LogisticPaths(x, folds, LEFT_OUT, PENALTIES, tolerance=1e-9).start(labels)
    for subset, left_out in enumerate(LEFT_OUT):
        train = ~np.isin(folds, left_out)
        for place, penalty in enumerate(PENALTIES):
            fit = run.fit(subset, place)
            assert fit.converged
            assert gradient_norm(fit, x[train], labels[train], penalty) < 1e-6
            expected = reference(x[train], labels[train], penalty).predict_log_proba(x)
            np.testing.assert_allclose(softmax(fit.logits(x), axis=1), np.exp(expected), atol=2e-5)


@pytest.mark.parametrize("width", [40, WIDE])
def test_at_the_default_tolerance_the_auroc_is_that_of_the_optimum(width):
    x, labels, folds = cells(3, width, seed=3)
    run = LogisticPaths(x, folds, LEFT_OUT, PENALTIES).start(labels)
    for subset, left_out in enumerate(LEFT_OUT):
        train, test = ~np.isin(folds, left_out), np.isin(folds, left_out)
        for place, penalty in enumerate(PENALTIES):
            shares = softmax(run.fit(subset, place).logits(x[test]), axis=1)
            expected = reference(x[train], labels[train], penalty).predict_proba(x[test])
            ours, theirs = (roc_auc_score(labels[test], p, multi_class="ovr") for p in (shares, expected))
            assert ours == pytest.approx(theirs, abs=1e-3)


def test_the_loss_is_the_penalised_mean_over_classes():
    x, labels, folds = cells(3, 4)
    fit = LogisticPaths(x, folds, [()], [1e-2]).start(labels).fit(0, 0)
    loss = -log_softmax(fit.logits(x), axis=1)[np.arange(len(x)), labels]
    by_class = np.mean([loss[labels == name].mean() for name in range(3)])
    cost = 0.5 * 1e-2 * 4 * ((fit.coef * x.std(axis=0)) ** 2).sum()
    assert fit.loss == pytest.approx(by_class + cost, rel=1e-9)


@pytest.mark.parametrize("subsets", [[(0,)], [(0,), (1,)]])  # fitted alone, and from the fit of all cells
def test_a_class_that_the_training_cells_lack_is_never_predicted(subsets):
    x, labels, folds = cells(3, 6)
    labels = np.where(folds == 0, labels, np.minimum(labels, 1))  # class 2 in fold 0 alone
    logits = LogisticPaths(x, folds, subsets, [1e-3], tolerance=1e-9).start(labels).fit(0, 0).logits(x)
    assert np.isneginf(logits[:, 2]).all()
    # two of three classes pay for two opposite weight vectors: half of what one for both would
    train = folds != 0
    expected = reference(x[train], labels[train], 5e-4).decision_function(x)
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], expected, atol=1e-4)


def test_a_feature_that_is_constant_in_training_gets_no_say():
    x, labels, folds = cells(2, 5)
    x[folds != 0, 1] = 7.0
    x[:, 2] = -3.0
    fit = LogisticPaths(x, folds, [(0,), (1,)], [1e-3], tolerance=1e-10).start(labels).fit(0, 0)
    keep = [0, 3, 4]
    cost = 1e-3 * 5 / 3  # penalties are per feature
    less = LogisticPaths(x[:, keep], folds, [(0,), (1,)], [cost], tolerance=1e-10).start(labels).fit(0, 0)
    np.testing.assert_allclose(fit.logits(x), less.logits(x[:, keep]), atol=1e-4)


def test_a_fit_does_not_depend_on_what_was_fitted_before():
    x, labels, folds = cells(3, 8)
    paths = LogisticPaths(x, folds, LEFT_OUT, PENALTIES)
    alone = paths.start(labels).fit(1, 2)
    run = paths.start(labels)
    for place in range(3):
        run.fit(0, place)
    np.testing.assert_array_equal(run.fit(1, 2).coef, alone.coef)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.zeros((4, 0))}, "expected (cell, feature)"),
        ({"features": np.full((4, 2), np.nan)}, "not finite"),
        ({"penalties": []}, "at least one"),
        ({"penalties": [0.0]}, "above zero"),
        ({"left_out": [(0, 1)]}, "no cell is left"),
    ],
)
def test_what_cannot_be_fitted_is_said(change, message):
    given = {"features": np.eye(4), "folds": [0, 0, 1, 1], "left_out": [(0,)], "penalties": [1.0]} | change
    with pytest.raises(InputError, match=message.replace("(", r"\(").replace(")", r"\)")):
        LogisticPaths(**given)


def test_one_class_in_training_is_an_error():
    with pytest.raises(InputError, match="hold 1 class; a probe needs two"):
        LogisticPaths(np.eye(4), [0, 0, 1, 1], [(1,)], [1.0]).start([0, 0, 0, 1])
