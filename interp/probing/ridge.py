"""Ridge probes in closed form: many targets, penalties and training subsets of one representation at once.

The same as scikit-learn's `StandardScaler` and `Ridge(alpha = penalty * n_features * n_cells)` on each subset. Sums of
squares are taken once for every fold; a subset's are what remains without the folds that it leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interp.errors import InputError
from interp.probing.standard import CONSTANT, PrincipalAxes, Subset, checked_features, spread, subsets_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class RidgeFits:
    """Fitted probes of one training subset, in the units of the features given.

    Attributes
    ----------
    coef
        (penalty, target, feature).
    intercept
        (penalty, target).
    """

    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the predictions for cells (cell, feature), (penalty, target, cell)."""
        return self.coef @ features.T + self.intercept[:, :, None]


def ridge_paths(
    features: ArrayLike,
    targets: ArrayLike,
    folds: ArrayLike,
    left_out: Sequence[tuple[int, ...]],
    penalties: Sequence[float],
) -> list[RidgeFits]:
    """Fit ridge probes of one representation.

    Parameters
    ----------
    features
        (cell, feature), finite.
    targets
        (cell, target), finite.
    folds
        Fold of each cell, (cell,).
    left_out
        Folds that each training subset leaves out.
    penalties
        Penalties per feature.

    Returns
    -------
    list of RidgeFits
        One for each subset.

    Raises
    ------
    InputError
        Something is not finite, lengths differ, a penalty is not positive, or a subset is empty.

    Examples
    --------
    >>> x = np.arange(6.0)[:, None]
    >>> fits = ridge_paths(x, 2 * x, [0, 0, 1, 1, 2, 2], [(2,)], [1e-9])
    >>> fits[0].predict(x)[0, 0].round(3).tolist()
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    x, y = checked_features(features), np.asarray(targets, dtype=np.float64)
    if y.ndim != 2 or len(y) != len(x) or not np.isfinite(y).all():
        msg = f"targets of shape {y.shape} for {len(x):,} cells; give finite numbers, (cell, target)"
        raise InputError(msg)
    grid = np.asarray(penalties, dtype=np.float64) * x.shape[1]
    if grid.ndim != 1 or not len(grid) or not (grid > 0).all():
        msg = f"penalties are {list(penalties)}; give at least one, all above zero"
        raise InputError(msg)
    subsets = subsets_of(folds, left_out)
    if x.shape[1] > min(len(subset.rows) for subset in subsets):
        return [_dual(x, y, subset, grid) for subset in subsets]
    sums = _Sums(x, y, np.asarray(folds))
    return [sums.fit(subset.left_out, grid) for subset in subsets]


class _Sums:
    """Sums over the cells of every fold, of features and targets in the units of all cells."""

    def __init__(self, x: NDArray, y: NDArray, folds: NDArray) -> None:
        self.mean, self.level = x.mean(axis=0), y.mean(axis=0)
        sd = spread(x, self.mean)
        self.scale = np.where(sd > 0, sd, np.inf)
        z, t = (x - self.mean) / self.scale, y - self.level
        self.names = np.unique(folds)
        parts = [(z[folds == name], t[folds == name]) for name in self.names]
        self.n = np.array([len(a) for a, _ in parts])
        self.features = np.array([a.sum(axis=0) for a, _ in parts])
        self.targets = np.array([b.sum(axis=0) for _, b in parts])
        self.squares = np.array([a.T @ a for a, _ in parts])
        self.products = np.array([a.T @ b for a, b in parts])

    def fit(self, left_out: tuple[int, ...], grid: NDArray) -> RidgeFits:
        used = ~np.isin(self.names, left_out)
        n = self.n[used].sum()
        mean, level = self.features[used].sum(axis=0) / n, self.targets[used].sum(axis=0) / n
        covariance = self.squares[used].sum(axis=0) / n - np.outer(mean, mean)
        sd = np.sqrt(np.maximum(np.diag(covariance), 0.0))
        scale = np.where(sd > CONSTANT, sd, np.inf)
        correlation = covariance / np.outer(scale, scale)
        cross = (self.products[used].sum(axis=0) / n - np.outer(mean, level)) / scale[:, None]
        values, axes = np.linalg.eigh(correlation)
        weights = _shrunk(axes.T @ cross, values, grid) @ axes.T / (scale * self.scale)
        raw_mean = self.mean + mean * np.where(np.isfinite(self.scale), self.scale, 0.0)
        return RidgeFits(weights, self.level + level - weights @ raw_mean)


def _dual(x: NDArray, y: NDArray, subset: Subset, grid: NDArray) -> RidgeFits:
    """Fit a subset in its own principal axes, for more features than cells."""
    axes, t = PrincipalAxes.of(x[subset.rows]), y[subset.rows]
    level = t.mean(axis=0)
    weights = _shrunk(axes.coords.T @ (t - level) / len(t), axes.variance, grid)
    return RidgeFits(*axes.raw(weights, np.broadcast_to(level, weights.shape[:2])))


def _shrunk(cross: NDArray, values: NDArray, grid: NDArray) -> NDArray:
    """Divide cross moments (axis, target) by variances and each penalty, (penalty, target, axis)."""
    return cross.T[None] / (np.maximum(values, 0.0) + grid[:, None])[:, None, :]
