"""Whether named heads are used: ablating them hurts a readout more than ablating random heads of the same layers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from interp.ablation.bench import MEAN, RESAMPLE
from interp.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from interp.ablation.null import HeadSetNull

# Level of the test, and the ways of ablation that must agree (design, verdict).
ALPHA = 0.05
NEEDED = (MEAN, RESAMPLE)
# The smallest excess of a readout's drop that is worth a claim; that of the branch and stage readouts of the verdict.
MINIMUM = 0.05
USED, NOT_USED, UNDECIDED = "used", "not used", "undecided"


@dataclass(frozen=True)
class Ablated:
    """Named heads against random ones under one way of ablation.

    Attributes
    ----------
    drop
        Mean drop of the readout over donors.
    statistic
        The drop minus the standardised masked-value drop.
    p, smallest_p
        Against the random sets, and the smallest that they can give.
    n_sets, whole
        Number of random sets, and whether these are all there are.
    excess, lo, hi
        Drop of the named heads minus the mean of the random ones', with its interval over donors.
    p_donors
        One-sided sign-flip p of the excess over donors; shown, and decides nothing.
    n_donors
        Donors.
    """

    drop: float
    statistic: float
    p: float
    smallest_p: float
    n_sets: int
    whole: bool
    excess: float
    lo: float
    hi: float
    p_donors: float
    n_donors: int

    @classmethod
    def of(cls, null: HeadSetNull) -> Ablated:
        """Sum up a null."""
        excess = null.excess
        return cls(
            drop=float(null.mean_drop[0]), statistic=float(null.statistic[0]), p=null.p, smallest_p=null.smallest_p,
            n_sets=null.n_sets, whole=null.whole, excess=excess["value"], lo=excess["lo"], hi=excess["hi"],
            p_donors=excess["p_donors"], n_donors=int(excess["n_donors"]),
        )  # fmt: skip


@dataclass(frozen=True, repr=False)
class Used:
    """The answer.

    Attributes
    ----------
    status
        ``used``, ``not used`` or ``undecided``.
    reason
        Why.
    heads, metric, target
        What was ablated and read.
    p
        The larger p of the ways of ablation that are needed; NaN where one is missing.
    against
        What each way of ablation gave.
    """

    status: str
    reason: str
    heads: str
    metric: str
    target: str
    p: float
    against: Mapping[str, Ablated]

    def __repr__(self) -> str:
        """Say the answer and why."""
        return f"Used({self.heads}, {self.metric} of {self.target}: {self.status}; {self.reason})"

    def report(self) -> dict[str, Any]:
        """Return everything as JSON holds it."""
        return asdict(self)


def judge_used(nulls: Mapping[str, HeadSetNull], *, alpha: float = ALPHA, minimum: float = MINIMUM) -> Used:
    """Decide whether named heads are used.

    Used: under mean and under resample ablation the readout drops, and by more than under random heads of the same
    layers, after taking off what they do to the model as a whole (p < `alpha`). Not used: under one of the two, the
    whole interval of the excess over random heads lies under `minimum`. Undecided: all else, above all where so few
    other sets exist that no p could be small enough.

    Parameters
    ----------
    nulls
        Way of ablation to its `HeadSetNull`, for the same heads and readout.
    alpha
        Level.
    minimum
        The smallest excess worth a claim, in the readout's units.

    Returns
    -------
    Used

    Raises
    ------
    InputError
        There is no null, or they are of different heads or readouts.
    """
    about = {(null.name, null.metric, null.target) for null in nulls.values()}
    if len(about) != 1:
        said = "; ".join(" ".join(one) for one in sorted(about)) or "none"
        msg = f"nulls of one set of heads and one readout are needed, under mean and resample ablation; given: {said}"
        raise InputError(msg)
    ((heads, metric, target),) = about
    found = {name: Ablated.of(null) for name, null in nulls.items()}
    needed = {name: found[name] for name in NEEDED if name in found}
    p = max(one.p for one in needed.values()) if len(needed) == len(NEEDED) else float("nan")
    status, reason = _decided(needed, p, alpha, minimum)
    return Used(status, reason, heads, metric, target, p, found)


def _decided(needed: Mapping[str, Ablated], p: float, alpha: float, minimum: float) -> tuple[str, str]:
    missing = [name for name in NEEDED if name not in needed]
    if missing:
        return UNDECIDED, f"not measured under {' and '.join(missing)} ablation"
    few = [one for one in needed.values() if one.smallest_p >= alpha]
    if few:
        n = min(one.n_sets for one in few)
        sets = f"{n} other set{'' if n == 1 else 's'} of as many heads in the same layers"
        words = f"there are only {sets}" if few[0].whole else f"only {sets} were drawn"
        return UNDECIDED, f"{words}, which can give no p under {1 / (1 + n):.2g}"
    weak = [name for name, one in needed.items() if not one.drop > 0]
    if not weak and p < alpha:
        n = min(one.n_sets for one in needed.values())
        words = f"the readout drops more than under {n} random sets of the same layers, p = {p:.3g}"
        unsure = [f"{name} ablation (p = {one.p_donors:.2g})" for name, one in needed.items() if one.p_donors >= alpha]
        return USED, words + (f"; but not surely in other donors under {' and '.join(unsure)}" if unsure else "")
    none = [name for name, one in needed.items() if one.hi < minimum]
    if none:
        return NOT_USED, f"under {none[0]} ablation no more than {minimum:g} beyond random heads of the same layers"
    if weak:
        return UNDECIDED, f"the readout does not drop under {weak[0]} ablation, and {minimum:g} is not excluded"
    worst = max(needed, key=lambda name: needed[name].p)
    return UNDECIDED, f"p = {p:.3g} under {worst} ablation, and an excess of {minimum:g} is not excluded"
