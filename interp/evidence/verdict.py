"""The verdict: whether the process is readable from the chosen operator, and whether the model deserves the credit.

Everything is computed from the table of one number per endpoint, arm, draw and donor; the donor is the unit.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.errors import InputError
from interp.evidence.arms import CHOSEN
from interp.evidence.controls import CONTROLS
from interp.evidence.endpoints import BRANCH, PSEUDOTIME, STAGE
from interp.evidence.nulls import FAMILIES
from interp.evidence.order import ORDER
from interp.runs.seeds import stream
from interp.stats import (
    benjamini_hochberg,
    bootstrap_interval,
    detectable_effect,
    donors_needed,
    equivalence_interval,
    permutation_p,
    sign_flip,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from interp.evidence.panel import FloatArray

# Level of every test, and of the percentile that a null family must stay under (design, verdict).
ALPHA = 0.05
NULL_PERCENTILE = 95.0
# The smallest effect worth a claim, registered before any result: a tenth of the way from chance to perfect.
MINIMUM_EFFECT = {ORDER: 0.10, BRANCH: 0.05, STAGE: 0.05, PSEUDOTIME: 0.10}
DEFAULT_MINIMUM = 0.10
READABLE, NOT_READABLE, UNDECIDED = "readable", "not readable", "undecided"
SPECIFIC, NOT_SPECIFIC = "model-specific", "not model-specific"


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


def verdict(
    controls: pd.DataFrame,
    *,
    nulls: Sequence[str] = FAMILIES,
    expected: Sequence[str] = CONTROLS,
    minimum: Mapping[str, float] | None = None,
    headroom: Mapping[str, float] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Judge every endpoint by the rules of the method.

    Parameters
    ----------
    controls
        Columns endpoint, control, draw, donor, value. The arm under test is called ``chosen``; arms named in `nulls`
        are null families, all others matched controls.
    nulls
        Names of the null families.
    expected
        Names of the controls that a claim of model-specific needs.
    minimum
        Registered minimum effect per endpoint, in place of `MINIMUM_EFFECT`.
    headroom
        On simulated worlds: oracle minus identity per endpoint; an endpoint with less than the minimum is undecided.
    seed
        Seed of the bootstrap.

    Returns
    -------
    dict
        For JSON: ``primary``, ``rules`` and per endpoint value, interval, donors, ``readable`` and ``model_specific``
        with status, reason and numbers against every null family and control.

    Raises
    ------
    InputError
        Columns are missing, or no arm is called ``chosen``.
    """
    missing = {"endpoint", "control", "draw", "donor", "value"} - set(controls)
    if missing or not (controls["control"] == CHOSEN).any():
        found = sorted(missing) if missing else sorted(set(controls["control"]))
        what = "lacks the columns" if missing else f"has no arm {CHOSEN!r}, only"
        msg = f"The table of controls {what} {found}."
        raise InputError(msg)
    minimum = {**MINIMUM_EFFECT, **(minimum or {})}
    endpoints = sorted(set(controls["endpoint"]), key=lambda name: (name != ORDER, name))
    judged = {
        name: _Endpoint(name, controls[controls["endpoint"] == name], minimum.get(name, DEFAULT_MINIMUM), seed)
        for name in endpoints
    }
    for endpoint in judged.values():
        endpoint.compare(nulls, expected, seed)
    q = dict(zip(judged, benjamini_hochberg([e.p for e in judged.values()]).tolist(), strict=True))
    room = headroom or {}
    report = {
        "primary": ORDER,
        "rules": {"alpha": ALPHA, "null_percentile": NULL_PERCENTILE, "correction": "Benjamini-Hochberg"},
        "endpoints": {name: judged[name].report(q[name], room.get(name)) for name in endpoints},
    }
    return _plain(report)


