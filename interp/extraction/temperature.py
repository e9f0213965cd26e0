"""Temperature of a classifier's scores, fitted on donors held out, and how good it makes the probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from interp.extraction.folds import Fold
    from interp.extraction.runner.algorithm import Readout

    # Latents (row, latent) and labels (row,), None where unknown -> a readout, None where it cannot be fitted.
    Fit = Callable[[NDArray, NDArray], Readout | None]
    # Scores (row, class) and the true class' column (row,), of rows that share their classes; and the classes.
    Scored = tuple[NDArray, NDArray, tuple[str, ...]]

# Bounds of the temperature's logarithm: e^3 is a hardly informed, e^-3 a nearly certain classifier.
LOG_BOUNDS = (-3.0, 3.0)
# Bins of the expected calibration error, of equal width in the top probability (Guo 2017 uses 15 for 10,000 images;
# held-out cells of a panel are fewer).
N_BINS = 10
# Donor folds that the honest figures need: one to score, one to fit the temperature on, one to fit the readout on.
MIN_FOLDS = 3


def calibrate(fit: Fit, labels: NDArray, folds: Sequence[Fold]) -> tuple[float | None, dict[str, Any]]:
    """Fit the temperature of a readout on donors held out.

    Every class weighs alike, as in the readout's own fit: the probabilities are those of a panel in which all classes
    are as frequent.

    Parameters
    ----------
    fit
        Fits the readout.
    labels
        Class of each row, (row,) of object; None where unknown.
    folds
        Donor folds, with latents of all rows for each.

    Returns
    -------
    tuple of float or None and dict
        The temperature, from scores of each fold's donors by a readout fitted without them; None when no fold can be
        scored. The report: ``temperature``, ``n_cells``, and on donors that neither the readout nor the temperature has
        seen ``log_loss`` and ``ece`` before and after (None with fewer than three folds that can be scored). Where the
        log loss of these donors did not fall the temperature stays 1, and ``fitted`` says what it would have been.
    """
    scored = [score_held_out(fit, labels, fold.latents, ~fold.held_out, fold.held_out) for fold in folds]
    known = [part for part in scored if part is not None]
    if not known:
        return None, {}
    temperature = fit_temperature(known)
    report: dict[str, Any] = {"fitted": temperature, "n_cells": sum(len(part[1]) for part in known)}
    report |= dict.fromkeys(("log_loss_before", "log_loss_after", "ece_before", "ece_after"))
    if len(known) >= MIN_FOLDS:
        report |= _unseen(fit, labels, folds, scored)
    if report["log_loss_after"] is not None and report["log_loss_after"] >= report["log_loss_before"]:
        temperature = 1.0
    return temperature, {"temperature": temperature, **report}


def score_held_out(fit: Fit, labels: NDArray, latents: NDArray, train: NDArray, test: NDArray) -> Scored | None:
    """Fit on some rows and score others.

    Parameters
    ----------
    fit, labels
        As in `calibrate`.
    latents
        (row, latent).
    train, test
        Rows, (row,) bool.

    Returns
    -------
    tuple or None
        Scores (row, class), true columns (row,) and the classes; None when the readout cannot be fitted, or the test
        rows have none of its classes.
    """
    readout = fit(latents[train], labels[train])
    if readout is None:
        return None
    columns = {label: column for column, label in enumerate(readout.classes)}
    rows = np.flatnonzero(test & np.array([label in columns for label in labels]))
    if len(rows) == 0:
        return None
    return readout.values(latents[rows]), np.array([columns[label] for label in labels[rows]]), readout.classes


def fit_temperature(parts: Sequence[Scored]) -> float:
    """Return the temperature with the smallest class-balanced log loss over parts, each of its own classes."""
    from scipy.optimize import minimize_scalar

    weights = _balanced(parts)
    found = minimize_scalar(lambda t: log_loss(parts, np.exp(t), weights), bounds=LOG_BOUNDS, method="bounded")
    return float(np.exp(found.x))


def log_loss(parts: Sequence[Scored], temperature: float, weights: Sequence[NDArray] | None = None) -> float:
    """Return the weighted mean of -log probability of the true class; by default every class weighs alike."""
    weights = _balanced(parts) if weights is None else weights
    losses = [
        -_log_probabilities(scores, temperature)[np.arange(len(true)), true] @ weight
        for (scores, true, _), weight in zip(parts, weights, strict=True)
    ]
    return float(sum(losses))


def calibration_error(parts: Sequence[Scored], temperature: float) -> float:
    """Return the expected calibration error of the likeliest class, every class weighing alike, 0 to 1."""
    top, right = [], []
    for scores, true, _ in parts:
        probabilities = np.exp(_log_probabilities(scores, temperature))
        top.append(probabilities.max(axis=1))
        right.append(probabilities.argmax(axis=1) == true)
    confidence, correct = np.concatenate(top), np.concatenate(right)
    gap = np.concatenate(_balanced(parts)) * (confidence - correct)
    bins = np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)
    return float(np.abs(np.bincount(bins, weights=gap, minlength=N_BINS)).sum())


def _unseen(fit: Fit, labels: NDArray, folds: Sequence[Fold], scored: Sequence[Scored | None]) -> dict[str, float]:
    """Score each fold with a temperature from the other folds, by maps and readouts that have not seen the fold."""
    before: list[tuple[Scored, float]] = []
    for outer, parts in zip(folds, scored, strict=True):
        if parts is None:
            continue
        others = [other.held_out for other in folds if other is not outer]
        inner = [
            score_held_out(fit, labels, outer.latents, ~outer.held_out & ~held_out, held_out) for held_out in others
        ]
        usable = [part for part in inner if part is not None]
        if usable:
            before.append((parts, fit_temperature(usable)))
    if not before:
        return {}
    raw = [parts for parts, _ in before]
    cooled: list[Scored] = [(scores / t, true, classes) for (scores, true, classes), t in before]
    return {
        "log_loss_before": log_loss(raw, 1.0),
        "log_loss_after": log_loss(cooled, 1.0),
        "ece_before": calibration_error(raw, 1.0),
        "ece_after": calibration_error(cooled, 1.0),
    }


def _log_probabilities(scores: NDArray, temperature: float) -> NDArray:
    scaled = scores / temperature
    scaled = scaled - scaled.max(axis=1, keepdims=True)
    return scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))


def _balanced(parts: Sequence[Scored]) -> list[NDArray]:
    """Weights of all rows, (row,) for each part: every class alike, 1 in sum."""
    names = [np.array(classes, dtype=object)[true] for _, true, classes in parts]
    found, counts = np.unique(np.concatenate(names).astype(str), return_counts=True)
    share = {name: 1.0 / (len(found) * count) for name, count in zip(found, counts, strict=True)}
    return [np.array([share[str(name)] for name in part]) for part in names]
