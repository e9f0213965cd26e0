"""Linear readouts of latents: branch, stage, depth and named pairs of cell types, as plain arrays."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from interp.errors import InputError
from interp.extraction.runner.algorithm import Readout
from interp.runs.seeds import stream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    Pairs = Mapping[str, Mapping[str, Sequence[str]]]

logger = logging.getLogger(__name__)

# Cells of one class that a readout is fitted on at most (design, the adaptor's "cell" variant).
MAX_CELLS_PER_CLASS = 500
# Cells that a class needs to be read out at all; the anchors' minimum (design, panel).
MIN_CELLS_PER_CLASS = 5
# Inverse strength of the logistic readouts' ridge, and the depth readout's ridge, on standardised latents: the defaults
# of scikit-learn. With ten latents and thousands of cells the strength hardly matters, so it is fixed.
LOGISTIC_C = 1.0
DEPTH_RIDGE = 1.0
MAX_ITER = 1000
# The pairs of the paper's benchmark (arXiv:2603.10261); a side lists stages or branches, the second is positive.
PAIRS: Pairs = {
    "CD4/CD8": {"CD4": ("naive CD4 T", "memory CD4 T", "Treg"), "CD8": ("naive CD8 T", "memory CD8 T")},
    "monocyte/macrophage": {
        "monocyte": ("classical monocyte", "non-classical monocyte"),
        "macrophage": ("macrophage",),
    },
}


def fit_readouts(
    latents: NDArray,
    obs: pd.DataFrame,
    *,
    pairs: Pairs = PAIRS,
    candidates: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
) -> dict[str, Readout]:
    """Fit all readouts that the labels allow.

    Classes are weighted alike whatever their size, and so are depths.

    Parameters
    ----------
    latents
        (row, latent); rows are training cells or anchors.
    obs
        Columns stage, branch, depth and cell_type of these rows, missing where unknown.
    pairs
        Name of the pair to its two sides, each the stages or branches that belong to it; the second side is the
        positive class. A pair that the rows do not have on both sides is left out.
    candidates
        Cell type to the stages it may be, for coarse labels ("CD4 T cell"): it belongs to a side that holds them all.
    seed
        Seed of the draw of cells from large classes.

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
    readouts: dict[str, Readout | None] = {}
    for name in ("stage", "branch"):
        readouts[name] = fit_classes(latents, _labels(obs, name), name=name, seed=seed)
    readouts["depth"] = fit_depth(latents, obs["depth"].to_numpy(dtype=np.float64), seed=seed)
    for name, sides in pairs.items():
        labels = _side_of(obs, sides, candidates or {})
        readouts[name] = fit_classes(latents, labels, name=name, classes=tuple(sides), seed=seed)
    return {name: readout for name, readout in readouts.items() if readout is not None}


def fit_classes(
    latents: NDArray, labels: NDArray, *, name: str, classes: tuple[str, ...] | None = None, seed: int = 0
) -> Readout | None:
    """Fit a class-balanced logistic readout.

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
    seed
        Seed of the draw from large classes.

    Returns
    -------
    Readout or None
        None, with a line in the log, when fewer than two classes have enough rows.
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    if classes is None:
        classes = tuple(sorted({label for label in labels if label is not None}))
    members = [np.flatnonzero(labels == label) for label in classes]
    enough = [len(rows) >= MIN_CELLS_PER_CLASS for rows in members]
    classes, members = tuple(_where(classes, enough)), _where(members, enough)
    if len(classes) < 2:
        logger.info("No readout of %s: fewer than two classes have %d rows.", name, MIN_CELLS_PER_CLASS)
        return None
    drawn = _draw(members, name, seed)
    target = np.repeat(np.arange(len(classes)), [len(rows) for rows in drawn])
    z, mean, scale = _standardised(latents[np.concatenate(drawn)])
    model = LogisticRegression(C=LOGISTIC_C, class_weight="balanced", max_iter=MAX_ITER)
    with threadpool_limits(1):  # one order of summation, so equal bytes
        model.fit(z, target)
    return _unscaled(classes, model.coef_, model.intercept_, mean, scale)


def fit_depth(latents: NDArray, depth: NDArray, *, seed: int = 0) -> Readout | None:
    """Fit a ridge readout of depth, every depth weighted alike.

    Parameters
    ----------
    latents
        (row, latent).
    depth
        Hops from the root, (row,); NaN where unknown.
    seed
        Seed of the draw from large classes.

    Returns
    -------
    Readout or None
        None, with a line in the log, when fewer than two depths are known.
    """
    from sklearn.linear_model import Ridge
    from threadpoolctl import threadpool_limits

    members = [np.flatnonzero(depth == value) for value in np.unique(depth[np.isfinite(depth)])]
    if len(members) < 2:
        logger.info("No readout of depth: fewer than two depths are known.")
        return None
    drawn = _draw(members, "depth", seed)
    rows = np.concatenate(drawn)
    weights = np.concatenate([np.full(len(part), len(rows) / (len(drawn) * len(part))) for part in drawn])
    z, mean, scale = _standardised(latents[rows])
    with threadpool_limits(1):
        model = Ridge(alpha=DEPTH_RIDGE).fit(z, depth[rows], sample_weight=weights)
    return _unscaled((), model.coef_[None, :], np.array([model.intercept_]), mean, scale)


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


def _side_of(obs: pd.DataFrame, sides: Mapping[str, Sequence[str]], candidates: Mapping[str, Sequence[str]]) -> NDArray:
    """Name of each row's side by its stage, its branch, or all stages that its cell type may be; None elsewhere."""
    found = np.full(len(obs), None, dtype=object)
    stage, branch, cell_type = (_labels(obs, column) for column in ("stage", "branch", "cell_type"))
    for side, names in sides.items():
        held = set(names)
        within = {label for label, stages in candidates.items() if stages and set(stages) <= held}
        rows = [s in held or b in held or c in within for s, b, c in zip(stage, branch, cell_type, strict=True)]
        found[np.array(rows, dtype=bool)] = side
    return found


def _draw(members: Sequence[NDArray], name: str, seed: int) -> list[NDArray]:
    rng = stream(seed, f"readout-{name}")
    return [
        rows if len(rows) <= MAX_CELLS_PER_CLASS else np.sort(rng.choice(rows, MAX_CELLS_PER_CLASS, replace=False))
        for rows in members
    ]


def _standardised(latents: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    mean, scale = latents.mean(axis=0), latents.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    return (latents - mean) / scale, mean, scale


def _unscaled(classes: tuple[str, ...], coef: NDArray, intercept: NDArray, mean: NDArray, scale: NDArray) -> Readout:
    coef = np.asarray(coef, dtype=np.float64) / scale
    return Readout(classes, coef, np.asarray(intercept, dtype=np.float64) - coef @ mean)


def _where(items: Sequence, keep: Sequence[bool]) -> list:
    return [item for item, kept in zip(items, keep, strict=True) if kept]
