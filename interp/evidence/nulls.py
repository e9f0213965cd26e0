"""Null families of the chosen arm: other labels, other rulers, a code for the cell type, features out of place."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations, product
from typing import TYPE_CHECKING

import numpy as np

from interp.errors import InputError
from interp.evidence.arms import Arm
from interp.evidence.rewiring import neighbour_edges, neighbour_means, rewired
from interp.runs.seeds import stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from interp.evidence.panel import FloatArray, IntArray, Labels, Panel
    from interp.stats import Split

# Refits per family: 199 put p = 0.005 within reach (design: N >= 199), 99 suffice for a 95th percentile.
N_COHERENT = 199
N_OTHER = 99
# Width of the random code of a cell type; codes of this width are nearly orthogonal.
CODE_WIDTH = 64

COHERENT = "stages permuted"
SHUFFLED_RULER = "ruler shuffled"
LOOK_UP = "cell type look-up code"
SHUFFLED_FEATURES = "features shuffled"
REWIRED = "neighbours rewired"
FAMILIES = (COHERENT, SHUFFLED_RULER, LOOK_UP, SHUFFLED_FEATURES, REWIRED)
# Where studies hold different stages, what sets studies apart orders stages too, as neighbouring stages come from one
# study; permuting all stages takes that away with the order and so does not see it.
WITHIN_STUDIES = "stages permuted within studies"


def null_arms(arm: Arm, panel: Panel, *, seed: int, n_coherent: int = N_COHERENT, n_other: int = N_OTHER) -> list[Arm]:
    """Make the draws of every null family; each goes through the arm's own splits and settings.

    Parameters
    ----------
    arm
        The chosen arm.
    panel
        The anchors.
    seed
        Seed of the draws.
    n_coherent
        Draws of the coherent class-to-stage permutation; fewer when there are not so many maps.
    n_other
        Draws of each other family.

    Returns
    -------
    list of Arm
        Named after `null_families`.

    Raises
    ------
    InputError
        A number of draws is not positive.
    """
    if n_coherent < 1 or n_other < 1:
        msg = f"Null families need at least one draw each; n_coherent={n_coherent}, n_other={n_other} given."
        raise InputError(msg)
    labels = arm.labels or panel.labels
    relabelled = {
        COHERENT: coherent(labels, n_coherent, seed),
        SHUFFLED_RULER: shuffled_rulers(labels, n_other, seed),
    }
    if WITHIN_STUDIES in null_families(panel):
        relabelled[WITHIN_STUDIES] = coherent(labels, n_coherent, seed, home_studies(panel))
    arms = [
        replace(arm, name=name, family="null", draw=draw, labels=drawn)
        for name, family in relabelled.items()
        for draw, drawn in enumerate(family)
    ]
    makers: dict[str, Callable[[Arm, Panel, int, int], Callable[[Split], FloatArray]]] = {
        LOOK_UP: _look_up,
        SHUFFLED_FEATURES: _shuffled,
        REWIRED: _rewired,
    }
    arms += [
        replace(arm, name=name, family="null", draw=draw, features=make(arm, panel, draw, seed))
        for name, make in makers.items()
        for draw in range(n_other)
    ]
    return arms


def null_families(panel: Panel) -> tuple[str, ...]:
    """Name the null families that a result on this panel must pass.

    Parameters
    ----------
    panel
        The anchors.

    Returns
    -------
    tuple of str
        `FAMILIES`, and `WITHIN_STUDIES` where the stages have different home studies.
    """
    several = len(set(home_studies(panel).tolist())) > 1
    return (*FAMILIES, WITHIN_STUDIES) if several else FAMILIES


def home_studies(panel: Panel) -> IntArray:
    """Return the study that holds most anchors of each class, as a number; the first by name of those that tie.

    Parameters
    ----------
    panel
        The anchors.

    Returns
    -------
    numpy.ndarray
        int64 (class,).
    """
    known = panel.exact(np.arange(len(panel)))
    studies, which = np.unique(panel.studies[known].astype(str), return_inverse=True)
    counts = np.zeros((len(panel.labels), len(studies)), dtype=np.int64)
    np.add.at(counts, (panel.classes[known], which), 1)
    return counts.argmax(axis=1)


def coherent(labels: Labels, n: int, seed: int, groups: IntArray | None = None) -> list[Labels]:
    """Give the classes each other's names, by one map for all donors.

    Maps that leave the ruler as it is say nothing else than the true one, so they are left out, and of maps with
    equal rulers one is kept. With p = (1 + b) / (1 + N) the full list is the exact permutation test.

    Parameters
    ----------
    labels
        True labels.
    n
        Number of draws wanted.
    seed
        Seed of the draws.
    groups
        Group of each class, (class,); only classes of one group exchange names. One group by default.

    Returns
    -------
    list of Labels
        All distinct maps when there are at most `n`, else `n` distinct random ones.
    """
    seen = {labels.ruler.tobytes()}
    found: list[Labels] = []
    groups = np.zeros(len(labels), dtype=np.int64) if groups is None else groups
    for order in _orders(groups, n, seed):
        candidate = labels.permuted(order)
        key = candidate.ruler.tobytes()
        if key not in seen:
            seen.add(key)
            found.append(candidate)
        if len(found) == n:
            break
    return found


def shuffled_rulers(labels: Labels, n: int, seed: int) -> list[Labels]:
    """Deal the distances of the ruler anew to the pairs of classes; names, branches and depths stay.

    Parameters
    ----------
    labels
        True labels.
    n
        Number of draws.
    seed
        Seed of the draws.

    Returns
    -------
    list of Labels
    """
    rng = stream(seed, "evidence shuffled ruler")
    upper = np.triu_indices(len(labels), 1)
    drawn = []
    for _ in range(n):
        ruler = np.zeros_like(labels.ruler)
        ruler[upper] = rng.permutation(labels.ruler[upper])
        drawn.append(labels.with_ruler(ruler + ruler.T))
    return drawn


def _orders(groups: IntArray, n: int, seed: int) -> Iterator[IntArray]:
    """All orders of the classes inside their groups when there are few, else random ones, enough for n rulers."""
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    rng = stream(seed, "evidence stage maps" if len(members) == 1 else "evidence stage maps within groups")
    # A tree has few symmetries beside exchanging twin leaves, so some times n draws hold n distinct rulers.
    if math.prod(math.factorial(len(group)) for group in members) <= 8 * (n + 1):
        listed = [_placed(members, parts) for parts in product(*(permutations(g.tolist()) for g in members))]
        yield from rng.permutation(np.array(listed, dtype=np.int64))
        return
    for _ in range(100 * n):
        yield _placed(members, [rng.permutation(group) for group in members])


def _placed(members: Sequence[IntArray], parts: Sequence[Sequence[int] | IntArray]) -> IntArray:
    """Put each group's new order in the places of the group, (class,)."""
    order = np.empty(sum(map(len, members)), dtype=np.int64)
    for group, part in zip(members, parts, strict=True):
        order[group] = part
    return order


