"""How probes are trained and scored."""

from __future__ import annotations

from dataclasses import dataclass

from interp.probing.nested import MAX_FOLDS
from interp.probing.standard import PENALTIES
from interp.probing.targets import MAX_CELLS, MIN_CELLS

# Draws of each control task. With fewer than 20, the draws of n heads together could give none of them q < 0.05.
N_DRAWS = 40


@dataclass(frozen=True)
class ProbeSettings:
    """How probes are trained and scored.

    Attributes
    ----------
    penalties
        Penalties per feature (`interp.probing.logistic`) that the training donors choose from.
    max_folds
        Donors are left out one by one up to so many, in so many folds beyond.
    min_cells, max_cells
        Fewest and most cells of one donor and class.
    draws
        Draws of each control task.
    untrained_seeds
        Seeds of the untrained models.
    cell_type, study
        obs columns: what the control tasks deal labels to, and over what the donors of a fold are spread.
    """

    penalties: tuple[float, ...] = PENALTIES
    max_folds: int = MAX_FOLDS
    min_cells: int = MIN_CELLS
    max_cells: int = MAX_CELLS
    draws: int = N_DRAWS
    untrained_seeds: tuple[int, ...] = (0,)
    cell_type: str = "cell_type"
    study: str = "study"
