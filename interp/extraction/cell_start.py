"""Where the search for a cell adaptor starts, and how stiff its directions are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg

from interp.extraction.cell_objective import Theta
from interp.extraction.let import SPARK, START_ANGLE, regressed
from interp.extraction.let_kernel import METRIC_FLOOR, METRIC_OFFSET
from interp.runs.seeds import stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from interp.extraction.cell_objective import Objective

# Length of the stage head's first weights: along the stage centroids, neither flat nor certain.
HEAD_START = 3.0
# A head of less weight than this counts as stiff as one of this weight.
MIN_HEAD_WEIGHT = 0.01


def first_metric(objective: Objective) -> NDArray[np.float64]:
    """Diagonal first guess of the inverse Hessian, (parameter,): what varies much is stiff."""
    variance, n_stages = objective.problem.basis.variance, len(objective.present)
    floor = (objective.weights.ridge + METRIC_FLOOR) * variance.mean()
    weights = np.tile(1.0 / (variance + floor), objective.n_latent)
    # Curvature of the cross-entropy of an undecided head: weight / stages, times the mean square of what it reads.
    soft = n_stages / max(objective.weights.classification, MIN_HEAD_WEIGHT)
    head = np.tile(np.r_[np.full(objective.n_latent, soft * objective.n_latent), soft], n_stages)
    return np.r_[weights, np.full(objective.rank, METRIC_OFFSET), head[: objective.n_head]]


def start_at(objective: Objective, start: int, seed: int) -> NDArray[np.float64]:
    """Return the first parameters (parameter,): start 0 puts stages where the ruler wants them, others are random."""
    n_latent, rank = objective.n_latent, objective.rank
    a = stream(seed, "cell-start", str(start)).standard_normal((n_latent, rank)) / np.sqrt(rank)
    b = np.zeros(rank)
    if start == 0:
        informed, b = _informed(objective)
        length = np.linalg.norm(informed)
        # A latent that starts at zero would stay there, and the ruler alone may leave some empty.
        if length > 0:
            a = informed * (np.linalg.norm(a) / length) + SPARK * a
    vector = np.r_[a.ravel(), b, np.zeros(objective.n_head)]
    if objective.n_head:
        theta = Theta.of(vector, n_latent, rank)
        objective.cells.place(theta)
        sums = np.zeros_like(theta.head)
        np.add.at(sums, objective.labels, objective.cells.unit)
        theta.head[:] = HEAD_START * sums / np.bincount(objective.labels)[:, None]
    return vector


def _informed(objective: Objective) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Place the stages on a sphere by the ruler alone, and regress those places on the cells' coordinates."""
    problem, n_latent = objective.problem, objective.n_latent
    present = objective.present
    hops = problem.ruler[np.ix_(present, present)]
    values, vectors = scipy.linalg.eigh(np.cos(hops * (START_ANGLE / hops.max())))
    best = np.argsort(-values, kind="stable")[:n_latent]
    places = np.zeros((len(present), n_latent))
    places[:, : len(best)] = vectors[:, best] * np.sqrt(np.maximum(values[best], 0.0))
    return regressed(problem.basis, places[np.searchsorted(present, problem.stages)])
