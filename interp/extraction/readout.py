"""Readouts of latents: branch, stage, depth and named pairs of cell types, linear or of two layers, as plain arrays."""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.biology.pairs import PAIRS, side_of
from interp.errors import InputError
from interp.extraction.folds import Fold, held_out_rows
from interp.extraction.runner.algorithm import Readout
from interp.extraction.temperature import calibrate
from interp.runs.seeds import stream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from interp.biology.pairs import Pairs

logger = logging.getLogger(__name__)

# Cells of one class that a readout is fitted on at most (design, the adaptor's "cell" variant).
MAX_CELLS_PER_CLASS = 500
# Cells that a class needs to be read out at all; the anchors' minimum (design, panel).
MIN_CELLS_PER_CLASS = 5
# Half the weight of the squared coefficients beside the summed loss, on standardised latents: scikit-learn's default of
# linear and logistic regression. With ten latents and thousands of cells it hardly matters, so it is fixed.
RIDGE = 1.0
MAX_ITER = 1000
# Of a two-layer readout, scikit-learn's default; more iterations fit the training cells alone.
MAX_ITER_HIDDEN = 200
# Units of a two-layer readout's hidden layer: of ten latents and seven branches 295 numbers, against 77 linear ones.
N_HIDDEN = 16


def fit_readouts(
    latents: NDArray,
    obs: pd.DataFrame,
    *,
    pairs: Pairs = PAIRS,
    candidates: Mapping[str, Sequence[str]] | None = None,
    hidden: int = 0,
    folds: Sequence[Fold] | None = None,
    seed: int = 0,
) -> dict[str, Readout]:
    """Fit all readouts that the labels allow.

    Classes are weighted alike whatever their size, and so are depths. Probabilities are calibrated on held-out donors.

    Parameters
    ----------
    latents
        (row, latent); rows are training cells or anchors.
    obs
        Columns stage, branch, depth and cell_type of these rows, missing where unknown; and donor, for `folds`.
    pairs
        Name of the pair to its two sides, each the stages or branches that belong to it; the second side is the
        positive class. A pair that the rows do not have on both sides is left out.
    candidates
        Cell type to the stages it may be, for coarse labels ("CD4 T cell"): it belongs to a side that holds them all.
    hidden
        Units of a hidden ReLU layer (`N_HIDDEN` is a good number); 0 for linear readouts.
    folds
        Donor folds to calibrate on, with the latents of a map that was fitted without each fold. None: folds over the
        column donor, with `latents` themselves; without that column nothing is calibrated.
    seed
        Seed of the draw of cells from large classes, of the folds and of the hidden layer's start.

    Returns
    -------
    dict of Readout
        Keys ``stage``, ``branch``, ``depth`` and the pairs' names, as far as they could be fitted.

    Raises
    ------
    InputError
        Rows and latents differ in number, a latent is not finite, or a pair is called like another readout or has not
        two sides.
    """
    latents = _checked(latents, obs, pairs)
    if folds is None:
        folds = [Fold(rows, latents) for rows in held_out_rows(obs, seed=seed)]
    readouts: dict[str, Readout | None] = {}
    for name, labels in readout_labels(obs, pairs, candidates or {}).items():
        if name == "depth":
            readouts[name] = fit_depth(latents, labels, hidden=hidden, seed=seed)
            continue
        sides = tuple(pairs[name]) if name in pairs else None
        readouts[name] = fit_classes(latents, labels, name=name, classes=sides, hidden=hidden, folds=folds, seed=seed)
    return {name: readout for name, readout in readouts.items() if readout is not None}


def readout_labels(obs: pd.DataFrame, pairs: Pairs, candidates: Mapping[str, Sequence[str]]) -> dict[str, NDArray]:
    """Return what each readout is fitted to.

    Parameters
    ----------
    obs, pairs, candidates
        As in `fit_readouts`.

    Returns
    -------
    dict of numpy.ndarray
        ``stage``, ``branch`` and the pairs: class of each row, (row,) of object, None where unknown; ``depth``: hops,
        (row,) float64, NaN where unknown.
    """
    labels = {name: _labels(obs, name) for name in ("stage", "branch")}
    labels["depth"] = obs["depth"].to_numpy(dtype=np.float64)
    return labels | {name: side_of(obs, sides, candidates) for name, sides in pairs.items()}


def fit_classes(
    latents: NDArray,
    labels: NDArray,
    *,
    name: str,
    classes: tuple[str, ...] | None = None,
    hidden: int = 0,
    folds: Sequence[Fold] = (),
    seed: int = 0,
) -> Readout | None:
    """Fit a class-balanced classifier and its temperature.

    Parameters
    ----------
    latents
        (row, latent).
    labels
        Class of each row, (row,) of object; None where unknown.
    name
        What is read out; part of the random stream and of the log.
    classes
        The classes in order; default those found, sorted.
    hidden
        Units of a hidden ReLU layer; 0 for a logistic readout.
    folds
        Donor folds that the temperature is fitted on; without any the readout has none.
    seed
        Seed of the draw from large classes and of the hidden layer's start.

    Returns
    -------
    Readout or None
        None, with a line in the log, when fewer than two classes have enough rows.
    """
    fit = partial(_fit_classes, name=name, classes=classes, hidden=hidden, seed=seed)
    readout = fit(latents, labels)
    if readout is None:
        logger.info("No readout of %s: fewer than two classes have %d rows.", name, MIN_CELLS_PER_CLASS)
        return None
    temperature, report = calibrate(fit, labels, folds)
    return replace(readout, temperature=temperature, report=report)


