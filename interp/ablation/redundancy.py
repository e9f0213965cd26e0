"""Whether heads stand in for each other: pairs and growing sets ablated together, against the sum of single drops."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interp.ablation.chosen import finest, mean_outside, of_donors, screened
from interp.ablation.head_sets import check_heads
from interp.ablation.table import MIN_DONORS, head_name, set_name, summary
from interp.errors import InputError
from interp.stats import benjamini_hochberg, sign_flip

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from interp.ablation.bench import Bench, Drops
    from interp.ablation.effects import Effect
    from interp.ablation.head_sets import HeadSet
    from interp.ablation.screen import AblationResult

# Heads that are looked at together: 15 pairs, and 20 sets more for the growing ones at most.
TOP = 6
PAIR_COLUMNS = (
    "first", "second", "drop_first", "drop_second", "joint", "redundancy", "lo", "hi", "p", "q", "n_donors",
)  # fmt: skip
GREEDY_COLUMNS = ("step", "value", "lo", "hi", "n_donors", "singles", "redundancy", "heads")


@dataclass(frozen=True, eq=False, repr=False)
class Redundancy:
    """Heads ablated together.

    Attributes
    ----------
    heads
        The heads looked at, most missed first.
    replacement, metric, target
        How they were ablated, and what was read.
    pairs
        first, second (names), drop_first, drop_second, joint, redundancy (joint drop minus the sum of the single
        drops), lo, hi (95 %, over donors), p (two-sided exact sign-flip), q, n_donors. Above zero the two stand in for
        each other; below, what one does passes through the other.
    greedy
        step (number of heads), value (joint drop), lo, hi, n_donors, singles (sum of the single drops), redundancy,
        heads (those of most folds). Each fold grows its set by the donors outside it, and is scored on its own.
    """

    heads: HeadSet
    replacement: str
    metric: str
    target: str
    pairs: pd.DataFrame
    greedy: pd.DataFrame

    def __repr__(self) -> str:
        """Say which pair is the most redundant."""
        what = f"Redundancy({set_name(self.heads)}, {self.replacement} ablation, {self.metric} of {self.target}"
        if self.pairs.empty:
            return what + ")"
        top = self.pairs.loc[self.pairs["redundancy"].idxmax()] if self.pairs["redundancy"].notna().any() else None
        return what + (
            ")" if top is None else f"; most redundant {top['first']} and {top['second']}: {top['redundancy']:.3g})"
        )


def measure_redundancy(
    result: AblationResult,
    heads: Iterable[tuple[int, int]] | None = None,
    *,
    top: int = TOP,
    metric: str | None = None,
    target: str | None = None,
) -> Redundancy:
    """Ablate all pairs of some heads, and ever more of them.

    Parameters
    ----------
    result
        From `interp.ablate_heads`, exact, with a readout.
    heads
        Pairs (layer, head); when None, the `top` ones that are missed most, by the metric that has a gradient. These
        are chosen on the same donors, which makes single drops look a little large and so redundancy a little small.
    top
        Number of heads to take.
    metric, target
        What is read; the deciding metric of the first readout when None.

    Returns
    -------
    Redundancy

    Raises
    ------
    InputError
        There is no exact screen of a readout, a head does not exist, or there are fewer than two.
    """
    bench, replacement = result.bench, result.facts["replacement"]
    effect = bench.effect(metric, target)
    metric = metric or effect.metrics[0]
    drops = screened(result, metric, effect.target)
    chosen = _ranked(
        bench, finest(result, effect.target), check_heads(bench.model.config, heads) if heads is not None else None, top
    )
    if len(chosen) < 2:
        msg = f"redundancy is of two heads or more; {len(chosen)} was given"
        raise InputError(msg)
    known = _Known(bench, effect, metric, replacement)
    pairs = _pairs(known, chosen, bench.seed)
    greedy = _greedy(known, chosen, drops, bench.seed)
    return Redundancy(chosen, replacement, metric, effect.target, pairs, greedy)


def _ranked(bench: Bench, drops: Drops, named: HeadSet | None, top: int) -> HeadSet:
    heads = [head for (head,) in bench.heads]
    means = np.array([own[np.isfinite(own)].mean() if np.isfinite(own).any() else -np.inf for own in drops.drop])
    ranked = [heads[place] for place in np.argsort(-means, kind="stable")]
    return tuple(head for head in ranked if head in named) if named is not None else tuple(ranked[:top])


class _Known:
    """Drops of sets of heads, each set measured once."""

    def __init__(self, bench: Bench, effect: Effect, metric: str, replacement: str) -> None:
        self.bench, self.effect, self.metric, self.replacement = bench, effect, metric, replacement
        self.drop: dict[HeadSet, NDArray] = {}
        self.select: dict[HeadSet, NDArray] = {}
        self.fold: NDArray[np.int64] = np.zeros(0, np.int64)

    def measure(self, sets: Iterable[HeadSet], description: str) -> None:
        """Measure the sets that are not known yet."""
        new = sorted(set(sets) - set(self.drop))
        if not new:
            return
        found = self.bench.measure(new, self.replacement, effects=[self.effect], choose=True, description=description)
        own = next(one for one in found if one.metric == self.metric)
        self.fold = own.fold
        self.drop |= dict(zip(new, own.drop, strict=True))
        self.select |= dict(zip(new, own.select, strict=True))


def _pairs(known: _Known, heads: HeadSet, seed: int) -> pd.DataFrame:
    pairs = [(a, b) for a, b in combinations(heads, 2)]
    known.measure([(head,) for head in heads] + [_joined(*pair) for pair in pairs], "pairs of heads")
    rows = []
    for a, b in pairs:
        joint, one, other = known.drop[_joined(a, b)], known.drop[a,], known.drop[b,]
        values = joint - one - other
        names = head_name(*a), head_name(*b)
        found = summary(values, seed=seed, name=" ".join(names))
        scored = values[np.isfinite(values)]
        p = sign_flip(scored, "two-sided", seed=seed).p if len(scored) >= MIN_DONORS else np.nan
        rows.append(
            {
                "first": names[0], "second": names[1], "drop_first": _mean(one), "drop_second": _mean(other),
                "joint": _mean(joint), "redundancy": found["value"], "lo": found["lo"], "hi": found["hi"], "p": p,
                "n_donors": found["n_donors"],
            }
        )  # fmt: skip
    table = pd.DataFrame(rows)
    return table.assign(q=benjamini_hochberg(table["p"]))[list(PAIR_COLUMNS)]


def _greedy(known: _Known, heads: HeadSet, drops: Drops, seed: int) -> pd.DataFrame:
    """Grow a set for each fold, by what the donors outside it miss most, and score it on the fold's donors."""
    n_folds = drops.select.shape[1]
    paths: list[HeadSet] = [()] * n_folds
    rows = []
    for step in range(1, len(heads) + 1):
        options = [{_joined(*path, head) for head in heads if head not in path} for path in paths]
        known.measure(set().union(*options), f"greedy, {step} of {len(heads)} heads")
        paths = [_best(known, sorted(own), fold) for fold, own in enumerate(options)]
        sets = sorted(set(paths))
        joint = of_donors(np.array([known.drop[heads] for heads in sets]), sets, tuple(paths), known.fold)
        singles = [np.sum([known.drop[head,] for head in heads], axis=0) for heads in sets]
        alone = of_donors(np.array(singles), sets, tuple(paths), known.fold)
        found = summary(joint, seed=seed, name=f"greedy {step}")
        usual = max(sets, key=paths.count)
        row = {"step": step, **found, "singles": _mean(alone), "redundancy": _mean(joint - alone)}
        rows.append(row | {"heads": set_name(usual)})
    return pd.DataFrame(rows)[list(GREEDY_COLUMNS)]


def _best(known: _Known, options: Sequence[HeadSet], fold: int) -> HeadSet:
    means = mean_outside(np.array([known.select[heads] for heads in options]), fold)
    return options[int(np.argmax(means))]


def _joined(*heads: tuple[int, int]) -> HeadSet:
    return tuple(sorted(heads))


def _mean(values: NDArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
