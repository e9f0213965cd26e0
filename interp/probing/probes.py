"""Linear probes from training donors to unseen ones, with all labels or with few."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interp.errors import InputError
from interp.runs.seeds import stream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    Representations = Mapping[str, tuple[NDArray, NDArray]]

C = 1.0  # inverse ridge of scikit-learn's logistic regression, its default; on standardised features
RIDGE = 1.0  # ridge of scikit-learn's linear regression, its default; on standardised features
MAX_ITER = 500


def probe_classes(
    representations: Representations,
    train_labels: ArrayLike,
    test_labels: ArrayLike,
    *,
    per_class: int | None = None,
    repeats: int = 1,
    seed: int = 0,
) -> pd.DataFrame:
    """Fit a multinomial logistic probe on training cells and score it on test cells.

    Parameters
    ----------
    representations
        Name to (training cell, feature) and (test cell, feature).
    train_labels, test_labels
        Class of each cell; classes that one side lacks are left out.
    per_class
        Number of labelled training cells of each class; all when None.
    repeats
        Draws of the labelled cells.
    seed
        Seed of the draws, the same for every representation.

    Returns
    -------
    pandas.DataFrame
        representation, balanced_accuracy (mean over repeats), sd (over repeats), n_train, n_test, n_classes.

    Raises
    ------
    InputError
        Fewer than two classes occur on both sides.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train_labels, test_labels = np.asarray(train_labels, dtype=object), np.asarray(test_labels, dtype=object)
    shared = sorted(set(train_labels[pd.notna(train_labels)]) & set(test_labels[pd.notna(test_labels)]))
    if len(shared) < 2:
        msg = f"a probe needs two classes that training and test cells share; these share {shared}"
        raise InputError(msg)
    test = np.flatnonzero(np.isin(test_labels, shared))
    draws = _draws(train_labels, shared, per_class, repeats, seed)

    def score(x: NDArray, y: NDArray, rows: NDArray) -> float:
        logistic = LogisticRegression(C=C, max_iter=MAX_ITER, class_weight="balanced")
        probe = make_pipeline(StandardScaler(), logistic).fit(x[rows], train_labels[rows])
        return float(balanced_accuracy_score(test_labels[test], probe.predict(y[test])))

    return _table(representations, score, draws, "balanced_accuracy", n_test=len(test), n_classes=len(shared))


def probe_value(
    representations: Representations,
    train_values: ArrayLike,
    test_values: ArrayLike,
    *,
    n_labels: int | None = None,
    repeats: int = 1,
    seed: int = 0,
) -> pd.DataFrame:
    """Fit a ridge probe of a number, such as depth, and return its Spearman correlation on test cells.

    Parameters
    ----------
    representations
        Name to (training cell, feature) and (test cell, feature).
    train_values, test_values
        Number of each cell; NaN is left out.
    n_labels
        Number of labelled training cells; all when None.
    repeats
        Draws of the labelled cells.
    seed
        Seed of the draws, the same for every representation.

    Returns
    -------
    pandas.DataFrame
        representation, spearman (mean over repeats), sd (over repeats), n_train, n_test.
    """
    from scipy.stats import spearmanr
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train_values, test_values = np.asarray(train_values, float), np.asarray(test_values, float)
    known, test = np.flatnonzero(np.isfinite(train_values)), np.flatnonzero(np.isfinite(test_values))
    rng = stream(seed, "probing.few labels")
    draws = [np.sort(rng.permutation(known)[: n_labels or len(known)]) for _ in range(repeats if n_labels else 1)]

    def score(x: NDArray, y: NDArray, rows: NDArray) -> float:
        probe = make_pipeline(StandardScaler(), Ridge(RIDGE)).fit(x[rows], train_values[rows])
        return float(spearmanr(probe.predict(y[test]), test_values[test]).statistic)

    return _table(representations, score, draws, "spearman", n_test=len(test))


def _draws(labels: NDArray, shared: list, per_class: int | None, repeats: int, seed: int) -> list[NDArray]:
    members = [np.flatnonzero(labels == name) for name in shared]
    if per_class is None:
        return [np.sort(np.concatenate(members))]
    rng = stream(seed, "probing.few labels")
    return [np.sort(np.concatenate([rng.permutation(m)[:per_class] for m in members])) for _ in range(repeats)]


def _table(representations: Representations, score, draws: list[NDArray], metric: str, **facts: int) -> pd.DataFrame:
    rows = []
    for name, (x, y) in representations.items():
        values = [score(x, y, draw) for draw in draws]
        rows.append(
            {"representation": name, metric: np.mean(values), "sd": np.std(values), "n_train": len(draws[0]), **facts}
        )
    return pd.DataFrame(rows)
