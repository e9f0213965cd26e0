"""Frozen readouts are the probes of nested cross-validation, and their differentiable metrics are what they say."""

import numpy as np
import pandas as pd
import pytest

from interp.ablation.frozen import LOG_ODDS, SLOPE, deviation, fit_readouts, log_odds
from interp.probing.nested import cross_validate, make_folds
from interp.probing.sites import Representation
from interp.probing.targets import read_task

PENALTIES = (1e-1, 1e-2, 1e-3)


def world(target, n_donors=6, n_cells=30):
    rng = np.random.default_rng(2)
    n = n_donors * n_cells
    kind = np.tile(np.arange(3), n // 3)
    obs = pd.DataFrame({"donor": np.repeat([f"d{i}" for i in range(n_donors)], n_cells)})
    obs["kind"], obs["depth"] = np.array(list("abc"))[kind], kind + rng.standard_normal(n)
    x = rng.standard_normal((n, 5)) + np.eye(5)[kind] * 1.5
    task = read_task(obs, target)
    return x[task.rows], task, make_folds(task, max_folds=3)


@pytest.mark.parametrize("target", ["kind", "depth"])
def test_scores_are_those_of_nested_cross_validation(target):
    x, task, folds = world(target)
    whole = Representation("x", "x", None, None, x)
    expected = cross_validate(whole, task, folds, task.values[None], PENALTIES)
    frozen = fit_readouts(x, task, folds, PENALTIES)
    found = frozen.scores(frozen.read(x, np.arange(len(x))))
    for metric, values in expected.score.items():
        np.testing.assert_allclose(found[metric][0], values[0], atol=1e-4)
        np.testing.assert_allclose(found[metric][1:], expected.select[metric][0], atol=1e-4)
    assert np.isnan(found[frozen.metrics[0]][1:, :][np.arange(3)[:, None] == frozen.fold_of_donor]).all()


def test_what_chooses_for_a_fold_has_not_seen_it():
    x, task, folds = world("kind")
    before = fit_readouts(x, task, folds, PENALTIES[:1])
    changed = x.copy()
    changed[folds.of_cell == 1] += 100.0  # whatever the donors of fold 1 are like
    after = fit_readouts(changed, task, folds, PENALTIES[:1])
    for own in (0, 2):
        np.testing.assert_allclose(after.coef[own, 1 + 1], before.coef[own, 1 + 1], rtol=1e-5, atol=1e-7)
        assert np.abs(after.coef[own, 0] - before.coef[own, 0]).max() > 1e-3
    np.testing.assert_allclose(after.coef[1, 0], before.coef[1, 0], rtol=1e-5, atol=1e-7)


def test_log_odds_by_hand():
    logits = np.log([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    assert log_odds(logits, np.array([0, 1])).tolist() == pytest.approx([np.log(0.5 / 0.5), np.log(0.1 / 0.9)])
    absent = np.array([[0.0, 0.0, -np.inf]])
    assert log_odds(absent, np.array([0])).tolist() == pytest.approx([0.0])


@pytest.mark.parametrize(("target", "metric"), [("kind", LOG_ODDS), ("depth", SLOPE)])
def test_the_differentiable_metric_is_the_weighted_mean_of_its_cells(target, metric):
    x, task, folds = world(target)
    frozen = fit_readouts(x, task, folds, PENALTIES)
    read = frozen.read(x, np.arange(len(x)))
    each = log_odds(read[:, 0], frozen.values) if target == "kind" else read[:, 0, 0] * frozen.contrast
    np.testing.assert_allclose(frozen.weights() @ each, frozen.scores(read)[metric][0])
    np.testing.assert_allclose(frozen.weights().sum(axis=1), 1.0)


def test_the_slope_is_that_of_a_regression_on_the_truth():
    rng = np.random.default_rng(0)
    truth, donor = rng.standard_normal(40), np.repeat([0, 1], 20)
    read = 0.7 * truth + rng.standard_normal(40)
    contrast = deviation(truth, donor, 2)
    for number in (0, 1):
        own = donor == number
        assert np.mean(read[own] * contrast[own]) == pytest.approx(np.polyfit(truth[own], read[own], 1)[0])
    assert np.isnan(deviation(np.ones(4), np.zeros(4, int), 1)).all()


def test_a_class_that_the_training_donors_lack_is_not_scored():
    rng = np.random.default_rng(1)
    obs = pd.DataFrame({"donor": np.repeat(list("abcd"), 24), "kind": np.tile(["x", "y"], 48)})
    obs.loc[(obs["donor"].isin(["a", "b"])) & (np.arange(96) % 3 == 0), "kind"] = "rare"
    x = rng.standard_normal((96, 3)) + 2.0 * np.eye(3)[pd.factorize(obs["kind"])[0]]
    task = read_task(obs, "kind")
    folds = make_folds(task, max_folds=2)
    of_donor = {name: folds.of_donor[place] for place, name in enumerate(task.donors)}
    if of_donor["a"] != of_donor["b"]:  # put the two that have it into one fold
        folds = type(folds)(np.where(np.isin(task.donor, [0, 1]), 0, 1), np.array([0, 0, 1, 1]), 2)
    with pytest.raises(Exception, match="no cell is left"):
        fit_readouts(x, task, folds, PENALTIES)  # two folds leave nobody to choose by
    folds = type(folds)(np.select([np.isin(task.donor, [0, 1]), task.donor == 2], [0, 1], 2), np.array([0, 0, 1, 2]), 3)
    frozen = fit_readouts(x, task, folds, PENALTIES)
    rare = task.classes.index("rare")
    assert np.isneginf(frozen.intercept[0, 0, rare])
    assert not frozen.known[(frozen.values == rare) & (frozen.fold == 0)].any()
    found = frozen.scores(frozen.read(x, np.arange(len(x))))
    assert np.isfinite(found["balanced_accuracy"][0]).all()
    assert np.isfinite(found[LOG_ODDS][0]).all()
    np.testing.assert_allclose(
        found[LOG_ODDS][0],
        frozen.weights() @ np.where(frozen.known, log_odds(frozen.read(x, np.arange(96))[:, 0], frozen.values), 0.0),
    )
