"""The out-of-distribution score: how surprising a cell's counts are to the stages that the algorithm was trained on.

A training stage is a profile, the shares in which its counts fall on the algorithm's genes. The surprise of a cell is
the mean of -log share over its counts under the profile that fits best. Of a cell of that kind its expectation does not
depend on depth, and its variance by sampling falls with depth as the profile says; what training cells scatter beyond
sampling is added. The standardised surprise is compared with that of training cells of donors that profiles, bias and
spread were fitted without. Distances between latents or residuals of the map cannot do this: on real cells they follow
depth, and put pancreatic cells nearer to blood than held-out blood donors (AUROC under 0.7; this score: see the tests).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from interp.errors import InputError
from interp.extraction.runner.algorithm import Typical

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

# Cells of one donor and stage that its counts are averaged over at least; the anchors' minimum (design, panel).
MIN_CELLS = 5
# Cells that a profile's bias and spread need; with fewer, the pooled ones are taken.
MIN_FITTED = 20
# Share of a profile that is spread evenly over the genes: a gene that no training cell of the stage held has one, too.
FLOOR = 0.01
# Smallest variance between cells beyond sampling, so that a standardised surprise is finite.
LEAST_SPREAD = 1e-12
# Steps of the saved distribution: every per cent.
STEPS = 101


@dataclass(frozen=True, eq=False)
class TypicalFit:
    """The score with what is known of its making.

    Attributes
    ----------
    typical
        Profiles and distribution, as they are saved.
    profiles
        Stage of each profile.
    calibrated_on
        ``"held-out donors"``, or ``"training cells"`` when no donors could be held out.
    n_calibration
        Cells that the distribution comes from.
    """

    typical: Typical
    profiles: tuple[str, ...]
    calibrated_on: str
    n_calibration: int

    def described(self) -> dict[str, Any]:
        """What the manifest says of it."""
        words = {"profiles": list(self.profiles), "steps": len(self.typical.quantiles)}
        return words | {"calibrated_on": self.calibrated_on, "n_calibration_cells": self.n_calibration}


def fit_typical(counts: sparse.csr_matrix, obs: pd.DataFrame, held_out: Sequence[NDArray[np.bool_]]) -> TypicalFit:
    """Fit the score on training cells.

    Parameters
    ----------
    counts
        Raw counts of the algorithm's genes, (cell, gene).
    obs
        Columns stage (missing where unknown) and donor of the cells; without donors the cells count as one's.
    held_out
        Cells of each donor fold, (cell,) bool; see `interp.extraction.folds`. A held-out cell whose stage has no
        profile without its fold is no cell of the training kind there, and is left out.

    Returns
    -------
    TypicalFit
    """
    counts = sparse.csr_matrix(counts, dtype=np.float64)
    if counts.nnz == 0:
        msg = "The training cells hold no counts in the algorithm's genes; an out-of-distribution score needs some."
        raise InputError(msg)
    stages = obs["stage"].astype(object).where(obs["stage"].notna(), "").to_numpy(dtype=str)
    donors = obs["donor"].astype(str).to_numpy() if "donor" in obs else np.full(len(obs), "")
    everyone = np.ones(len(stages), bool)
    logs, bias, spread, names = _fit(counts, stages, donors, everyone)
    seen = []
    for fold in held_out:
        parts = _fit(counts, stages, donors, ~fold)
        known = fold & np.isin(stages, [*parts[3], ""])
        seen.append(_surprise(counts[known], *parts[:3]))
    surprise = np.concatenate(seen) if seen else np.empty(0)
    calibrated_on = "held-out donors" if len(surprise) >= STEPS else "training cells"
    if len(surprise) < STEPS:
        logger.warning("No donors could be held out: the out-of-distribution score is calibrated on training cells")
        surprise = _surprise(counts, logs, bias, spread)
    quantiles = np.quantile(surprise, np.linspace(0.0, 1.0, STEPS))
    return TypicalFit(Typical(logs, bias, spread, quantiles), names, calibrated_on, len(surprise))


def _fit(
    counts: sparse.csr_matrix, stages: NDArray, donors: NDArray, train: NDArray[np.bool_]
) -> tuple[NDArray, NDArray, NDArray, tuple[str, ...]]:
    """Profiles (gene, profile) as logs, bias and spread (profile,), and the profiles' names."""
    names, profiles = _profiles(counts, stages, donors, train)
    logs = np.log((1.0 - FLOOR) * np.array(profiles) + FLOOR / counts.shape[1]).T.astype(np.float32)
    best, excess, sampling = _excess(counts[train], logs)
    pooled = _moments(excess, sampling)
    bias, spread = np.full(len(names), pooled[0]), np.full(len(names), pooled[1])
    for profile in range(len(names)):
        mine = best == profile
        if mine.sum() >= MIN_FITTED:
            bias[profile], spread[profile] = _moments(excess[mine], sampling[mine])
    return logs, bias, spread, names


def _profiles(
    counts: sparse.csr_matrix, stages: NDArray, donors: NDArray, train: NDArray[np.bool_]
) -> tuple[tuple[str, ...], list[NDArray]]:
    """Mean over donors of the shares of each stage's counts; one profile of all cells when no stage is known."""
    found: dict[str, list[NDArray]] = {}
    for stage in sorted(set(stages[train]) - {""}):
        for donor in sorted(set(donors[train & (stages == stage)])):
            rows = np.flatnonzero(train & (stages == stage) & (donors == donor))
            total = counts[rows].sum(axis=0)
            if len(rows) >= MIN_CELLS and total.sum() > 0:
                found.setdefault(stage, []).append(np.asarray(total).ravel() / total.sum())
    if not found:
        total = np.asarray(counts[np.flatnonzero(train)].sum(axis=0)).ravel() + 1e-12
        found = {"all": [total / total.sum()]}
    return tuple(found), [np.mean(shares, axis=0) for shares in found.values()]


def _moments(excess: NDArray, sampling: NDArray) -> tuple[float, float]:
    """Median excess, and the variance about it that sampling does not explain."""
    centre = float(np.median(excess))
    return centre, max(float(np.mean((excess - centre) ** 2 - sampling)), LEAST_SPREAD)


def _surprise(counts: sparse.csr_matrix, logs: NDArray, bias: NDArray, spread: NDArray) -> NDArray:
    best, excess, sampling = _excess(counts, logs)
    return (excess - bias[best]) / np.sqrt(sampling + spread[best])


def _excess(counts: sparse.csr_matrix, logs: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Best profile, excess surprise and its sampling variance of the cells that hold any count, (cell,) each."""
    counts = counts[np.flatnonzero(counts.sum(axis=1))]
    fits = np.asarray(counts @ logs.astype(np.float64))
    nothing = np.zeros(logs.shape[1])
    every = np.ones(len(logs), bool)
    return Typical(logs, nothing, nothing, np.zeros(1)).excess(every, np.asarray(counts.sum(axis=1)).ravel(), fits)
