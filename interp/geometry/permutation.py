"""Permutation of labels inside blocks, such as donor x tissue, as a test of how far distances follow a ruler."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from interp.errors import InputError
from interp.geometry.agreement import CONSTANT, MIN_STAGES, PAIR_KINDS, too_few
from interp.geometry.ranks import row_ranks, snapped
from interp.geometry.resampling import one_each
from interp.runs.workers import each, workers_asked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

# Relabellings of the gate (design, paper gates).
N_PERMUTATIONS = 10_000
# Relabellings drawn at a time; bounds memory to some 20 MB.
CHUNK = 500
# Sums over equal values differ by rounding only.
TIE_TOLERANCE = 1e-10
# Bytes of a strip of columns, so that it stays in the cache while all draws pass over it.
STRIP = 2**21


@dataclass(frozen=True)
class BlockedP:
    """Outcome of a permutation inside blocks.

    Attributes
    ----------
    p
        (1 + relabellings at least as high) / (1 + relabellings); when `exact`, the share of all arrangements that are
        at least as high, the true one included; NaN when not computable.
    n
        Relabellings looked at.
    at_floor
        None but the true labels was as high, so p is as small as it can be.
    floor
        The smallest p there could be.
    exact
        All arrangements were looked at.
    reason
        Why there is no p; empty when there is one.
    """

    p: float
    n: int
    at_floor: bool
    floor: float
    exact: bool = False
    reason: str = ""


def blocked_permutation(
    distances: ArrayLike,
    ruler: ArrayLike,
    classes: ArrayLike,
    blocks: ArrayLike,
    *,
    rng: np.random.Generator,
    studies: ArrayLike | None = None,
    kinds: Sequence[str] = PAIR_KINDS,
    n: int = N_PERMUTATIONS,
    n_threads: int | None = None,
) -> dict[str, BlockedP]:
    """Permute the classes of points inside their blocks and see how often distances follow the ruler as well.

    Parameters
    ----------
    distances
        Symmetric (point, point).
    ruler
        Symmetric (class, class).
    classes
        Row of the ruler that each point belongs to, (point,).
    blocks
        Block of each point, (point,), such as its donor and tissue.
    rng
        Random stream, from `interp.runs.seeds.stream`.
    studies
        Study of each point, (point,); one study by default. No block may reach over two.
    kinds
        Which of `PAIR_KINDS` to test.
    n
        Relabellings; where the labels can be laid out in no more ways than this, all of them are taken, none drawn.
    n_threads
        Threads; p does not depend on them. By default one per processor.

    Returns
    -------
    dict of str to BlockedP
        For each kind, by Spearman correlation as in `ruler_agreement`.

    Raises
    ------
    InputError
        If shapes do not fit, a block reaches over two studies, a kind is unknown, or `n` is under 1.

    Examples
    --------
    >>> ruler = np.abs(np.subtract.outer(np.arange(5.0), np.arange(5.0)))
    >>> found = blocked_permutation(ruler, ruler, range(5), [0] * 5, rng=np.random.default_rng(0))
    >>> found["all"].exact, found["all"].n, round(found["all"].p * 120)
    (True, 120, 2)
    """
    labels, ruler = np.asarray(classes, dtype=np.int64), np.asarray(ruler, dtype=np.float64)
    groups = np.unique(one_each(blocks, len(labels), "block"), return_inverse=True)[1]
    study = np.zeros(len(labels), dtype=np.int64)
    if studies is not None:
        study = np.unique(one_each(studies, len(labels), "study"), return_inverse=True)[1]
    _check(labels, ruler, groups, study, n)
    if not kinds or set(kinds) - set(PAIR_KINDS):
        msg = f"Give some of the kinds of pairs {', '.join(PAIR_KINDS)}; {list(kinds)} given."
        raise InputError(msg)
    distances = np.asarray(distances, dtype=np.float64)
    if distances.shape != (len(labels), len(labels)) or not np.isfinite(distances).all():
        msg = f"Distances of {len(labels)} points must be finite, (point, point); shape {distances.shape} was given."
        raise InputError(msg)
    codes, labels = np.unique(labels, return_inverse=True)
    statistics = _Statistics(distances, ruler[np.ix_(codes, codes)], study, labels, kinds, workers_asked(n_threads))
    ways = arrangements(labels, groups)
    exact = ways <= n
    drawn = _all(labels, groups) if exact else relabellings(labels, groups, n, rng)
    as_high, looked_at = statistics.as_high(labels, drawn)
    if exact:
        outcomes = [BlockedP(b / looked_at, looked_at, bool(b == 1), 1.0 / ways, exact) for b in as_high.tolist()]
    else:
        floor = max(1.0 / (1 + n), 1.0 / ways)
        outcomes = [BlockedP((1 + b) / (1 + n), n, bool(b == 0), floor) for b in as_high.tolist()]
    missing = {kind: statistics.reason(kind, labels) for kind in kinds}
    return {
        kind: replace(outcome, p=float("nan"), n=0, at_floor=False, reason=missing[kind]) if missing[kind] else outcome
        for kind, outcome in zip(kinds, outcomes, strict=True)
    }


def arrangements(classes: NDArray, blocks: NDArray) -> float:
    """Count the ways to lay the labels out inside their blocks; infinity when there are more than floats can hold.

    Examples
    --------
    >>> arrangements(np.array([0, 1, 2, 0, 0]), np.array([0, 0, 0, 1, 1]))
    6.0
    """
    total = 0.0
    for block in np.unique(blocks):
        counts = np.unique(classes[blocks == block], return_counts=True)[1]
        total += math.lgamma(counts.sum() + 1) - sum(math.lgamma(c + 1) for c in counts)
    return float(round(math.exp(total))) if total < 30 else float("inf")


def relabellings(classes: NDArray, blocks: NDArray, n: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Draw labellings in which every block keeps its labels, (draw, point) at a time, `n` in all; blocks from 0.

    Examples
    --------
    >>> drawn = next(relabellings(np.array([0, 1, 2]), np.array([0, 0, 1]), 4, np.random.default_rng(0)))
    >>> drawn.shape, set(drawn[:, 2].tolist())
    ((4, 3), {2})
    """
    from interp.geometry.kernels import deal

    home = np.argsort(blocks, kind="stable")
    bounds = np.append(np.flatnonzero(np.diff(blocks[home], prepend=-1)), len(home))
    for start in range(0, n, CHUNK):
        keys = rng.random((min(CHUNK, n - start), len(classes)))
        drawn = np.empty(keys.shape, dtype=np.int64)
        deal(keys, home, bounds, classes, drawn)
        yield drawn


