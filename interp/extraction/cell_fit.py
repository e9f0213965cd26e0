"""Fitting the cell adaptor: starts, L-BFGS to convergence, and the fit in the gauge and protocol of the anchor one."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.errors import InputError
from interp.extraction.let import MAX_ITER, N_LATENT, LetFit, gauge
from interp.runs.workers import each

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from interp.extraction.cell_objective import Objective
    from interp.extraction.cell_problem import CellProblem
    from interp.extraction.descent import Descent

logger = logging.getLogger(__name__)

# Starts. With 10 latents and the default ridge four starts ended within 1e-5 of one loss, on simulated and real cells;
# with 3 latents another minimum lay up to 0.2 % lower, so give more there.
CELL_STARTS = 1


@dataclass(frozen=True, eq=False)
class CellFit(LetFit):
    """An adaptor fitted to cells; all of `LetFit` holds, with cells in place of anchors.

    ``ruler_loss_`` is the stage part, or the topology part where stage has no weight.

    Attributes
    ----------
    parts_
        Unweighted parts of the final loss by name.
    head_
        Weights of the stage head on unit latents and, last, its intercepts, (stage, latent + 1); no rows when
        classification had no weight.
    head_stages_
        Row of the ruler of each row of ``head_``, (stage,).
    snapshots_
        The fit as it stood after some iterations, by iteration.
    seconds_
        Time of all starts.
    """

    parts_: dict[str, float] = field(default_factory=dict)
    head_: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)), repr=False)
    head_stages_: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64), repr=False)
    snapshots_: dict[int, LetFit] = field(default_factory=dict, repr=False)
    seconds_: float = 0.0

    @property
    def n_parameters_(self) -> int:
        """Numbers that training adjusted, beta and the stage head included."""
        return self.weights.size + self.offset.size + self.head_.size + 1


def fit_cells(
    problems: Sequence[CellProblem],
    *,
    n_latent: int = N_LATENT,
    n_starts: int = CELL_STARTS,
    seed: int = 0,
    max_iter: int = MAX_ITER,
    snapshots: Collection[int] = (),
    n_workers: int | None = None,
) -> list[CellFit]:
    """Fit adaptors to cells, each from one or several starts, and keep the best training loss of each.

    Parameters
    ----------
    problems
        Problems of any sizes; share a ``SpanBasis``, or use `CellProblem.reweighted`, where only weights differ.
    n_latent
        Latent dimensions.
    n_starts
        Start 0 is informed by the ruler, the others are random.
    seed
        Seed of the random parts of the starts, which depend on it, the start and the rank alone.
    max_iter
        Cap on iterations; a fit that reaches it is kept, marked and warned about.
    snapshots
        Iterations after which the fit of the winning start is kept as it stood; 0 is the start itself.
    n_workers
        Problems fitted at a time, each on one thread; default `interp.runs.workers.processors`.

    Returns
    -------
    list of CellFit
        In the order of ``problems``. A fit stops when its loss falls by less than 1e-6 relative over 50 iterations, and
        does not depend on the others or on the number of workers.

    Raises
    ------
    InputError
        If a count is not positive.
    """
    for name, value in {"n_latent": n_latent, "n_starts": n_starts, "max_iter": max_iter}.items():
        if value < 1:
            msg = f"{name} must be at least 1; {value} given."
            raise InputError(msg)
    options = {
        "n_latent": n_latent,
        "n_starts": n_starts,
        "seed": seed,
        "max_iter": max_iter,
        "kept": frozenset(snapshots),
    }
    fits = each(partial(_fit_one, **options), problems, n_workers=n_workers)  # type: ignore[arg-type]
    if capped := sum(not fit.converged_ for fit in fits):
        logger.warning("%d of %d cell fits stopped at the cap of %d iterations.", capped, len(fits), max_iter)
    return fits


def _fit_one(
    problem: CellProblem, *, n_latent: int, n_starts: int, seed: int, max_iter: int, kept: frozenset[int]
) -> CellFit:
    from interp.extraction.cell_objective import Objective
    from interp.extraction.cell_start import first_metric, start_at
    from interp.extraction.descent import Descent

    began = time.perf_counter()
    objective = Objective(problem, n_latent)

    def value(vector: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        found = objective(vector)
        return found.loss, found.gradient

    metric = first_metric(objective)
    runs = [Descent(value, start_at(objective, start, seed), metric, kept).run(max_iter) for start in range(n_starts)]
    winner = int(np.argmin([run.losses[-1] for run in runs]))
    return _result(objective, runs[winner], winner, time.perf_counter() - began)


def _result(objective: Objective, run: Descent, start: int, seconds: float) -> CellFit:
    from interp.extraction.cell_objective import Theta

    basis = objective.problem.basis
    found, theta = objective(run.end), Theta.of(run.end, objective.n_latent, objective.rank)

    def standing(point: NDArray[np.float64], n_iter: int) -> dict[str, Any]:
        at, there = objective(point), Theta.of(point, objective.n_latent, objective.rank)
        return {
            "basis": basis,
            "weights": gauge(there.a, basis) @ there.a,
            "offset": there.b.copy(),
            "beta_": at.beta,
            "loss_": at.loss,
            "ruler_loss_": at.parts["stage" if objective.weights.stage else "topology"],
            "n_iter_": n_iter,
            "start_": start,
            "losses_": np.array(run.losses[: n_iter + 1]),
        }

    rotated = theta.head @ gauge(theta.a, basis).T  # (stage, latent)
    return CellFit(
        **standing(run.end, len(run.losses) - 1),
        converged_=run.converged,
        parts_=found.parts,
        head_=np.column_stack([rotated, theta.intercept]),
        head_stages_=objective.present[: len(rotated)],
        snapshots_={k: LetFit(**standing(point, k), converged_=False) for k, point in run.points.items()},
        seconds_=seconds,
    )
