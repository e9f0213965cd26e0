"""How large an effect some donors can show, how many donors an effect needs, and when a difference is negligible.

Power is that of the one-sided one-sample t test on donor differences; below the floor of the exact sign-flip test
(2**-n >= alpha) no effect can be shown, however large.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from interp.errors import InputError

POWER = 0.80
ALPHA = 0.05
MAX_DONORS = 100_000  # more than any study of blood has


def detectable_effect(sd: float, n: int, power: float = POWER, alpha: float = ALPHA) -> float:
    """Find the smallest mean difference that this many donors show with the given power.

    Parameters
    ----------
    sd
        Standard deviation of the differences between donors.
    n
        Number of donors.
    power
        Probability of a significant outcome.
    alpha
        One-sided significance level.

    Returns
    -------
    float
        In the units of `sd`; infinite when a sign-flip test of n donors cannot reach `alpha`.

    Raises
    ------
    InputError
        A negative or missing sd, or a probability outside 0 to 1.
    """
    _check(sd, power, alpha)
    if n < 2 or 2.0**-n >= alpha:
        return math.inf
    if sd == 0:
        return 0.0
    from scipy.optimize import brentq

    upper = 1.0
    while _power(upper, n, alpha) < power:
        upper *= 2
    shift = brentq(lambda guess: _power(guess, n, alpha) - power, 0.0, upper, xtol=1e-10)
    return float(shift * sd / math.sqrt(n))


def donors_needed(effect: float, sd: float, power: float = POWER, alpha: float = ALPHA) -> float:
    """Find how many donors show a mean difference with the given power.

    Parameters
    ----------
    effect
        Mean difference, in the direction of interest.
    sd
        Standard deviation of the differences between donors.
    power
        Probability of a significant outcome.
    alpha
        One-sided significance level.

    Returns
    -------
    float
        A whole number, or infinity when the effect is not positive or needs more than 100,000 donors.

    Raises
    ------
    InputError
        A negative or missing sd, or a probability outside 0 to 1.
    """
    _check(sd, power, alpha)
    if not effect > 0:
        return math.inf
    low, high = 1, 2
    while detectable_effect(sd, high, power, alpha) > effect:
        low, high = high, high * 2
        if high > MAX_DONORS:
            return math.inf
    while high - low > 1:
        middle = (low + high) // 2
        if detectable_effect(sd, middle, power, alpha) > effect:
            low = middle
        else:
            high = middle
    return float(high)


def equivalence_interval(differences: ArrayLike, level: float = 0.90) -> tuple[float, float]:
    """Bound the mean difference; equivalence holds when the whole interval is within the margin.

    Parameters
    ----------
    differences
        One finite difference per donor.
    level
        Coverage; 0.90 corresponds to two one-sided t tests at 0.05.

    Returns
    -------
    tuple of float
        Lower and upper bound by the t distribution; infinite with fewer than two donors.

    Raises
    ------
    InputError
        A difference is not finite.
    """
    values = np.asarray(differences, dtype=np.float64).ravel()
    if not np.isfinite(values).all():
        msg = f"{np.count_nonzero(~np.isfinite(values))} of {values.size} donor differences are not finite."
        raise InputError(msg)
    if values.size < 2:
        return -math.inf, math.inf
    from scipy.stats import t

    half = float(t.ppf((1 + level) / 2, values.size - 1)) * float(values.std(ddof=1)) / math.sqrt(values.size)
    return float(values.mean()) - half, float(values.mean()) + half


def _power(shift: float, n: int, alpha: float) -> float:
    """Power of the one-sided t test at a noncentrality of `shift`."""
    from scipy.stats import nct, t

    return float(nct.sf(t.ppf(1 - alpha, n - 1), n - 1, shift))


def _check(sd: float, power: float, alpha: float) -> None:
    if not (math.isfinite(sd) and sd >= 0):
        msg = f"The standard deviation between donors is {sd}; expected a finite number of at least 0."
        raise InputError(msg)
    if not (0 < power < 1 and 0 < alpha < 1):
        msg = f"Power {power} and alpha {alpha} are probabilities; give them between 0 and 1."
        raise InputError(msg)
