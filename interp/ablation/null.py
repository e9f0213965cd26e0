"""Named heads against as many random heads of the same layers: the null behind "used"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import factorial, prod
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interp.ablation.bench import MEAN
from interp.ablation.chosen import by_donor, chosen_heads, in_every_fold, of_donors
from interp.ablation.effects import MASKED_LOSS
from interp.ablation.settings import N_SETS
from interp.ablation.table import set_name, summary
from interp.errors import InputError
from interp.runs.seeds import stream
from interp.stats import permutation_p, sign_flip

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from interp.ablation.chosen import ByFold
    from interp.ablation.effects import Effect
    from interp.ablation.screen import AblationResult


# A rise of the masked-value loss by less than this share of it is no damage to the model. Where sets differ by less,
# their differences are not blown up to a standard deviation of one.
NEGLIGIBLE = 0.01


@dataclass(frozen=True, eq=False, repr=False)
class HeadSetNull:
    """Named heads, and random sets of as many heads in the same layers, ablated in one way.

    Attributes
    ----------
    heads
        The named set of each fold of donors, all equal unless they were chosen on other donors.
    replacement, metric, target
        How they were ablated, and what was read.
    donors
        Names of the donors that were scored.
    drop
        Drop of the frozen readout, (set, donor); the named set first, then the random ones.
    masked
        Rise of the masked-value loss in the same donors, (set, donor).
    loss
        Mean masked-value loss of the intact model.
    draws
        The random sets of each fold, (set,).
    whole
        Whether these are all there are.
    seed
        Seed of the bootstrap.

    Notes
    -----
    The statistic is the mean drop of the readout minus the rise of the masked-value loss, standardised over the sets
    (the named one among them; by `NEGLIGIBLE` of the loss where they differ by less) and put into the readout's units
    by its own spread over the sets. So a set counts for what it does to the readout beyond what it does to the model as
    a whole. All sets are treated alike, which the p over sets rests on.
    """

    heads: ByFold
    replacement: str
    metric: str
    target: str
    donors: tuple[str, ...]
    drop: NDArray[np.float64]
    masked: NDArray[np.float64]
    loss: float
    draws: tuple[ByFold, ...]
    whole: bool
    seed: int

    def __repr__(self) -> str:
        """Say what was found."""
        return (
            f"HeadSetNull({self.name}, {self.replacement}: drop {self.mean_drop[0]:.3g}, statistic "
            f"{self.statistic[0]:.3g}, p {self.p:.3g} against {self.n_sets} sets)"
        )

    @property
    def name(self) -> str:
        """The named set, ``L2H5 + L3H0``; where folds differ, each with the number of its folds."""
        counts = Counter(self.heads)
        if len(counts) == 1:
            return set_name(self.heads[0])
        return "; ".join(f"{set_name(heads)} ({n} of {len(self.heads)} folds)" for heads, n in counts.most_common())

    @property
    def n_sets(self) -> int:
        """Number of random sets."""
        return len(self.drop) - 1

    @property
    def mean_drop(self) -> NDArray[np.float64]:
        """Drop of the readout, mean over donors, (set,)."""
        return self.drop.mean(axis=1)

    @property
    def statistic(self) -> NDArray[np.float64]:
        """The readout's drop minus the standardised masked-value drop, (set,)."""
        drop, masked = self.mean_drop, self.masked.mean(axis=1)
        spread = max(float(masked.std()), NEGLIGIBLE * self.loss)
        return drop - drop.std() * (masked - masked.mean()) / spread

    @property
    def p(self) -> float:
        """(1 + random sets at least as good) / (1 + random sets); NaN without any."""
        found = _rounded(self.statistic)
        return permutation_p(found[0], found[1:]).p if self.n_sets else float("nan")

    @property
    def smallest_p(self) -> float:
        """The smallest p that so many sets can give."""
        return 1 / (1 + self.n_sets)

    def table(self) -> pd.DataFrame:
        """Return one row per set: replacement, draw (0 the named one), heads, drop, lo, hi, masked, statistic."""
        found = pd.DataFrame({"replacement": self.replacement, "draw": range(1 + self.n_sets)})
        found["heads"] = [self.name, *("; ".join(map(set_name, dict.fromkeys(draw))) for draw in self.draws)]
        own = summary(self.drop[0], seed=self.seed, name=f"drop {self.replacement} {self.metric} {self.target}")
        bounds = {end: [own[end], *[np.nan] * self.n_sets] for end in ("lo", "hi")}
        masked = self.masked.mean(axis=1)
        return found.assign(drop=self.mean_drop, **bounds, masked=masked, statistic=self.statistic)

    @property
    def excess(self) -> dict[str, float]:
        """The named set's drop minus the mean of the random sets', over donors: value, lo, hi, n_donors, p_donors."""
        values = self.drop[0] - (self.drop[1:].mean(axis=0) if self.n_sets else np.nan)
        found = summary(values, seed=self.seed, name=f"excess {self.replacement} {self.metric} {self.target}")
        known = values[np.isfinite(values)]
        return found | {"p_donors": sign_flip(known, seed=self.seed).p if len(known) else float("nan")}


