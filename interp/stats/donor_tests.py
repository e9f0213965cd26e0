"""Tests on one number per donor, permutation p values, and their correction for many endpoints."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from interp.errors import InputError
from interp.runs.seeds import stream

MAX_ENUMERATED = 20  # 2**20 sign patterns take about 10 ms and 16 MB
N_SIGN_DRAWS = 99_999  # beyond that, p is known to within 0.1 % of 1 at the 5 % level
TIE_TOLERANCE = 1e-12  # relative to the largest possible sum: equal sums differ by rounding only


@dataclass(frozen=True)
class SignFlip:
    """Outcome of a sign-flip test.

    Parameters
    ----------
    p
        Share of sign patterns whose mean is at least as extreme.
    statistic
        Mean difference.
    n
        Number of differences (donors).
    smallest_p
        The smallest p that this many donors can reach.
    """

    p: float
    statistic: float
    n: int
    smallest_p: float


@dataclass(frozen=True)
class PermutationP:
    """Outcome of a comparison with null draws.

    Parameters
    ----------
    p
        (1 + draws at least as good) / (1 + draws).
    n
        Number of null draws.
    at_floor
        No draw was as good, so p is as small as this many draws allow.
    """

    p: float
    n: int
    at_floor: bool


def sign_flip(
    differences: ArrayLike,
    alternative: Literal["greater", "less", "two-sided"] = "greater",
    *,
    seed: int = 0,
) -> SignFlip:
    """Test whether the mean of paired donor differences is above zero, by flipping their signs.

    Parameters
    ----------
    differences
        One difference per donor, finite.
    alternative
        Direction in which the mean is extreme.
    seed
        Seed of the sign draws that replace the enumeration beyond 20 donors.

    Returns
    -------
    SignFlip
        Exact up to 20 donors: all 2**n sign patterns are counted.

    Raises
    ------
    InputError
        There is no difference, or one is not finite.

    Examples
    --------
    >>> sign_flip([0.2, 0.1, 0.4]).p
    0.125
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        msg = f"A sign-flip test needs one finite difference per donor; it was given {values.tolist()!r:.200}."
        raise InputError(msg)
    sides = {"greater": 1.0, "less": -1.0, "two-sided": 1.0}
    if alternative not in sides:
        msg = f"The alternative is {alternative!r}; expected one of {sorted(sides)}."
        raise InputError(msg)
    n = values.size
    observed = sides[alternative] * values.sum()
    exact = n <= MAX_ENUMERATED
    sums = _all_sums(values) if exact else _drawn_sums(values, seed)
    if alternative == "two-sided":
        sums, observed = np.abs(sums), abs(observed)
    as_extreme = int(np.count_nonzero(sums >= observed - TIE_TOLERANCE * np.abs(values).sum()))
    p = as_extreme / sums.size if exact else (1 + as_extreme) / (1 + sums.size)
    smallest = smallest_sign_flip_p(n) * (2 if alternative == "two-sided" and exact else 1)
    return SignFlip(p=p, statistic=float(values.mean()), n=n, smallest_p=smallest)


def smallest_sign_flip_p(n: int) -> float:
    """Return the smallest one-sided p that a sign-flip test of n donors can reach.

    Examples
    --------
    >>> smallest_sign_flip_p(5)
    0.03125
    """
    return 2.0**-n if n <= MAX_ENUMERATED else 1 / (1 + N_SIGN_DRAWS)


def permutation_p(observed: float, null: ArrayLike, *, higher_is_better: bool = True) -> PermutationP:
    """Compare an observed value with null draws.

    Parameters
    ----------
    observed
        The value under test; NaN gives a p of NaN.
    null
        Null draws; one that is not a number counts as at least as good as the observed value.
    higher_is_better
        Whether larger values speak against the null.

    Returns
    -------
    PermutationP
        With the add-one rule, so p is never 0.

    Raises
    ------
    InputError
        There are no draws.

    Examples
    --------
    >>> permutation_p(3.0, [1.0, 2.0, 3.0]).p
    0.5
    """
    draws = np.asarray(null, dtype=np.float64).ravel()
    if draws.size == 0:
        msg = "A permutation p needs null draws, but none were given."
        raise InputError(msg)
    if not np.isfinite(observed):
        return PermutationP(p=float("nan"), n=draws.size, at_floor=False)
    worse = draws < observed if higher_is_better else draws > observed
    as_good = int(draws.size - np.count_nonzero(worse))
    return PermutationP(p=(1 + as_good) / (1 + draws.size), n=draws.size, at_floor=as_good == 0)


def benjamini_hochberg(p: ArrayLike) -> NDArray[np.float64]:
    """Correct p values for the number of tests (false discovery rate).

    Parameters
    ----------
    p
        p values of any shape; NaN marks a test that could not be computed.

    Returns
    -------
    numpy.ndarray
        q values, float64 of the same shape; NaN stays NaN and does not count as a test.

    Raises
    ------
    InputError
        A p value is outside 0 to 1.

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.04, 0.04]
    """
    values = np.asarray(p, dtype=np.float64)
    known = ~np.isnan(values)
    tested = values[known]
    if ((tested < 0) | (tested > 1)).any():
        msg = f"p values lie between 0 and 1, but {tested.min():g} to {tested.max():g} were given."
        raise InputError(msg)
    order = np.argsort(tested)[::-1]
    scaled = tested[order] * tested.size / np.arange(tested.size, 0, -1)
    corrected = np.empty_like(tested)
    corrected[order] = np.minimum.accumulate(scaled)
    q = np.full(values.shape, np.nan)
    q[known] = np.minimum(corrected, 1.0)
    return q


def _all_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums under every pattern of signs, shape (2**n,)."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def _drawn_sums(values: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Sums under random signs, shape (99,999,)."""
    signs = stream(seed, "sign flip").integers(0, 2, size=(N_SIGN_DRAWS, values.size), dtype=np.int8)
    return 2.0 * (signs @ values) - values.sum()
