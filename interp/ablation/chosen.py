"""Which heads are named for which donors: the same for all, or for each fold those that other donors miss most."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from interp.ablation.head_sets import check_heads
from interp.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from interp.ablation.bench import Bench, Drops
    from interp.ablation.effects import Effect
    from interp.ablation.head_sets import HeadSet
    from interp.ablation.screen import AblationResult

    # One set of heads for each fold of donors.
    ByFold = tuple[HeadSet, ...]


def in_every_fold(bench: Bench, effect: Effect, heads: Iterable[tuple[int, int]]) -> ByFold:
    """Return named heads for every fold of a readout.

    Raises
    ------
    InputError
        A head does not exist or stands twice, or there is none.
    """
    own = check_heads(bench.model.config, heads)
    if not own:
        msg = "an empty set of heads was named; give at least one (layer, head)"
        raise InputError(msg)
    return (own,) * (1 + int(getattr(effect, "fold_of_donor", np.zeros(1, np.int64)).max()))


def by_donor(bench: Bench, effect: Effect, heads: Mapping[str, Iterable[tuple[int, int]]]) -> ByFold:
    """Return the heads that were named for each donor, as if it were a fold of its own.

    Raises
    ------
    InputError
        A donor that is scored has none, its set is empty, or a head does not exist.
    """
    absent = [name for name in effect.donors if not tuple(heads.get(name, ()))]
    if absent:
        msg = f"no heads were named for the donors {', '.join(absent)}; name some for every donor, or for all alike"
        raise InputError(msg)
    return tuple(check_heads(bench.model.config, heads[name]) for name in effect.donors)


def chosen_heads(result: AblationResult, size: int, target: str) -> ByFold:
    """Return the heads that are missed most by the donors outside each fold.

    By the metric that has a gradient: the accuracy of a few dozen cells is often equal for many heads.

    Parameters
    ----------
    result
        An exact screen.
    size
        Number of heads.
    target
        What is read.

    Raises
    ------
    InputError
        The screen was not exact for all heads, or there are not so many heads.
    """
    config = result.bench.model.config
    most = config.n_layers * config.n_heads
    if not 1 <= size <= most:
        msg = f"{size} heads were asked for; this model has {most}"
        raise InputError(msg)
    drops = finest(result, target)
    heads = [head for (head,) in result.bench.heads]
    found = []
    for fold in range(drops.select.shape[1]):
        order = np.argsort(-mean_outside(drops.select, fold), kind="stable")
        found.append(tuple(sorted(heads[place] for place in order[:size])))
    return tuple(found)


def finest(result: AblationResult, target: str) -> Drops:
    """Return the drops of all heads under the metric of a readout that has a gradient; see `screened`."""
    return screened(result, str(result.bench.effect(None, target).differentiable), target)


def screened(result: AblationResult, metric: str, target: str) -> Drops:
    """Return the drops of all heads under one metric.

    Raises
    ------
    InputError
        The screen has none.
    """
    found = next((one for one in result.drops if (one.metric, one.target) == (metric, target)), None)
    if found is None or not found.select.shape[1]:
        msg = (
            "heads are chosen by an exact screen of all heads and a readout; take method='exact' or 'both' with "
            "readout=, or name the heads"
        )
        raise InputError(msg)
    return found


def mean_outside(select: NDArray, fold: int) -> NDArray[np.float64]:
    """Mean over the donors outside a fold, (set,); minus infinity where none can be scored."""
    own = select[:, fold]
    known = np.isfinite(own)
    total = np.where(known, own, 0.0).sum(axis=1)
    return np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), -np.inf)


def of_donors(drop: NDArray, sets: Sequence[HeadSet], arm: ByFold, fold: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return each donor's drop under the set of its fold, (donor,), from the drops of all sets, (set, donor)."""
    place = np.array([sets.index(arm[own]) for own in fold])
    return drop[place, np.arange(drop.shape[1])]
