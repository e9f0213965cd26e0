"""Percentile bootstrap over donors."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from interp.errors import InputError

N_BOOT = 2_000  # the 2.5 % tail then rests on 50 draws


def bootstrap_interval(
    values: ArrayLike,
    *,
    rng: np.random.Generator,
    statistic: Callable[..., Any] = np.mean,
    n_boot: int = N_BOOT,
    level: float = 0.95,
) -> tuple[float, float]:
    """Bound a statistic by drawing donors with replacement.

    Parameters
    ----------
    values
        One row per donor, finite; shape (donor,) or (donor, ...).
    rng
        Random stream, from `interp.runs.seeds.stream`.
    statistic
        Function of the drawn rows that returns one number.
    n_boot
        Number of draws.
    level
        Share of the draws inside the interval.

    Returns
    -------
    tuple of float
        Lower and upper percentile; NaN twice when there are fewer than two rows.

    Raises
    ------
    InputError
        A value is not finite, or the level is not between 0 and 1.
    """
    rows = np.asarray(values, dtype=np.float64)
    if not np.isfinite(rows).all():
        msg = f"{np.count_nonzero(~np.isfinite(rows))} values to bootstrap are not finite; leave them out and say so."
        raise InputError(msg)
    if not 0 < level < 1:
        msg = f"The level is {level}; expected a share between 0 and 1, such as 0.95."
        raise InputError(msg)
    if rows.ndim == 0 or len(rows) < 2:
        return float("nan"), float("nan")
    drawn = rng.integers(0, len(rows), size=(n_boot, len(rows)))  # (draw, donor)
    if statistic is np.mean and rows.ndim == 1:
        figures = rows[drawn].mean(axis=1)
    else:
        figures = np.array([float(statistic(rows[index])) for index in drawn])
    low, high = np.quantile(figures, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