def _all(classes: NDArray, blocks: NDArray) -> Iterator[NDArray[np.int64]]:
    """Every labelling in which every block keeps its labels, once each, as `relabellings` gives them."""
    places = [np.flatnonzero(blocks == block) for block in np.unique(blocks)]
    found = []
    for orders in product(*[_orders(np.sort(classes[at]).tolist()) for at in places]):
        labels = classes.copy()
        for at, order in zip(places, orders, strict=True):
            labels[at] = order
        found.append(labels)
        if len(found) == CHUNK:
            yield np.array(found)
            found = []
    if found:
        yield np.array(found)


def _orders(items: list[int]) -> list[list[int]]:
    """All different orders of items that may repeat."""
    if not items:
        return [[]]
    found = []
    for place, item in enumerate(items):
        if item not in items[:place]:
            found += [[item, *rest] for rest in _orders(items[:place] + items[place + 1 :])]
    return found


def _check(labels: NDArray, ruler: NDArray, groups: NDArray, study: NDArray, n: int) -> None:
    if ruler.ndim != 2 or len(set(ruler.shape)) != 1 or labels.ndim != 1 or labels.min(initial=0) < 0:
        msg = f"A ruler (class, class) and one class per point are needed; {ruler.shape} and {labels.shape} were given."
        raise InputError(msg)
    if labels.max(initial=0) >= len(ruler):
        msg = f"A point has class {labels.max()}, but the ruler has {len(ruler)} classes, counted from 0."
        raise InputError(msg)
    if n < 1:
        msg = f"{n} relabellings were asked for; give at least 1."
        raise InputError(msg)
    both = np.unique(np.column_stack([groups, study]), axis=0)
    if len(both) > len(np.unique(groups)):
        msg = "A block reaches over two studies; name blocks so that each lies in one, as by study, donor and tissue."
        raise InputError(msg)


