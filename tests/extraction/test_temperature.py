"""Temperatures are found where they were planted, and their worth is measured on donors that nothing has seen."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from interp.extraction.folds import Fold, held_out_rows
from interp.extraction.runner.algorithm import Readout
from interp.extraction.temperature import calibrate, calibration_error, fit_temperature, log_loss

NAMES = np.array(["a", "b", "c"], dtype=object)


def drawn(temperature, n=6000, seed=0):
    """Scores whose classes were drawn from the softmax of the scores over a temperature."""
    rng = np.random.default_rng(seed)
    scores = 3.0 * rng.standard_normal((n, 3))
    uniform = rng.random((n, 1))
    true = (np.cumsum(softmax(scores / temperature, axis=1), axis=1) < uniform).sum(axis=1)
    return scores, np.minimum(true, 2)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_planted_temperature_is_found_and_calibrates(temperature):
    parts = [(*drawn(temperature), tuple(NAMES))]
    found = fit_temperature(parts)
    assert found == pytest.approx(temperature, rel=0.05)
    assert calibration_error(parts, found) < 0.02
    if temperature != 1.0:
        assert calibration_error(parts, 1.0) > 0.05
        assert log_loss(parts, found) < log_loss(parts, 1.0)


def test_figures_by_hand():
    scores = np.log([[0.85, 0.15], [0.85, 0.15], [0.35, 0.65]])
    parts = [(scores, np.array([0, 1, 1]), ("a", "b"))]
    # class a has one row and weighs 1/2, class b has two and each weighs 1/4
    assert log_loss(parts, 1.0) == pytest.approx(-np.log(0.85) / 2 - np.log(0.15) / 4 - np.log(0.65) / 4)
    in_85, in_65 = 0.5 * (0.85 - 1) + 0.25 * (0.85 - 0), 0.25 * (0.65 - 1)
    assert calibration_error(parts, 1.0) == pytest.approx(abs(in_85) + abs(in_65))


def test_parts_may_differ_in_their_classes():
    parts = [(np.zeros((2, 2)), np.array([0, 1]), ("a", "b")), (np.zeros((1, 3)), np.array([2]), ("a", "b", "c"))]
    assert log_loss(parts, 1.0) == pytest.approx((2 * np.log(2) + np.log(3)) / 3)


def overconfident(calls):
    """A fit that ignores its rows and claims four times too much; it notes which rows it saw."""

    def fit(latents, labels):
        calls.append(set(latents[:, -1].astype(int)))
        coef = 4.0 * np.eye(3, latents.shape[1])
        return Readout(tuple(NAMES), coef, np.zeros(3))

    return fit


def test_calibration_never_looks_at_the_donors_it_is_judged_on():
    scores, true = drawn(1.0, n=1200)
    latents = np.hstack([scores, np.arange(1200)[:, None]])
    donors = np.arange(1200) % 4
    folds = [Fold(donors == donor, latents) for donor in range(4)]
    calls = []
    temperature, report = calibrate(overconfident(calls), NAMES[true], folds)
    assert temperature == pytest.approx(4.0, rel=0.1)
    assert report["log_loss_after"] < report["log_loss_before"]
    assert report["ece_after"] < 0.05 < report["ece_before"]
    assert report["n_cells"] == 1200
    rows = [set(np.flatnonzero(donors == donor)) for donor in range(4)]
    assert calls[:4] == [set(range(1200)) - held for held in rows]
    pairs = [set(range(1200)) - rows[i] - rows[j] for i in range(4) for j in range(4) if i != j]
    assert calls[4:] == pairs


def test_a_temperature_that_helps_no_unseen_donor_is_not_kept():
    scores, true = drawn(1.0, n=900)
    latents = np.hstack([scores, np.arange(900)[:, None]])
    donors = np.arange(900) % 3
    # every donor is miscalibrated in another way, so no temperature is right for the next one
    latents[:, :3] *= np.array([4.0, 0.1, 1.0])[donors][:, None] / 4.0
    temperature, report = calibrate(overconfident([]), NAMES[true], [Fold(donors == d, latents) for d in range(3)])
    assert report["log_loss_after"] >= report["log_loss_before"]
    assert (temperature, report["temperature"]) == (1.0, 1.0)
    assert report["fitted"] != 1.0


def test_two_donors_give_a_temperature_and_no_figures_of_its_worth():
    scores, true = drawn(1.0, n=800)
    folds = [Fold(np.arange(800) % 2 == donor, scores) for donor in range(2)]
    temperature, report = calibrate(
        lambda z, _: Readout(tuple(NAMES), 4.0 * np.eye(3), np.zeros(3)), NAMES[true], folds
    )
    assert temperature == pytest.approx(4.0, rel=0.15)
    assert report["log_loss_after"] is None


def test_nothing_to_score_gives_no_temperature():
    assert calibrate(lambda z, _: None, NAMES[[0, 1]], [Fold(np.array([True, False]), np.ones((2, 3)))]) == (None, {})


def test_the_only_donor_of_a_study_always_trains():
    obs = pd.DataFrame({"donor": list("aabbccdz"), "study": list("11111112")})
    folds = held_out_rows(obs, n_folds=4)
    assert len(folds) == 4
    assert np.sum(folds, axis=0).tolist() == [1] * 7 + [0]
    assert held_out_rows(obs.assign(study=list("11223345"))) == []
    assert held_out_rows(obs.drop(columns="donor")) == []
    assert len(held_out_rows(obs.drop(columns="study"), n_folds=2)) == 2
