"""Predictions of the probes that nested cross-validation asks for, fitted one by one or subset by subset.

Narrow features that no subset changes are fitted when asked for, each from the fit of all cells. Wide ones, and those
that are learned on the training cells, would need much memory for every subset at a time, so each subset is done with
before the next begins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.probing.logistic import WIDEST_BLOCK, LogisticPaths, LogisticRun
from interp.probing.ridge import RidgeFits, ridge_paths

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from interp.probing.nested import Folds

    # From a draw, a subset and the place of a penalty to predictions for the cells that the subset leaves out:
    # logits (cell, class), or numbers (cell,).
    Predict = Callable[[int, int, int], NDArray]


def predictor(
    features: NDArray | Callable[[NDArray], NDArray],
    folds: Folds,
    labels: NDArray,
    penalties: Sequence[float],
    *,
    is_number: bool,
) -> Predict:
    """Make the predictor of one representation.

    Parameters
    ----------
    features
        (cell, feature), or a function from the rows of training cells to that.
    folds
        Division of the donors.
    labels
        (draw, cell).
    penalties
        Penalties per feature.
    is_number
        Whether the labels are numbers rather than class codes.

    Returns
    -------
    callable
    """
    if not callable(features) and is_number:
        return _ridge(features, folds, labels, penalties)
    if not callable(features) and features.shape[1] <= WIDEST_BLOCK:
        return _logistic(features, folds, labels, penalties)
    return _by_subset(features, folds, labels, penalties, is_number=is_number)


def _ridge(features: NDArray, folds: Folds, labels: NDArray, penalties: Sequence[float]) -> Predict:
    fits = ridge_paths(features, labels.T, folds.of_cell, folds.left_out, penalties)
    return lambda draw, subset, place: _number(fits[subset], features[folds.tested(subset)], draw, place)


def _number(fits: RidgeFits, x: NDArray, draw: int, place: int) -> NDArray:
    return x @ fits.coef[place, draw] + fits.intercept[place, draw]


def _logistic(features: NDArray, folds: Folds, labels: NDArray, penalties: Sequence[float]) -> Predict:
    paths = LogisticPaths(features, folds.of_cell, folds.left_out, penalties)
    current: dict[int, LogisticRun] = {}

    def predict(draw: int, subset: int, place: int) -> NDArray:
        if draw not in current:
            current.clear()
            current[draw] = paths.start(labels[draw])
        return current[draw].fit(subset, place).logits(features[folds.tested(subset)])

    return predict


def _by_subset(
    features: NDArray | Callable[[NDArray], NDArray],
    folds: Folds,
    labels: NDArray,
    penalties: Sequence[float],
    *,
    is_number: bool,
) -> Predict:
    found: list[dict[tuple[int, int], NDArray]] = []
    falling = sorted(range(len(penalties)), key=lambda place: -penalties[place])
    for subset, left_out in enumerate(folds.left_out):
        tested = folds.tested(subset)
        train = np.setdiff1d(np.arange(len(folds.of_cell)), tested)
        x: Any = features(train) if callable(features) else features
        if is_number:
            (fits,) = ridge_paths(x, labels.T, folds.of_cell, [left_out], penalties)
            every = [(draw, place) for draw in range(len(labels)) for place in falling]
            found.append({key: _number(fits, x[tested], *key) for key in every})
            continue
        paths = LogisticPaths(x, folds.of_cell, [left_out], penalties)
        own: dict[tuple[int, int], NDArray] = {}
        for draw, values in enumerate(labels):
            run = paths.start(values)
            own |= {(draw, place): run.fit(0, place).logits(x[tested]) for place in falling}
        found.append(own)
    return lambda draw, subset, place: found[subset][draw, place]
