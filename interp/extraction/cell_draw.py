"""A balanced draw of cells: so many of each stage, spread over the donors, whatever order the cells come in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from interp.errors import InputError
from interp.runs.seeds import stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

# Cells of one stage that a fit sees at most (design, adaptor variants; arXiv:2603.10261).
CELLS_PER_STAGE = 500


def cell_keys(names: Sequence[str], seed: int = 0) -> NDArray[np.float64]:
    """Give each cell its place in the draws, a number that no other cell has a part in.

    Parameters
    ----------
    names
        Names of the cells, all different, (cell,).
    seed
        Seed of the draws.

    Returns
    -------
    numpy.ndarray
        Uniform on [0, 1), (cell,).

    Raises
    ------
    InputError
        A name occurs twice.
    """
    if len(set(names)) < len(names):
        msg = f"{len(names) - len(set(names)):,} of {len(names):,} cell names occur before; name each cell once."
        raise InputError(msg)
    return np.array([stream(seed, "cell adaptor draw", name).random() for name in names], dtype=np.float64)


def draw_cells(
    stages: ArrayLike, donors: ArrayLike, keys: NDArray[np.float64], *, per_stage: int = CELLS_PER_STAGE
) -> NDArray[np.intp]:
    """Draw at most so many cells of each stage.

    Inside a stage donors take turns, so that a donor with few cells gives all of them before one with many fills up.

    Parameters
    ----------
    stages, donors
        Stage and donor of each cell, (cell,).
    keys
        From `cell_keys`, (cell,); donors give their cells in falling order of them.
    per_stage
        Cells of a stage at most.

    Returns
    -------
    numpy.ndarray
        Rows, (drawn,): by stage, then in the order drawn. The same cells in the same order however the rows are
        ordered; a smaller draw is the beginning of each stage of a larger one.

    Raises
    ------
    InputError
        The columns differ in length, or ``per_stage`` is not positive.

    Examples
    --------
    >>> keys = np.array([0.1, 0.5, 0.9, 0.2])
    >>> draw_cells(["GMP"] * 4, ["a", "a", "a", "b"], keys, per_stage=2).tolist()
    [2, 3]
    """
    stage, donor = np.asarray(stages), np.asarray(donors)
    if not stage.shape == donor.shape == keys.shape or stage.ndim != 1:
        msg = f"Stages {stage.shape}, donors {donor.shape} and keys {keys.shape} differ in shape; give one per cell."
        raise InputError(msg)
    if per_stage < 1:
        msg = f"per_stage is {per_stage}; at least one cell of each stage is needed."
        raise InputError(msg)
    _, stage_code = np.unique(stage.astype(str), return_inverse=True)
    _, donor_code = np.unique(donor.astype(str), return_inverse=True)
    turn = _place(stage_code * (donor_code.max(initial=0) + 1) + donor_code, -keys)
    order = np.lexsort((-keys, turn, stage_code))
    return order[_place(stage_code[order], np.arange(len(order), dtype=np.float64)) < per_stage]


def _place(groups: NDArray, keys: NDArray[np.float64]) -> NDArray[np.intp]:
    """Rank of each row inside its group by rising key, from 0, (row,)."""
    order = np.lexsort((keys, groups))
    ordered = groups[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(order) else order
    sizes = np.diff(np.r_[starts, len(order)])
    place = np.empty(len(order), dtype=np.intp)
    place[order] = np.arange(len(order)) - np.repeat(starts, sizes)
    return place
