"""How many dimensions a cloud of points really uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from interp.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def participation_ratio(points: ArrayLike) -> float:
    """Effective number of dimensions, (sum of the covariance's eigenvalues)^2 / sum of their squares.

    Parameters
    ----------
    points
        (point, dimension), at least two points that differ.

    Returns
    -------
    float
        1 for points on a line, the number of dimensions for a round cloud.

    Raises
    ------
    InputError
        If there are not two points that differ.

    Examples
    --------
    >>> participation_ratio([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    2.0
    """
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or len(array) < 2 or not (array != array[0]).any():
        msg = f"Points of shape {array.shape} were given; (point, dimension) with two different points is needed."
        raise InputError(msg)
    values = np.linalg.svd(array - array.mean(axis=0), compute_uv=False) ** 2
    return float(values.sum() ** 2 / (values**2).sum())