def head_set_null(
    result: AblationResult,
    heads: Iterable[tuple[int, int]] | Mapping[str, Iterable[tuple[int, int]]] | None = None,
    *,
    replacement: str = MEAN,
    size: int = 3,
    metric: str | None = None,
    target: str | None = None,
    n_sets: int = N_SETS,
) -> HeadSetNull:
    """Ablate named heads and random sets of as many heads of the same layers.

    Parameters
    ----------
    result
        From `interp.ablate_heads`, with a readout and ``"masked_loss"``.
    heads
        Pairs (layer, head) that were named without a look at these cells' donors; or donor to the pairs that were named
        without a look at it. When None, the `size` heads that are
        missed most, chosen for each fold of donors by the donors outside it.
    replacement
        How heads are ablated.
    size
        Number of heads to choose.
    metric, target
        What is read; the deciding metric of the first readout when None.
    n_sets
        Most random sets: all there are where these are no more, else so many without repeats.

    Returns
    -------
    HeadSetNull

    Raises
    ------
    InputError
        There is no readout or no masked-value loss, or a head does not exist.
    """
    bench = result.bench
    effect = bench.effect(metric, target)
    metric = metric or effect.metrics[0]
    loss = next((other for other in bench.effects if MASKED_LOSS in other.metrics), None)
    if loss is None or not effect.target:
        msg = "the null of head sets needs a readout and the masked-value loss; give readout= and effects='masked_loss'"
        raise InputError(msg)
    if n_sets < 1:
        msg = f"n_sets is {n_sets}; give at least one random set"
        raise InputError(msg)
    named, fold = _named(result, heads, size, effect)
    draws, whole = random_sets(named, bench.model.config.n_heads, most=n_sets, seed=bench.seed)
    arms = [named, *draws]
    sets = sorted({heads for arm in arms for heads in arm})
    measured = bench.measure(sets, replacement, effects=[effect, loss], description=f"random heads, {replacement}")
    found = {(drops.metric, drops.target): drops for drops in measured}
    read, lost = found[metric, effect.target], found[MASKED_LOSS, loss.target]
    drop = np.array([of_donors(read.drop, sets, arm, fold) for arm in arms])
    places = [lost.donors.index(name) for name in read.donors]
    masked = np.array([of_donors(lost.drop[:, places], sets, arm, fold) for arm in arms])
    known = np.isfinite(drop).all(axis=0) & np.isfinite(masked).all(axis=0)
    if not known.any():
        msg = f"no donor could be scored for {effect.target!r}; give more cells (n_cells=)"
        raise InputError(msg)
    donors = tuple(name for name, scored in zip(read.donors, known, strict=True) if scored)
    return HeadSetNull(
        heads=named, replacement=replacement, metric=metric, target=effect.target, donors=donors, drop=drop[:, known],
        masked=masked[:, known], loss=-float(lost.base[places][known].mean()), draws=tuple(draws), whole=whole,
        seed=bench.seed,
    )  # fmt: skip


def _named(result: AblationResult, heads: Any, size: int, effect: Effect) -> tuple[ByFold, NDArray[np.int64]]:
    """The named sets, and which of them is each donor's."""
    if isinstance(heads, Mapping):
        return by_donor(result.bench, effect, heads), np.arange(len(effect.donors))
    fold = np.asarray(getattr(effect, "fold_of_donor", np.zeros(len(effect.donors), np.int64)))
    if heads is None:
        return chosen_heads(result, size, effect.target), fold
    return in_every_fold(result.bench, effect, heads), fold


def random_sets(named: ByFold, n_heads: int, *, most: int = N_SETS, seed: int = 0) -> tuple[list[ByFold], bool]:
    """Exchange the heads inside every layer: as many heads in the same layers, folds overlapping as the named ones do.

    Where the named set is the same in every fold, these are all other sets of as many heads in its layers.

    Parameters
    ----------
    named
        The named set of each fold.
    n_heads
        Heads of a layer.
    most
        Most draws.
    seed
        Seed of the draws.

    Returns
    -------
    draws
        One set per fold each; all different, and none that is the named one in every fold.
    whole
        Whether these are all there are.

    Examples
    --------
    >>> draws, whole = random_sets((((0, 1), (2, 0)),), 2)
    >>> [draw[0] for draw in draws], whole
    ([((0, 0), (2, 0)), ((0, 0), (2, 1)), ((0, 1), (2, 1))], True)
    """
    layers = _memberships(named, n_heads)
    number = prod(_arrangements(own) for own in layers.values())
    rng = stream(seed, "ablation random heads")
    found: dict[ByFold, None] = {}
    while len(found) < min(most, number - 1):
        way = {layer: [own[place] for place in rng.permutation(n_heads)] for layer, own in layers.items()}
        draw = _sets(way, len(named))
        if draw != named:
            found[draw] = None
    return sorted(found), len(found) == number - 1


# The folds whose set holds a head.
Membership = tuple[int, ...]


def _memberships(named: ByFold, n_heads: int) -> dict[int, list[Membership]]:
    """For every layer that holds a named head, the folds that name each of its heads."""
    layers = sorted({layer for heads in named for layer, _ in heads})
    return {
        layer: [tuple(fold for fold, heads in enumerate(named) if (layer, head) in heads) for head in range(n_heads)]
        for layer in layers
    }


def _arrangements(own: Sequence[Membership]) -> int:
    """Number of ways to lay the memberships of a layer out over its heads that differ."""
    return factorial(len(own)) // prod(factorial(n) for n in Counter(own).values())


def _sets(layers: Mapping[int, Sequence[Membership]], n_folds: int) -> ByFold:
    return tuple(
        tuple((layer, head) for layer, own in layers.items() for head, folds in enumerate(own) if fold in folds)
        for fold in range(n_folds)
    )


def _rounded(values: NDArray) -> NDArray:
    """Values without what is rounding beside the largest, so that equal sets tie whatever order they were summed in."""
    largest = np.abs(values).max(initial=0.0)
    return values if largest == 0 else np.round(values / largest, 12)