def _look_up(arm: Arm, panel: Panel, draw: int, seed: int) -> Callable[[Split], FloatArray]:
    """Random code per cell type, the same in every donor and split."""

    def features(split: Split) -> FloatArray:
        types, which = np.unique(panel.obs["cell_type"].astype(str).to_numpy(), return_inverse=True)
        codes = stream(seed, f"evidence code {draw}").standard_normal((len(types), CODE_WIDTH))
        return codes[which]

    return features


def _shuffled(arm: Arm, panel: Panel, draw: int, seed: int) -> Callable[[Split], FloatArray]:
    """The arm's features, each dealt anew to the training anchors."""

    def features(split: Split) -> FloatArray:
        values = arm.features(split).copy()
        train = panel.train(split)
        rng = stream(seed, f"evidence features {split.id} {draw}")
        values[train] = rng.permuted(values[train], axis=0)
        return values

    return features


def _rewired(arm: Arm, panel: Panel, draw: int, seed: int) -> Callable[[Split], FloatArray]:
    """Every training anchor as the mean of its neighbours, in a graph that kept its degrees and lost its geometry."""

    def features(split: Split) -> FloatArray:
        values = arm.features(split).copy()
        train = panel.train(split)
        edges = rewired(neighbour_edges(values[train]), stream(seed, f"evidence rewired {split.id} {draw}"))
        values[train] = neighbour_means(values[train], edges)
        return values

    return features
