"""The verdict: whether the process is readable from the chosen operator, and whether the model deserves the credit.

Everything is computed from the table of one number per endpoint, arm, draw and donor; the donor is the unit.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.errors import InputError
from interp.evidence.arms import CHOSEN
from interp.evidence.comparison import NULL_PERCENTILE, Comparison, by_arm, compare
from interp.evidence.controls import CONTROLS
from interp.evidence.endpoints import BRANCH, PSEUDOTIME, STAGE
from interp.evidence.nulls import FAMILIES, LOOK_UP, SHUFFLED_RULER, WITHIN_STUDIES
from interp.evidence.order import ORDER
from interp.runs.seeds import stream
from interp.stats import benjamini_hochberg, bootstrap_interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

# Level of every test (design, verdict).
ALPHA = 0.05
# The smallest effect worth a claim, registered before any result: a tenth of the way from chance to perfect.
MINIMUM_EFFECT = {ORDER: 0.10, BRANCH: 0.05, STAGE: 0.05, PSEUDOTIME: 0.10}
DEFAULT_MINIMUM = 0.10
# Null families that keep what an endpoint asks for: a code for the cell type is the label itself, and under a shuffled
# ruler stages stay as distinct as they were. They are shown as ceilings there and decide nothing.
CEILINGS = {BRANCH: (LOOK_UP, SHUFFLED_RULER), STAGE: (LOOK_UP, SHUFFLED_RULER), PSEUDOTIME: (LOOK_UP,)}
READABLE, NOT_READABLE, UNDECIDED = "readable", "not readable", "undecided"
SPECIFIC, NOT_SPECIFIC = "model-specific", "not model-specific"


def verdict(
    controls: pd.DataFrame,
    *,
    nulls: Sequence[str] | None = None,
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
        Names of the null families that a readable result must pass, from `null_families`; by default `FAMILIES`, and
        `WITHIN_STUDIES` where the table has it.
    expected
        Names of the controls that a claim of model-specific needs.
    minimum
        Registered minimum effect per endpoint, in place of `MINIMUM_EFFECT`.
    headroom
        On simulated worlds: oracle minus identity per endpoint; with less than the minimum no operator can add
        anything, so whether the model's does is undecided.
    seed
        Seed of the bootstrap.

    Returns
    -------
    dict
        For JSON: ``primary``, ``rules`` and per endpoint value, interval, donors, ``base`` (the largest mean of a null
        family and how far above it the value lies), ``ceilings``, ``readable`` and ``model_specific`` with status,
        reason and numbers against every null family and control.

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
    if nulls is None:
        nulls = (*FAMILIES, *({WITHIN_STUDIES} & set(controls["control"])))
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
        self.name, self.minimum = name, minimum
        self.donors, self.arms, self.lost = by_arm(table)
        self.n_incomplete = len(set(table["donor"])) - len(self.donors)
        self.observed = self.arms.pop(CHOSEN)[0]
        self.interval = bootstrap_interval(self.observed, rng=stream(seed, f"evidence verdict {name}"))
        self.families: dict[str, Comparison] = {}
        self.ceilings: dict[str, Comparison] = {}
        self.controls: dict[str, Comparison] = {}
        self.missing: dict[str, list[str]] = {"families": [], "controls": []}

    def compare(self, nulls: Sequence[str], expected: Sequence[str], seed: int) -> None:
        """Compare with every arm, and note the arms that should be there and are not."""
        arms = self.arms if self.donors else {}
        compared = {name: compare(name, self.observed, draws, seed=seed) for name, draws in arms.items()}
        ceilings = CEILINGS.get(self.name, ())
        self.ceilings = {name: c for name, c in compared.items() if name in nulls and name in ceilings}
        self.families = {name: c for name, c in compared.items() if name in nulls and name not in ceilings}
        self.controls = {name: c for name, c in compared.items() if name not in nulls}
        wanted = dict.fromkeys([*expected, *(name for name in self.lost if name not in nulls)])
        self.missing = {
            "families": [name for name in nulls if name not in compared and name not in ceilings],
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
            "base": self._base(value),
            "ceilings": {name: value - c.effect for name, c in self.ceilings.items()},
            "readable": self._readable(),
            "model_specific": self._specific(q, headroom),
        }

    def _base(self, value: float) -> dict[str, Any]:
        """The largest mean of the null families, which the endpoint has on this panel by itself; it decides nothing."""
        largest = max(self.families.values(), key=lambda c: c.null_mean, default=None)
        if largest is None:
            return {"family": None, "mean": float("nan"), "above_by": float("nan")}
        return {"family": largest.name, "mean": largest.null_mean, "above_by": value - largest.null_mean}

    def _readable(self) -> dict[str, Any]:
        value = float(self.observed.mean()) if self.donors else float("nan")
        worst = _weakest(self.families)
        p = max((c.p_donors for c in self.families.values()), default=float("nan"))
        above = all(value > c.percentile for c in self.families.values())
        if open_question := self._open(self.families, self.missing["families"], None):
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
            status, reason = UNDECIDED, self._short_of(q, floor, worst)
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

    def _short_of(self, q: float, floor: float, worst: Comparison | None) -> str:
        """What a claim of model-specific lacks, where no control is as good either."""
        if worst is None or self.p >= ALPHA:
            return self._power(worst)
        if q >= ALPHA:
            draws = [c for c in self.controls.values() if c.p == self.p and c.at_floor]
            more = f", and {draws[0].n_draws} draws can reach no smaller p: draw more" if draws else ""
            return f"p = {self.p:.3g} against every control, but q = {q:.3g} over all endpoints{more}"
        return (
            f"above every control, but the effect of {worst.effect:.2g} is within the null-to-null floor of {floor:.2g}"
        )

    def _power(self, worst: Comparison | None) -> str:
        if worst is None:
            return "nothing to compare with"
        needed = f"{worst.donors_needed:.0f} donors" if np.isfinite(worst.donors_needed) else "no number of donors"
        return (
            f"{len(self.donors)} donors show an effect of {worst.detectable:.2g} against {worst.name}; the minimum is "
            f"{self.minimum:g}, the effect found {worst.effect:.2g}, which {needed} would show"
        )


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
