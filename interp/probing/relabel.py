"""Control tasks: the same cells with labels that carry no meaning, dealt so that the labels' structure stays.

Two of them. `relabelled` deals a donor's labels anew among its own groups, in every donor of its own: nothing can be
carried from one donor to another, so its scores are what chance gives with groups, classes and donors like these. Cells
of one group stay together, as they are no independent draws. `mapped` deals the labels once among the cell types, alike
in all donors (Hewitt & Liang 2019, with the cell type as the word): what a probe reaches by telling cell types apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from interp.runs.seeds import stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from interp.probing.targets import Task

GROUP, CELL = "donor x cell type", "cell"
# Tries for a map that leaves every donor two values.
MAX_TRIES = 200


def unit_of(task: Task) -> str:
    """Say what keeps its label together when labels are dealt anew within donors.

    Parameters
    ----------
    task
        The target.

    Returns
    -------
    str
        ``"donor x cell type"`` where all cells of such a group share their label, else ``"cell"``.
    """
    return GROUP if _value_of(_groups(task), task.values) is not None else CELL


def relabelled(task: Task, draw: int, *, seed: int) -> NDArray:
    """Deal the labels of every donor anew among its groups, or among its cells where groups have no one label.

    Parameters
    ----------
    task
        The target.
    draw
        Number of the draw.
    seed
        Seed of the draws.

    Returns
    -------
    numpy.ndarray
        Values as in `task.values`, (cell,); every donor keeps its labels and their numbers of groups (or cells).
    """
    groups = _groups(task)
    value_of = _value_of(groups, task.values)
    found = task.values.copy()
    for code, donor in enumerate(task.donors):
        rng = stream(seed, "probe control", f"{draw} {donor}")
        cells = np.flatnonzero(task.donor == code)
        if value_of is None:
            found[cells] = rng.permutation(task.values[cells])
            continue
        own = np.unique(groups[cells])
        dealt = value_of.copy()
        dealt[own] = rng.permutation(value_of[own])
        found[cells] = dealt[groups[cells]]
    return found


def mapped(task: Task, draw: int, *, seed: int) -> NDArray | str:
    """Deal the labels once among the cell types, alike in all donors.

    Parameters
    ----------
    task
        The target.
    draw
        Number of the draw.
    seed
        Seed of the draws.

    Returns
    -------
    numpy.ndarray or str
        Values as in `task.values`, (cell,); or why there is no such control.
    """
    value_of = _value_of(task.cell_type, task.values)
    if value_of is None:
        return "the label varies within cell types"
    present = np.unique(task.cell_type)
    if len(present) <= max(len(np.unique(task.values)), 2) and not task.is_number:
        return "every class is one cell type, so dealing them anew only renames them"
    rng = stream(seed, "probe map", str(draw))
    for _ in range(MAX_TRIES):
        dealt = value_of.copy()
        dealt[present] = rng.permutation(value_of[present])
        found = dealt[task.cell_type]
        if all(len(np.unique(found[task.donor == code])) > 1 for code in range(len(task.donors))):
            return found
    return "hardly any map leaves every donor two labels"


def _groups(task: Task) -> NDArray[np.int64]:
    return task.donor * (task.cell_type.max() + 1) + task.cell_type


def _value_of(groups: NDArray[np.int64], values: NDArray) -> NDArray | None:
    """Return the one value of each group, (highest group + 1,); None where a group has several."""
    value_of = np.zeros(groups.max() + 1, dtype=values.dtype)
    value_of[groups] = values
    # a cell type of its own for everything is as good as none
    return value_of if np.array_equal(value_of[groups], values) else None
