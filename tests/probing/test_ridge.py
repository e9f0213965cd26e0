"""Closed-form ridge against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from interp.errors import InputError
from interp.probing.ridge import ridge_paths

PENALTIES = (1e-1, 1e-3, 1e-5)
LEFT_OUT = [(), (0,), (1, 2)]


def cells(width: int, n: int = 120):
    rng = np.random.default_rng(width)
    x = rng.standard_normal((n, width)) @ rng.standard_normal((width, width)) * rng.uniform(0.1, 30, width) + 50.0
    return x, 10 * rng.standard_normal((n, 3)) + x[:, :1] + 400.0, np.arange(n) % 5


@pytest.mark.parametrize("width", [1, 8, 70, 150])
def test_every_subset_penalty_and_target_equals_scikit_learn(width):
    x, y, folds = cells(width)
    fits = ridge_paths(x, y, folds, LEFT_OUT, PENALTIES)
    for fit, left_out in zip(fits, LEFT_OUT, strict=True):
        train = ~np.isin(folds, left_out)
        for place, penalty in enumerate(PENALTIES):
            model = make_pipeline(StandardScaler(), Ridge(alpha=penalty * width * train.sum()))
            expected = model.fit(x[train], y[train]).predict(x)
            np.testing.assert_allclose(fit.predict(x)[place].T, expected, rtol=1e-8, atol=1e-8)


def test_a_feature_that_is_constant_in_training_gets_no_say():
    x, y, folds = cells(6)
    x[folds != 0, 2] = 7.0
    x[:, 3] = 1e9
    keep = [0, 1, 4, 5]
    fit = ridge_paths(x, y, folds, [(0,)], [1e-3])[0]
    less = ridge_paths(x[:, keep], y, folds, [(0,)], [1e-3 * 6 / 4])[0]  # penalties are per feature
    np.testing.assert_allclose(fit.predict(x), less.predict(x[:, keep]), rtol=1e-8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": np.zeros(4)}, "finite numbers"),
        ({"targets": np.full((4, 1), np.inf)}, "finite numbers"),
        ({"penalties": [-1.0]}, "above zero"),
        ({"left_out": [(0, 1)]}, "no cell is left"),
    ],
)
def test_what_cannot_be_fitted_is_said(change, message):
    given = {"features": np.eye(4), "targets": np.eye(4), "folds": [0, 0, 1, 1], "left_out": [(0,)], "penalties": [1.0]}
    with pytest.raises(InputError, match=message):
        ridge_paths(**given | change)
