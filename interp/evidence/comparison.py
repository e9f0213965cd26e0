"""One arm against another, donor by donor: effect, intervals, p values, and how much the donors could show at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interp.evidence.arms import CHOSEN
from interp.runs.seeds import stream
from interp.stats import (
    bootstrap_interval,
    detectable_effect,
    donors_needed,
    equivalence_interval,
    null_floor,
    permutation_p,
    sign_flip,
)

if TYPE_CHECKING:
    import pandas as pd

    from interp.evidence.panel import FloatArray

# Percentile that a null family must stay under (design, nulls).
NULL_PERCENTILE = 95.0


@dataclass(frozen=True)
class Comparison:
    """The chosen arm against one control or null family.

    Attributes
    ----------
    name
        The control or family.
    n_draws
        Its draws.
    effect
        Mean donor difference between the chosen arm and the control's mean draw.
    lo, hi
        Bootstrap interval of the effect over donors, 95 %.
    equivalence_lo, equivalence_hi
        Interval for equivalence, 90 %.
    sd
        Standard deviation of the donor differences.
    p_donors
        One-sided sign-flip over donors.
    p_draws
        (1 + draws at least as good) / (1 + draws); NaN for a control with one draw.
    null_mean, null_sd
        Mean and standard deviation of the draws' means over donors; the level that this endpoint has on this panel
        without what the draws lack. NaN for the sd of one draw.
    percentile
        95th percentile of the draws' means.
    floor
        95th percentile of absolute differences between draws; NaN with one draw.
    smallest_p
        The smallest p that so many donors and draws can reach.
    at_floor
        No draw was as good.
    detectable
        Effect that so many donors show with 80 % power.
    donors_needed
        Donors that would show this effect with 80 % power.
    """

    name: str
    n_draws: int
    effect: float
    lo: float
    hi: float
    equivalence_lo: float
    equivalence_hi: float
    sd: float
    p_donors: float
    p_draws: float
    null_mean: float
    null_sd: float
    percentile: float
    floor: float
    smallest_p: float
    at_floor: bool
    detectable: float
    donors_needed: float

    @property
    def p(self) -> float:
        """The larger of the two p values."""
        return float(np.nanmax([self.p_donors, self.p_draws]))


def compare(name: str, observed: FloatArray, draws: FloatArray, *, seed: int = 0) -> Comparison:
    """Compare the chosen arm with one control or null family, donor by donor.

    Parameters
    ----------
    name
        The control or family.
    observed
        Value of the chosen arm, (donor,).
    draws
        Values of the control, (draw, donor); NaN where a draw could not be computed.
    seed
        Seed of the bootstrap.

    Returns
    -------
    Comparison
    """
    difference = observed - np.nanmean(draws, axis=0)
    # A draw's mean is compared with the chosen arm's on the donors that the draw has.
    means = observed.mean() + np.nanmean(draws - observed, axis=1)
    n, several = len(observed), len(draws) > 1
    flips = sign_flip(difference, seed=seed)
    drawn = permutation_p(float(observed.mean()), means)
    lo, hi = bootstrap_interval(difference, rng=stream(seed, f"evidence comparison {name}"))
    equal_lo, equal_hi = equivalence_interval(difference)
    sd = float(difference.std(ddof=1)) if n > 1 else float("nan")
    return Comparison(
        name=name,
        n_draws=len(draws),
        effect=float(difference.mean()),
        lo=lo,
        hi=hi,
        equivalence_lo=equal_lo,
        equivalence_hi=equal_hi,
        sd=sd,
        p_donors=flips.p,
        p_draws=drawn.p if several else float("nan"),
        null_mean=float(means.mean()),
        null_sd=float(means.std(ddof=1)) if several else float("nan"),
        percentile=float(np.percentile(means, NULL_PERCENTILE)),
        floor=null_floor(means) if several else float("nan"),
        smallest_p=max(flips.smallest_p, 1.0 / (1 + drawn.n) if several else 0.0),
        at_floor=drawn.at_floor if several else False,
        detectable=detectable_effect(sd, n) if n > 1 else float("inf"),
        donors_needed=donors_needed(float(difference.mean()), sd) if n > 1 else float("inf"),
    )


def by_arm(table: pd.DataFrame) -> tuple[list[str], dict[str, FloatArray], list[str]]:
    """Sort one endpoint's table by arm.

    Parameters
    ----------
    table
        Columns control, draw, donor, value.

    Returns
    -------
    donors, arms, lost
        Donors that every arm can be computed in; each arm's values (draw, donor); and arms computable in no donor. A
        draw that lacks some of these donors keeps the others; one that lacks all is left out.
    """
    wide = table.pivot_table(index=["control", "draw"], columns="donor", values="value", dropna=False, sort=True)
    known = wide.notna().groupby(level="control").any()
    known = known.loc[:, known.loc[CHOSEN]]
    lost = [] if known.columns.empty else [str(name) for name in known.index[~known.any(axis=1)]]
    kept = known.columns[known.drop(index=lost).all(axis=0)]
    arms = {}
    for name in known.index.drop(lost):
        values = wide.loc[[name], kept].to_numpy(dtype=np.float64)
        arms[str(name)] = values[np.isfinite(values).any(axis=1)] if len(kept) else values
    return [str(donor) for donor in kept], arms, lost
