"""Features brought to unit variance by the training cells of a split, and the subsets of folds that probes train on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interp.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

# Penalties that the training donors choose from, per feature (see `Penalised`): scikit-learn's C = 1 on 1,000 cells and
# 100 features is 1e-5. Decades are as fine as a handful of donors can tell apart.
PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
# A feature that varies less than this share of its variation over all cells is constant among the training cells.
CONSTANT = 1e-6
# A standard deviation under this share of the mean is rounding of float64.
ROUNDING = 1e-12
# Eigenvalues under this share of the largest are rounding; it is that of float64 times a thousand features.
RANK = 1e-12


@dataclass(frozen=True)
class Subset:
    """The cells that a probe is trained on: all folds but some.

    Attributes
    ----------
    left_out
        Folds whose cells are not among the training cells.
    rows
        The training cells, ascending, int64.
    """

    left_out: tuple[int, ...]
    rows: NDArray[np.int64]


def subsets_of(folds: ArrayLike, left_out: Sequence[tuple[int, ...]]) -> list[Subset]:
    """Return the cells outside the folds left out.

    Parameters
    ----------
    folds
        Fold of each cell, (cell,).
    left_out
        Which folds each subset leaves out; () leaves out none.

    Returns
    -------
    list of Subset

    Raises
    ------
    InputError
        A subset is empty.
    """
    folds = np.asarray(folds)
    found = []
    for names in left_out:
        rows = np.flatnonzero(~np.isin(folds, names))
        if not len(rows):
            msg = f"without the folds {names} no cell is left to train on; give more folds, or leave out fewer"
            raise InputError(msg)
        found.append(Subset(tuple(names), rows))
    return found


def checked_features(features: ArrayLike) -> NDArray[np.float64]:
    """Return features as float64 (cell, feature).

    Raises
    ------
    InputError
        They are not two-dimensional, empty, or not finite.
    """
    x = np.asarray(features, dtype=np.float64)
    if x.ndim != 2 or not x.size:
        msg = f"features of shape {x.shape} were given; expected (cell, feature) with at least one of each"
        raise InputError(msg)
    if not np.isfinite(x).all():
        msg = f"{np.count_nonzero(~np.isfinite(x)):,} of {x.size:,} features are not finite; fill or leave them out"
        raise InputError(msg)
    return x


def spread(values: NDArray[np.float64], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard deviation of each column, (feature,); 0 where it is rounding beside the mean."""
    sd = values.std(axis=0)
    return np.where(sd > ROUNDING * np.abs(mean), sd, 0.0)


@dataclass(frozen=True)
class PrincipalAxes:
    """Standardised training cells in their own principal axes: as few coordinates as they need, whatever the width.

    Attributes
    ----------
    coords
        Training cells, float64 (cell, axis); columns are uncorrelated.
    variance
        Mean square of each coordinate, (axis,).
    axes
        From standardised features to coordinates, (feature, axis).
    mean, scale
        Of the training cells' features, (feature,); the scale of a constant feature is infinite.
    """

    coords: NDArray[np.float64]
    variance: NDArray[np.float64]
    axes: NDArray[np.float64]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def of(cls, train: NDArray[np.float64]) -> PrincipalAxes:
        """Standardise training cells (cell, feature) and rotate them."""
        mean = train.mean(axis=0)
        sd = spread(train, mean)
        scale = np.where(sd > 0, sd, np.inf)
        z = (train - mean) / scale
        n, width = z.shape
        if width <= n:
            values, axes = np.linalg.eigh(z.T @ z / n)
            kept = values > RANK * max(values[-1], 0.0)
            values, axes = values[kept], axes[:, kept]
            return cls(z @ axes, values, axes, mean, scale)
        values, left = np.linalg.eigh(z @ z.T / n)
        kept = values > RANK * max(values[-1], 0.0)
        values, left = values[kept], left[:, kept]
        root = np.sqrt(n * values)
        return cls(left * root, values, z.T @ (left / root), mean, scale)

    def raw(self, weights: NDArray[np.float64], intercept: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
        """Turn weights of coordinates (..., axis) and intercepts (...,) into those of the raw features."""
        coef = (weights @ self.axes.T) / self.scale
        return coef, intercept - coef @ self.mean
