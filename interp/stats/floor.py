"""The difference that chance alone makes between two draws of a null."""

import numpy as np
from numpy.typing import ArrayLike

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
