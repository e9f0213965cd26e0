"""How large an effect some donors can show, how many donors an effect needs, and when a difference is negligible.

Power is that of the one-sided sign-flip test over donors whose differences are normal. A panel shows an effect of d
standard deviations when fewer than alpha of its sign patterns do as well, that is, when d exceeds all but a few of the
negative means over subsets of its donors; so each simulated panel has one threshold, and their distribution is the
whole power curve. Beyond `SIMULATED` donors it cannot be told from the t test's, which is taken instead.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from interp.errors import InputError
from interp.runs.seeds import stream
from interp.stats.donor_tests import smallest_sign_flip_p

POWER = 0.80
ALPHA = 0.05
MAX_DONORS = 100_000  # more than any study of blood has
# At 20 donors the effect seen with 80 % power is within 1 % of that of the t test; at 5 donors it is 25 % larger.
SIMULATED = 20
N_PANELS = 5_000  # power is then known to within 0.006
N_PATTERNS = 1_023  # subsets of donors: all of them up to 10 donors, as many drawn ones beyond


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
        In the units of `sd`; infinite when a sign-flip test of n donors cannot get under `alpha`.

    Raises
    ------
    InputError
        A negative or missing sd, or a probability outside 0 to 1.
    """
    _check(sd, power, alpha)
    if not _attainable(n, alpha):
        return math.inf
    if n <= SIMULATED:
        return float(np.quantile(_thresholds(n, alpha), power) * sd)
    if sd == 0:
        return 0.0
    from scipy.optimize import brentq

    upper = 1.0
    while _t_power(upper, n, alpha) < power:
        upper *= 2
    shift = brentq(lambda guess: _t_power(guess, n, alpha) - power, 0.0, upper, xtol=1e-10)
    return float(shift * sd / math.sqrt(n))


def sign_flip_power(effect: float, sd: float, n: int, alpha: float = ALPHA) -> float:
    """Find the probability that this many donors show a mean difference.

    Parameters
    ----------
    effect
        Mean difference, in the direction of interest.
    sd
        Standard deviation of the differences between donors.
    n
        Number of donors.
    alpha
        One-sided significance level.

    Returns
    -------
    float
        0 when a sign-flip test of n donors cannot get under `alpha`.

    Raises
    ------
    InputError
        A negative or missing sd, an effect that is no number, or an alpha outside 0 to 1.
    """
    _check(sd, POWER, alpha)
    if not math.isfinite(effect):
        msg = f"The effect is {effect}; give a finite mean difference, such as 0.1."
        raise InputError(msg)
    if not _attainable(n, alpha):
        return 0.0
    if sd == 0:
        return float(effect > 0)
    if n <= SIMULATED:
        return float(np.searchsorted(_thresholds(n, alpha), effect / sd) / N_PANELS)
    return _t_power(effect / sd * math.sqrt(n), n, alpha)


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


def _attainable(n: int, alpha: float) -> bool:
    return n >= 1 and smallest_sign_flip_p(n) < alpha


@lru_cache(maxsize=128)
def _thresholds(n: int, alpha: float) -> NDArray[np.float64]:
    """Effects, in standard deviations, from which simulated panels of n donors are significant; sorted, (panel,)."""
    noise = stream(0, "power panels").standard_normal((N_PANELS, SIMULATED))[:, :n]
    if 2**n - 1 <= N_PATTERNS:
        patterns = np.arange(1, 2**n)[:, None] >> np.arange(n) & 1
    else:
        patterns = stream(0, "power patterns", str(n)).integers(0, 2, size=(N_PATTERNS, n))
        patterns = patterns[patterns.any(axis=1)]
    weights = (patterns / patterns.sum(axis=1, keepdims=True)).T
    # The pattern that flips no sign always does as well; so many others may too.
    allowed = math.ceil(alpha * (weights.shape[1] + 1)) - 2
    found = np.concatenate(
        [np.partition(part @ weights, allowed, axis=1)[:, allowed] for part in np.array_split(noise, 10)]
    )
    return np.sort(-found)


def _t_power(shift: float, n: int, alpha: float) -> float:
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
