"""Bootstrap weights of points: how often each stands in a draw, drawn by donor where donors are known."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from interp.errors import InputError
from interp.runs.seeds import stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import ArrayLike, NDArray

    from interp.geometry.measured import Measured

LEVEL = 0.95
# An interval needs at least this share of computable draws.
MIN_DRAWS = 0.5


def one_each(values: ArrayLike, n: int, what: str) -> NDArray:
    """Labels (point,), numbers as they are and all else as text; InputError when there is not one per point."""
    labels = np.asarray(values)
    if labels.shape != (n,):
        msg = f"One {what} per point is needed, ({n},); labels of shape {labels.shape} were given."
        raise InputError(msg)
    return labels if labels.dtype.kind in "iufb" else labels.astype(str)


def draws(n: int, donors: ArrayLike | None, n_boot: int, seed: int, purpose: str) -> Iterator[NDArray[np.float64]]:
    """Draw donors, or points where no donors are known, with replacement.

    Parameters
    ----------
    n
        Number of points.
    donors
        Donor of each point, (point,).
    n_boot
        Number of draws.
    seed, purpose
        Of the random stream.

    Yields
    ------
    numpy.ndarray
        How often each point was drawn, (point,); nothing where there is one donor or point.

    Raises
    ------
    InputError
        If there is not one donor per point.
    """
    donor = np.arange(n) if donors is None else np.unique(one_each(donors, n, "donor"), return_inverse=True)[1]
    n_units = int(donor.max(initial=-1)) + 1
    if n_units < 2:
        return
    rng = stream(seed, purpose)
    for _ in range(n_boot):
        yield np.bincount(rng.integers(0, n_units, n_units), minlength=n_units)[donor].astype(np.float64)


def bounded(measured: Measured, values: ArrayLike, level: float = LEVEL) -> Measured:
    """Add the percentiles of bootstrap values (draw,); none where half of the draws could not be computed."""
    drawn = np.asarray(values, dtype=np.float64)
    known = drawn[np.isfinite(drawn)]
    if not measured.computable or len(known) == 0 or len(known) < MIN_DRAWS * len(drawn):
        return measured
    lo, hi = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return replace(measured, lo=float(lo), hi=float(hi))


def beside_null(measured: Measured, values: ArrayLike) -> Measured:
    """Add mean and standard deviation of the same measure on null draws (draw,)."""
    drawn = np.asarray(values, dtype=np.float64)
    if len(drawn) < 2:
        return measured
    return replace(measured, null_mean=float(drawn.mean()), null_sd=float(drawn.std(ddof=1)))


def resampled(
    measured: Measured,
    statistic: Callable[[NDArray], float],
    n: int,
    *,
    donors: ArrayLike | None,
    n_boot: int,
    seed: int,
    purpose: str,
) -> Measured:
    """Bound a measured value by its statistic under drawn weights (point,)."""
    return bounded(measured, [statistic(weights) for weights in draws(n, donors, n_boot, seed, purpose)])