class _Statistics:
    """What is as high or not under relabelling, for many relabellings (draw, point) at once: (draw, kind).

    Ranks do not change when labels move, so for all pairs and within studies the sum of products of ranks orders
    relabellings as Spearman does. All sums over points are taken by class pair first; points stand study by study.
    """

    def __init__(
        self, distances: NDArray, ruler: NDArray, study: NDArray, labels: NDArray, kinds: Sequence[str], n_threads: int
    ) -> None:
        self.kinds, self.n_classes, self.n_threads = tuple(kinds), len(ruler), n_threads
        self.order = np.argsort(study, kind="stable")
        study, ordered = study[self.order], labels[self.order]
        self.distances = np.ascontiguousarray(distances[np.ix_(self.order, self.order)])
        sizes = np.bincount(labels, minlength=self.n_classes).astype(np.float64)
        self.upper = np.triu_indices(self.n_classes, 1)
        self.pair_sizes = np.outer(sizes, sizes)[self.upper]
        self.ruler_ranks = row_ranks(ruler[self.upper][None])[0]
        self.ends = np.full(len(study), len(study))
        stops = {"all": self.ends, "within-study": np.searchsorted(study, study, side="right")}
        self.ranked = {
            kind: (stops[kind], *_pair_ranks(self.distances, ruler, ordered, stops[kind]))
            for kind in self.kinds
            if kind in stops
        }

    def reason(self, kind: str, labels: NDArray) -> str:
        """Why there is nothing to test; empty when there is something."""
        covered = labels[self.order]
        if kind == "within-study":  # a stage that stands alone in its study is in no pair of it
            stops = self.ranked[kind][0]
            covered = covered[np.bincount(stops, minlength=len(stops) + 1)[stops] > 1]
        if (n_stages := len(np.unique(covered))) < MIN_STAGES:
            return too_few(n_stages)
        if kind in self.ranked:
            varied = all(ranks.any() for ranks in self.ranked[kind][1:])
        else:
            varied = bool(self.ruler_ranks.any()) and np.ptp(self._stage_means(labels[None, self.order])) > 0
        return "" if varied else CONSTANT

    def as_high(self, labels: NDArray, drawn: Iterator[NDArray]) -> tuple[NDArray[np.int64], int]:
        """How many relabellings are as high as the labels, (kind,), and how many there were."""
        observed = self(labels[None])[0]
        margin = TIE_TOLERANCE * np.maximum(np.abs(observed), 1.0)
        count, n = np.zeros(len(self.kinds), dtype=np.int64), 0
        for relabelled in drawn:
            parts = np.array_split(relabelled, min(self.n_threads, len(relabelled)))
            values = np.concatenate(each(self, parts, n_workers=len(parts)))
            count += (values >= observed - margin).sum(axis=0)
            n += len(relabelled)
        return count, n

    def __call__(self, labels: NDArray) -> NDArray[np.float64]:
        labels = np.ascontiguousarray(labels[:, self.order])
        return np.column_stack(
            [self._by_rank(kind, labels) if kind in self.ranked else self._by_stage(labels) for kind in self.kinds]
        )

    def _by_rank(self, kind: str, labels: NDArray) -> NDArray:
        stops, ranks, ruler_ranks = self.ranked[kind]
        return np.einsum("dab,ab->d", self._sums(ranks, stops, labels), ruler_ranks)

    def _by_stage(self, labels: NDArray) -> NDArray:
        from interp.geometry.kernels import rank_correlations

        found = np.empty(len(labels))
        rank_correlations(self._stage_means(labels), self.ruler_ranks, found)
        return found

    def _stage_means(self, labels: NDArray) -> NDArray:
        """Mean distance of each pair of stages, (draw, stage pair), of labels in this order of points."""
        sums = self._sums(self.distances, self.ends, labels)
        a, b = self.upper
        return snapped((sums[:, a, b] + sums[:, b, a]) / self.pair_sizes)

    def _sums(self, matrix: NDArray, stops: NDArray, labels: NDArray) -> NDArray:
        from interp.geometry.kernels import class_pair_sums

        out = np.empty((len(labels), self.n_classes, self.n_classes))
        width = max(1, STRIP // (matrix.itemsize * len(matrix)))
        class_pair_sums(matrix, stops, labels, width, out)
        return out


def _pair_ranks(distances: NDArray, ruler: NDArray, labels: NDArray, stops: NDArray) -> tuple[NDArray, NDArray]:
    """Twice the centred ranks of pairs i < j < stops[i]: of distances, (point, point), and of the ruler by class pair.

    Both are whole numbers; those of the points stand in 32 bits where their sums fit.
    """
    from scipy.stats import rankdata

    n = len(labels)
    first, second = np.triu_indices(n, 1)
    used = second < stops[first]
    first, second = first[used], second[used]
    m = len(first)
    ranks = np.zeros((n, n), dtype=np.int32 if m * n < 2**31 else np.float64)
    if m == 0:
        return ranks, np.zeros(ruler.shape)
    ranks[first, second] = 2 * rankdata(distances[first, second]) - (m + 1)
    values, place = np.unique(ruler[labels[first], labels[second]], return_inverse=True)
    counts = np.bincount(place)
    level = 2 * np.cumsum(counts) - (counts - 1) - (m + 1.0)
    nearest = np.clip(np.searchsorted(values, ruler), 0, len(values) - 1)
    # A ruler value that no used pair has cannot come up under relabelling either.
    return ranks, np.where(values[nearest] == ruler, level[nearest], 0.0)
