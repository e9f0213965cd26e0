"""The difference that chance alone makes between two draws of a null, and what is tied within it."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

# The floor: this percentile of the absolute differences between null draws (design, controls and verdict).
FLOOR_QUANTILE = 0.95


def null_floor(draws: ArrayLike) -> float:
    """Find the difference that chance alone makes: the 95th percentile of absolute differences between null draws.

    Parameters
    ----------
    draws
        Scores of null draws, (draw,); NaN are left out.

    Returns
    -------
    float
        NaN with fewer than two draws.

    Examples
    --------
    >>> null_floor([0.1, 0.1, 0.1])
    0.0
    """
    values = np.asarray(draws, dtype=np.float64)
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return float("nan")
    first, second = np.triu_indices(len(values), k=1)
    return float(np.quantile(np.abs(values[first] - values[second]), FLOOR_QUANTILE))


def tied_with_best(values: ArrayLike, floors: ArrayLike) -> NDArray:
    """Tell which scores are so near the best one that chance alone could have ranked them the other way.

    Parameters
    ----------
    values
        Scores, (candidate,); NaN where not computable.
    floors
        Difference that chance makes, (candidate,). That of the best one counts, the largest where several are exactly
        equal; NaN there ties nothing.

    Returns
    -------
    numpy.ndarray
        bool (candidate,), the best one among them; False throughout when it stands alone.

    Examples
    --------
    >>> tied_with_best([0.5, 0.46, 0.3], [0.05, 0.05, 0.05]).tolist()
    [True, True, False]
    """
    values, floors = np.asarray(values, dtype=np.float64), np.asarray(floors, dtype=np.float64)
    if not np.isfinite(values).any():
        return np.zeros(len(values), dtype=bool)
    best = np.nanmax(values)
    near = values >= best - np.max(floors[values == best])
    return near & (near.sum() > 1)
