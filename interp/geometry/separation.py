"""How far apart branches lie, beside the same measure when the branch labels are shuffled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interp.errors import InputError
from interp.geometry.measured import Measured
from interp.geometry.permutation import relabellings
from interp.geometry.resampling import beside_null, one_each
from interp.runs.seeds import stream

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

N_NULL = 199


@dataclass(frozen=True)
class Separation:
    """How far apart groups of points lie, each `Measured` beside its value under shuffled labels.

    Attributes
    ----------
    silhouette
        Mean over points of (nearest other group - own group) / the larger of the two mean distances, from -1 to 1; a
        point alone in its group counts as 0 (Rousseeuw 1987).
    contrast
        Mean distance between groups over that within groups, each pair counting once; 1 when groups mean nothing.
    """

    silhouette: Measured
    contrast: Measured


def branch_separation(
    distances: ArrayLike, branches: ArrayLike, *, blocks: ArrayLike | None = None, n_null: int = N_NULL, seed: int = 0
) -> Separation:
    """Measure how far apart branches lie, and what shuffled labels give.

    Parameters
    ----------
    distances
        Symmetric (point, point), such as from `point_distances`.
    branches
        Branch of each point, (point,).
    blocks
        Block of each point, (point,), such as its donor and tissue; labels are shuffled inside blocks. One block by
        default.
    n_null
        Shuffles; 0 leaves the null out.
    seed
        Seed of the shuffles.

    Returns
    -------
    Separation
        Not computable with one branch, or where no two points share one.

    Raises
    ------
    InputError
        If shapes do not fit or a distance is negative or not finite.

    Examples
    --------
    >>> line = np.array([0.0, 1.0, 10.0, 11.0])
    >>> found = branch_separation(np.abs(np.subtract.outer(line, line)), list("aabb"), n_null=0)
    >>> round(found.silhouette.value, 3), found.contrast.value
    (0.9, 10.0)
    """
    matrix = np.asarray(distances, dtype=np.float64)
    n = len(matrix)
    if matrix.shape != (n, n) or not np.isfinite(matrix).all() or (matrix < 0).any():
        msg = f"Distances of shape {matrix.shape} were given; finite and non-negative ones, (point, point), are needed."
        raise InputError(msg)
    names, labels = np.unique(one_each(branches, n, "branch"), return_inverse=True)
    if not 2 <= len(names) < n:
        missing = Measured.missing(f"{len(names)} branches of {n} points; from 2 to {n - 1} are needed")
        return Separation(missing, missing)
    matrix = matrix.copy()
    np.fill_diagonal(matrix, 0.0)
    observed = _measure(matrix, labels, len(names))
    if not np.isfinite(observed).all():
        missing = Measured.missing("all points of a branch coincide, or all points do")
        return Separation(missing, missing)
    where = np.zeros(n, dtype=np.int64)
    if blocks is not None:
        where = np.unique(one_each(blocks, n, "block"), return_inverse=True)[1]
    shuffles = relabellings(labels, where, n_null, stream(seed, "branch separation null"))
    null = np.array([_measure(matrix, row, len(names)) for drawn in shuffles for row in drawn]).reshape(-1, 2)
    return Separation(*[beside_null(Measured(observed[i]), null[:, i]) for i in range(2)])


def _measure(distances: NDArray, labels: NDArray, n_groups: int) -> tuple[float, float]:
    """Mean silhouette, and mean distance between groups over that within."""
    n = len(labels)
    hot = np.eye(n_groups)[labels]
    sizes = hot.sum(axis=0)
    sums = distances @ hot  # (point, group)
    rows = np.arange(n)
    own = sums[rows, labels]
    within = own / np.maximum(sizes[labels] - 1, 1)
    means = sums / sizes
    means[rows, labels] = np.inf
    nearest = means.min(axis=1)
    larger = np.maximum(within, nearest)
    silhouette = np.divide(nearest - within, larger, out=np.zeros(n), where=(larger > 0) & (sizes[labels] > 1))
    pairs_within = float((sizes * (sizes - 1)).sum())
    pairs_between = n * (n - 1) - pairs_within
    inside, outside = float(own.sum()), float(sums.sum() - own.sum())
    contrast = (outside / pairs_between) / (inside / pairs_within) if inside > 0 else float("nan")
    return float(silhouette.mean()), contrast
