"""Readouts: planted classes are found, scikit-learn agrees, what cannot be fitted is left out."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from interp.errors import InputError
from interp.extraction.readout import (
    MAX_CELLS_PER_CLASS,
    N_HIDDEN,
    fit_classes,
    fit_depth,
    fit_readouts,
    root_centroid,
)
from interp.runs.seeds import stream


def planted(sizes, n_latent=4, seed=0, spread=0.3):
    rng = np.random.default_rng(seed)
    centres = 5.0 * rng.standard_normal((len(sizes), n_latent))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return centres[labels] + spread * rng.standard_normal((len(labels), n_latent)), labels


def frame(stages, **columns):
    stage = pd.Series(stages, dtype=object)
    given = {"branch": stage, "depth": np.nan, "cell_type": stage} | columns
    return pd.DataFrame({"stage": stage, **given})


@pytest.mark.parametrize("n_classes", [2, 3])
def test_it_is_scikit_learns_balanced_logistic_regression_without_the_scaler(n_classes):
    z, labels = planted([40, 60, 20][:n_classes], spread=4.0)
    names = np.array(["a", "b", "c"], dtype=object)[labels]
    readout = fit_classes(z, names, name="stage")
    scaler = StandardScaler().fit(z)
    reference = LogisticRegression(class_weight="balanced", max_iter=1000).fit(scaler.transform(z), names)
    expected = reference.predict_proba(scaler.transform(z))
    np.testing.assert_allclose(readout.predict_proba(z), expected, atol=1e-4)
    assert list(readout.predict(z)) == list(reference.predict(scaler.transform(z)))


def test_parameters_are_counted_as_they_are_stored():
    z, labels = planted([20, 20, 20])
    names = np.array(["a", "b", "c"], dtype=object)[labels]
    assert fit_classes(z, names, name="stage").n_parameters == 3 * (4 + 1)
    assert fit_classes(z[:40], names[:40], name="stage").n_parameters == 4 + 1
    assert fit_depth(z, labels.astype(float)).n_parameters == 4 + 1


def test_depth_weighs_every_depth_alike_whatever_its_cells():
    rng = np.random.default_rng(0)
    z = np.concatenate([rng.normal(0, 1, 400), rng.normal(1, 1, 10), rng.normal(2, 1, 10)])[:, None]
    depth = np.repeat([0.0, 1.0, 2.0], [400, 10, 10])
    doubled = np.concatenate([z, z[:400]]), np.concatenate([depth, depth[:400]])
    once, twice = fit_depth(z, depth), fit_depth(*doubled)
    np.testing.assert_allclose(once.predict(z), twice.predict(z), atol=0.02)


def test_large_classes_are_drawn_from_in_the_same_way_each_time():
    z, labels = planted([3 * MAX_CELLS_PER_CLASS, 30], spread=6.0)
    names = np.array(["a", "b"], dtype=object)[labels]
    first, second = (fit_classes(z, names, name="stage", seed=1) for _ in range(2))
    np.testing.assert_array_equal(first.coef, second.coef)
    assert not np.array_equal(first.coef, fit_classes(z, names, name="stage", seed=2).coef)


def test_coarse_cell_types_count_for_a_pair_when_all_their_stages_lie_on_one_side():
    z, labels = planted([20, 20, 20])
    stage = np.array([None, "naive CD8 T", None], dtype=object)[labels]
    cell_type = np.array(["CD4 T cell", "CD8 T cell", "T cell"], dtype=object)[labels]
    candidates = {"CD4 T cell": ("naive CD4 T", "memory CD4 T"), "T cell": ("naive CD4 T", "naive CD8 T")}
    obs = frame(stage, branch="T", cell_type=cell_type)
    assert "CD4/CD8" not in fit_readouts(z, obs)
    pair = fit_readouts(z, obs, candidates=candidates)["CD4/CD8"]
    assert pair.classes == ("CD4", "CD8")
    assert list(pair.predict(z[:40])) == ["CD4"] * 20 + ["CD8"] * 20


def test_what_the_labels_do_not_allow_is_left_out():
    z, labels = planted([20, 20, 3])
    stage = np.array(["a", "b", "rare"], dtype=object)[labels]
    readouts = fit_readouts(z, frame(stage, branch=None))
    assert readouts.keys() == {"stage"}
    assert readouts["stage"].classes == ("a", "b")


def test_root_is_the_centroid_of_the_shallowest_stage():
    z = np.array([[1.0, 0.0], [3.0, 0.0], [9.0, 9.0], [5.0, 5.0]])
    obs = frame(["MPP", "MPP", "GMP", None], depth=[1.0, 1.0, 3.0, 0.0])
    stage, centroid = root_centroid(z, obs)
    assert (stage, centroid.tolist()) == ("MPP", [2.0, 0.0])
    with pytest.raises(InputError, match="pseudotime has no root"):
        root_centroid(z, frame([None] * 4))


def test_bad_latents_and_pairs_are_named():
    z, labels = planted([20, 20])
    obs = frame(labels.astype(str))
    with pytest.raises(InputError, match="do not fit 40 rows"):
        fit_readouts(z[:-1], obs)
    with pytest.raises(InputError, match="NaN or infinite"):
        fit_readouts(np.where(z > 0, np.nan, z), obs)
    with pytest.raises(InputError, match="need two sides"):
        fit_readouts(z, obs, pairs={"lonely": {"a": ("0",)}})


def donors_of(n, n_donors=5):
    return [f"donor{i % n_donors}" for i in range(n)]


def test_two_layers_read_what_one_cannot():
    rng = np.random.default_rng(1)
    z = rng.standard_normal((800, 3))
    names = np.where(z[:, 0] * z[:, 1] > 0, "same", "other").astype(object)
    depth = np.abs(z[:, 0])
    linear, two = (fit_classes(z[:400], names[:400], name="stage", hidden=units) for units in (0, N_HIDDEN))
    assert (linear.predict(z[400:]) == names[400:]).mean() < 0.65
    assert (two.predict(z[400:]) == names[400:]).mean() > 0.9
    assert two.hidden[0].shape == (N_HIDDEN, 3)
    assert two.n_parameters == N_HIDDEN * (3 + 1) + N_HIDDEN + 1
    line, bent = (fit_depth(z[:400], np.round(depth[:400], 1), hidden=units) for units in (0, N_HIDDEN))
    assert np.corrcoef(line.predict(z[400:]), depth[400:])[0, 1] < 0.3
    assert np.corrcoef(bent.predict(z[400:]), depth[400:])[0, 1] > 0.9
    assert bent.n_parameters == N_HIDDEN * (3 + 1) + N_HIDDEN + 1


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_exported_layers_are_scikit_learns(n_classes):
    z, labels = planted([40, 40, 40][:n_classes], spread=4.0)
    names = np.array(["a", "b", "c"], dtype=object)[labels]
    readout = fit_classes(7.0 * z + 3.0, names, name="stage", hidden=4, seed=3)
    again = fit_classes(7.0 * z + 3.0, names, name="stage", hidden=4, seed=3)
    np.testing.assert_array_equal(readout.hidden[0], again.hidden[0])
    start = int(stream(3, "readout-stage-layer").integers(2**31))
    settings = {"solver": "lbfgs", "alpha": 1.0, "max_iter": 200, "random_state": start}
    reference = MLPClassifier((4,), **settings)
    scaled = StandardScaler().fit_transform(z)
    reference.fit(scaled, labels)
    np.testing.assert_allclose(readout.predict_proba(7.0 * z + 3.0), reference.predict_proba(scaled), atol=1e-3)


def test_readouts_are_calibrated_on_donors_where_there_are_any():
    z, labels = planted([60, 60, 60], spread=6.0)
    stage = np.array(["a", "b", "c"], dtype=object)[labels]
    without = fit_readouts(z, frame(stage, depth=labels.astype(float)))
    assert without["stage"].temperature is None
    assert without["stage"].report == {}
    found = fit_readouts(z, frame(stage, depth=labels.astype(float), donor=donors_of(180)))
    assert found["stage"].n_parameters == without["stage"].n_parameters + 1
    assert found["depth"].temperature is None
    assert found["stage"].report["n_cells"] == 180
    np.testing.assert_array_equal(found["stage"].coef, without["stage"].coef)
    np.testing.assert_array_equal(found["stage"].predict(z), without["stage"].predict(z))
    sharpness = [found["stage"].predict_proba(z).max(), without["stage"].predict_proba(z).max()]
    assert (sharpness[0] < sharpness[1]) == (found["stage"].temperature > 1)