class _Endpoint:
    """One endpoint: the comparisons, and the rules applied to them."""

    def __init__(self, name: str, table: pd.DataFrame, minimum: float, seed: int) -> None:
        self.minimum = minimum
        self.donors, self.arms, self.lost = _by_arm(table)
        self.n_incomplete = len(set(table["donor"])) - len(self.donors)
        self.observed = self.arms.pop(CHOSEN)[0]
        self.interval = bootstrap_interval(self.observed, rng=stream(seed, f"evidence verdict {name}"))
        self.families: dict[str, Comparison] = {}
        self.controls: dict[str, Comparison] = {}
        self.missing: dict[str, list[str]] = {"families": [], "controls": []}

    def compare(self, nulls: Sequence[str], expected: Sequence[str], seed: int) -> None:
        """Compare with every arm, and note the arms that should be there and are not."""
        arms = self.arms if self.donors else {}
        compared = {name: compare(name, self.observed, draws, seed=seed) for name, draws in arms.items()}
        self.families = {name: c for name, c in compared.items() if name in nulls}
        self.controls = {name: c for name, c in compared.items() if name not in nulls}
        wanted = dict.fromkeys([*expected, *(name for name in self.lost if name not in nulls)])
        self.missing = {
            "families": [name for name in nulls if name not in compared],
            "controls": [name for name in wanted if name not in compared],
        }

    @property
    def p(self) -> float:
        """The endpoint's p for model-specific: the largest of all controls."""
        return max((c.p for c in self.controls.values()), default=float("nan"))

    def report(self, q: float, headroom: float | None) -> dict[str, Any]:
        """Everything about the endpoint, for JSON."""
        value = float(self.observed.mean()) if self.donors else float("nan")
        return {
            "value": value,
            "lo": self.interval[0],
            "hi": self.interval[1],
            "n_donors": len(self.donors),
            "donors": dict(zip(self.donors, self.observed.tolist(), strict=True)),
            "donors_left_out": self.n_incomplete,
            "minimum_effect": self.minimum,
            "headroom": headroom,
            "readable": self._readable(headroom),
            "model_specific": self._specific(q, headroom),
        }

    def _readable(self, headroom: float | None) -> dict[str, Any]:
        value = float(self.observed.mean()) if self.donors else float("nan")
        worst = _weakest(self.families)
        p = max((c.p_donors for c in self.families.values()), default=float("nan"))
        above = all(value > c.percentile for c in self.families.values())
        if open_question := self._open(self.families, self.missing["families"], headroom):
            status, reason = UNDECIDED, open_question
        elif above and p < ALPHA:
            status, reason = READABLE, f"above the 95th percentile of {len(self.families)} null families, p = {p:.3g}"
        elif worst is not None and worst.detectable > self.minimum:
            status, reason = UNDECIDED, self._power(worst)
        else:
            under = [n for n, c in self.families.items() if not value > c.percentile]
            reason = f"not above the null families {', '.join(under)}" if under else f"p = {p:.3g} over donors"
            status = NOT_READABLE
        return _section(status, reason, p, self.families, worst) | {"missing": self.missing["families"]}

    def _specific(self, q: float, headroom: float | None) -> dict[str, Any]:
        worst = _weakest(self.controls)
        floors = [c.floor for c in self.controls.values() if c.n_draws > 1]
        floor = max(floors, default=0.0)
        beaten = worst is not None and self.p < ALPHA and q < ALPHA and worst.effect > floor
        # The whole interval of the difference to some control lies under the smallest effect worth a claim.
        same = [n for n, c in self.controls.items() if c.equivalence_hi < self.minimum]
        if open_question := self._open(self.controls, [], headroom):
            status, reason = UNDECIDED, open_question
        elif beaten and self.missing["controls"]:
            status, reason = UNDECIDED, f"not measured or not computable: {', '.join(self.missing['controls'])}"
        elif beaten:
            status, reason = SPECIFIC, f"above every control, q = {q:.3g}, effect above the null-to-null floor"
        elif same:
            status, reason = NOT_SPECIFIC, f"no better by {self.minimum:g} than {', '.join(same)}"
        else:
            status, reason = UNDECIDED, self._power(worst)
        return _section(status, reason, self.p, self.controls, worst) | {
            "q": q,
            "floor": floor,
            "missing": self.missing["controls"],
        }

    def _open(self, compared: Mapping[str, Comparison], missing: Sequence[str], headroom: float | None) -> str:
        """Why nothing could be decided whatever the numbers were; empty when something could."""
        if not self.donors:
            return "not computable in any donor"
        if not compared:
            return "nothing to compare with"
        if missing:
            return f"not measured or not computable: {', '.join(missing)}"
        if headroom is not None and headroom < self.minimum:
            return f"no headroom: the true operator is {headroom:.2g} above no operator"
        smallest = max(c.smallest_p for c in compared.values())
        if smallest >= ALPHA:
            return f"the smallest p that {len(self.donors)} donors and the draws made can reach is {smallest:.2g}"
        return ""

    def _power(self, worst: Comparison | None) -> str:
        if worst is None:
            return "nothing to compare with"
        needed = f"{worst.donors_needed:.0f} donors" if np.isfinite(worst.donors_needed) else "no number of donors"
        return (
            f"{len(self.donors)} donors show an effect of {worst.detectable:.2g} against {worst.name}; the minimum is "
            f"{self.minimum:g}, the effect found {worst.effect:.2g}, which {needed} would show"
        )


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
        percentile=float(np.percentile(means, NULL_PERCENTILE)),
        floor=null_floor(means) if several else float("nan"),
        smallest_p=max(flips.smallest_p, 1.0 / (1 + drawn.n) if several else 0.0),
        at_floor=drawn.at_floor if several else False,
        detectable=detectable_effect(sd, n) if n > 1 else float("inf"),
        donors_needed=donors_needed(float(difference.mean()), sd) if n > 1 else float("inf"),
    )


def null_floor(values: FloatArray) -> float:
    """95th percentile of the absolute differences between null draws, (draw,); the null-to-null floor.

    Examples
    --------
    >>> null_floor(np.array([0.0, 0.0, 1.0]))
    1.0
    """
    first, second = np.triu_indices(len(values), 1)
    return float(np.percentile(np.abs(values[first] - values[second]), NULL_PERCENTILE))


def _by_arm(table: pd.DataFrame) -> tuple[list[str], dict[str, FloatArray], list[str]]:
    """Donors that every arm can be computed in, each arm's values (draw, donor), and arms computable in none.

    A draw that lacks some of these donors keeps the others; one that lacks all is left out.
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


def _weakest(compared: Mapping[str, Comparison]) -> Comparison | None:
    """The comparison that the chosen arm does worst in."""
    return min(compared.values(), key=lambda c: c.effect, default=None)


def _section(
    status: str, reason: str, p: float, compared: Mapping[str, Comparison], worst: Comparison | None
) -> dict[str, Any]:
    details = {name: asdict(c) | {"p": c.p} for name, c in compared.items()}
    section: dict[str, Any] = {"status": status, "reason": reason, "p": p, "against": details}
    if worst is not None:
        section |= {
            "hardest": worst.name,
            "effect": worst.effect,
            "lo": worst.lo,
            "hi": worst.hi,
            "smallest_p": max(c.smallest_p for c in compared.values()),
            "detectable_effect": worst.detectable,
            "donors_needed": worst.donors_needed,
        }
    return section


def _plain(value: Any) -> Any:
    """Replace what JSON cannot hold: infinities and NaN become None."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value