def fit_depth(latents: NDArray, depth: NDArray, *, hidden: int = 0, seed: int = 0) -> Readout | None:
    """Fit a ridge readout of depth, every depth weighted alike.

    Parameters
    ----------
    latents
        (row, latent).
    depth
        Hops from the root, (row,); NaN where unknown.
    hidden
        Units of a hidden ReLU layer; 0 for a linear readout.
    seed
        Seed of the draw from large classes and of the hidden layer's start.

    Returns
    -------
    Readout or None
        None, with a line in the log, when fewer than two depths are known.
    """
    from sklearn.linear_model import Ridge
    from sklearn.neural_network import MLPRegressor

    members = [np.flatnonzero(depth == value) for value in np.unique(depth[np.isfinite(depth)])]
    if len(members) < 2:
        logger.info("No readout of depth: fewer than two depths are known.")
        return None
    drawn = _draw(members, "depth", seed)
    rows = np.concatenate(drawn)
    model = MLPRegressor(**_layer(hidden, "depth", seed)) if hidden else Ridge(alpha=RIDGE)
    return _exported((), model, latents[rows], depth[rows], [len(part) for part in drawn])


def _fit_classes(
    latents: NDArray, labels: NDArray, *, name: str, classes: tuple[str, ...] | None, hidden: int, seed: int
) -> Readout | None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    if classes is None:
        classes = tuple(sorted({label for label in labels if label is not None}))
    members = [np.flatnonzero(labels == label) for label in classes]
    enough = [len(rows) >= MIN_CELLS_PER_CLASS for rows in members]
    classes, members = tuple(_where(classes, enough)), _where(members, enough)
    if len(classes) < 2:
        return None
    drawn = _draw(members, name, seed)
    sizes = [len(rows) for rows in drawn]
    layer = _layer(hidden, name, seed)
    model = MLPClassifier(**layer) if hidden else LogisticRegression(C=1.0 / RIDGE, max_iter=MAX_ITER)
    return _exported(classes, model, latents[np.concatenate(drawn)], np.repeat(np.arange(len(classes)), sizes), sizes)


def _layer(hidden: int, name: str, seed: int) -> dict[str, Any]:
    start = int(stream(seed, f"readout-{name}-layer").integers(2**31))
    shape = {"hidden_layer_sizes": (hidden,), "activation": "relu", "solver": "lbfgs"}
    return shape | {"alpha": RIDGE, "max_iter": MAX_ITER_HIDDEN, "random_state": start}


def _exported(classes: tuple[str, ...], model: Any, latents: NDArray, target: NDArray, sizes: Sequence[int]) -> Readout:
    """Fit a model on standardised latents, groups of rows of these sizes weighted alike, and keep its arrays."""
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    weights = np.concatenate([np.full(size, len(target) / (len(sizes) * size)) for size in sizes])
    mean, scale = latents.mean(axis=0), latents.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    with threadpool_limits(1), warnings.catch_warnings():  # one order of summation, so equal bytes
        warnings.simplefilter("ignore", category=ConvergenceWarning)
        model.fit((latents - mean) / scale, target, sample_weight=weights)
    if not hasattr(model, "coefs_"):
        coef = np.atleast_2d(model.coef_) / scale
        return Readout(classes, coef, np.atleast_1d(model.intercept_) - coef @ mean)
    (first, last), (biases, intercept) = model.coefs_, model.intercepts_
    first = first.T / scale
    return Readout(classes, np.ascontiguousarray(last.T), intercept, (first, biases - first @ mean))


def root_centroid(latents: NDArray, obs: pd.DataFrame) -> tuple[str, NDArray]:
    """Find where pseudotime starts: the mean latent of the shallowest stage.

    Parameters
    ----------
    latents
        Training anchors (or cells), (row, latent).
    obs
        Their columns stage and depth.

    Returns
    -------
    tuple of str and numpy.ndarray
        The stage, the first by name where several are as shallow, and its centroid (latent,).

    Raises
    ------
    InputError
        No row has a stage.
    """
    stages, depth = _labels(obs, "stage"), obs["depth"].to_numpy(dtype=np.float64)
    known = np.array([stage is not None for stage in stages]) & np.isfinite(depth)
    if not known.any():
        msg = "No row has a stage and a depth, so pseudotime has no root; check the cell types' mapping to stages."
        raise InputError(msg)
    shallowest = known & (depth == depth[known].min())
    root = min(stages[shallowest])
    return root, np.asarray(latents)[shallowest & (stages == root)].mean(axis=0)


def _checked(latents: NDArray, obs: pd.DataFrame, pairs: Pairs) -> NDArray:
    latents = np.asarray(latents, dtype=np.float64)
    if latents.ndim != 2 or len(latents) != len(obs):
        msg = f"Latents of shape {latents.shape} do not fit {len(obs):,} rows of labels; give (row, latent)."
        raise InputError(msg)
    if not np.isfinite(latents).all():
        msg = "Some latents are NaN or infinite; check the operator and the adaptor."
        raise InputError(msg)
    odd = [name for name, sides in pairs.items() if name in ("stage", "branch", "depth") or len(sides) != 2]
    if odd:
        msg = f"The pairs {', '.join(map(repr, odd))} need two sides each and names of their own, such as 'CD4/CD8'."
        raise InputError(msg)
    return latents


def _labels(obs: pd.DataFrame, column: str) -> NDArray:
    values = obs[column].astype(object)
    return values.where(values.notna(), None).to_numpy(dtype=object)


def _draw(members: Sequence[NDArray], name: str, seed: int) -> list[NDArray]:
    rng = stream(seed, f"readout-{name}")
    return [
        rows if len(rows) <= MAX_CELLS_PER_CLASS else np.sort(rng.choice(rows, MAX_CELLS_PER_CLASS, replace=False))
        for rows in members
    ]


def _where(items: Sequence, keep: Sequence[bool]) -> list:
    return [item for item, kept in zip(items, keep, strict=True) if kept]
