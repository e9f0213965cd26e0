import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from interp.errors import InputError
from interp.figures import distance_ruler
from interp.figures.look import text_of

from .conftest import words

N = 12
STAGE = np.arange(N) % 4
RULER = np.abs(STAGE[:, None] - STAGE).astype(float)
OBS = pd.DataFrame({"study": ["a"] * 6 + ["b"] * 6})


def noisy(seed=0):
    noise = np.random.default_rng(seed).normal(size=(N, N))
    return RULER + noise + noise.T


def test_correlations_are_over_pairs_of_different_stages_and_within_studies():
    distances = noisy()
    i, j = np.triu_indices(N, 1)
    different = RULER[i, j] > 0
    within = different & (OBS["study"].to_numpy()[i] == OBS["study"].to_numpy()[j])
    everything = spearmanr(distances[i, j][different], RULER[i, j][different]).statistic
    inside = spearmanr(distances[i, j][within], RULER[i, j][within]).statistic
    note = text_of(distance_ruler(distances, RULER, OBS), "note").replace("\u2212", "-")
    assert note == f"Spearman, different stages: all {everything:.2f}, within a study {inside:.2f}; 12 anchors"


def test_pairs_are_counted_once_and_told_apart():
    text = words(distance_ruler(noisy(), RULER, OBS))
    assert "within a study (30 pairs)" in text
    assert "between studies (36 pairs)" in text


def test_one_study_has_no_pairs_between():
    text = words(distance_ruler(noisy(), RULER, OBS.assign(study="a")))
    assert "between studies" not in text


def test_given_correlations_are_stated_instead():
    note = text_of(distance_ruler(noisy(), RULER, OBS, rho={"stage pairs": 0.4, "within a study": None}), "note")
    assert note.startswith("correlation: stage pairs 0.40, within a study not computable")


def test_a_constant_ruler_and_missing_distances_are_not_computable():
    assert "all not computable" in text_of(distance_ruler(noisy(), np.ones((N, N)), OBS), "note")
    assert "all not computable" in text_of(distance_ruler(noisy() * np.nan, RULER, OBS), "note")


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="must both be"):
        distance_ruler(noisy(), RULER[:3], OBS)
