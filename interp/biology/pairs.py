"""Named pairs of cell types that are told apart, and to which side a cell's labels put it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    Pairs = Mapping[str, Mapping[str, Sequence[str]]]

# The pairs of the paper's benchmark (arXiv:2603.10261); a side lists stages or branches, the second is positive.
PAIRS: Pairs = {
    "CD4/CD8": {"CD4": ("naive CD4 T", "memory CD4 T", "Treg"), "CD8": ("naive CD8 T", "memory CD8 T")},
    "monocyte/macrophage": {
        "monocyte": ("classical monocyte", "non-classical monocyte"),
        "macrophage": ("macrophage",),
    },
}


def side_of(
    obs: pd.DataFrame, sides: Mapping[str, Sequence[str]], candidates: Mapping[str, Sequence[str]]
) -> NDArray[np.object_]:
    """Tell on which side of a pair each row stands.

    Parameters
    ----------
    obs
        Columns stage, branch and cell_type, missing where unknown.
    sides
        Name of each side to the stages and branches that belong to it.
    candidates
        Cell type to the stages it may be, for coarse labels ("CD4 T cell"): it belongs to a side that holds them all.

    Returns
    -------
    numpy.ndarray
        Name of the side by the row's stage, its branch, or all stages that its cell type may be; None elsewhere,
        object (row,).
    """
    found = np.full(len(obs), None, dtype=object)
    stage, branch, cell_type = (_labels(obs, column) for column in ("stage", "branch", "cell_type"))
    for side, names in sides.items():
        held = set(names)
        within = {label for label, stages in candidates.items() if stages and set(stages) <= held}
        rows = [s in held or b in held or c in within for s, b, c in zip(stage, branch, cell_type, strict=True)]
        found[np.array(rows, dtype=bool)] = side
    return found


def _labels(obs: pd.DataFrame, column: str) -> NDArray[np.object_]:
    values = obs[column].astype(object)
    return values.where(values.notna(), None).to_numpy(dtype=object)
