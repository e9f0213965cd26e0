"""Latent distances against the ruler over pairs of anchors, and the permutation of labels inside blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interp.evidence.holdouts import MIN_STAGES, row_spearman

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interp.evidence.panel import FloatArray, IntArray, Labels, Panel

# Pairs that count: all; of different stages, each pair of stages weighing one; of one study (design, pairs).
GATE_PAIRS = ("all", "different-stage", "within-study")
# Relabellings drawn at a time; bounds memory to some 20 MB.
CHUNK = 500
# Sums over equal values differ by rounding only.
TIE_TOLERANCE = 1e-10


@dataclass(frozen=True)
class BlockedP:
    """Outcome of a blocked permutation: p, draws, whether p sits at its floor, and the floor."""

    p: float
    n: int
    at_floor: bool
    floor: float


def pair_correlations(panel: Panel, rows: IntArray, labels: Labels, distances: FloatArray) -> FloatArray:
    """Correlate distances with the ruler inside one group of anchors.

    Parameters
    ----------
    panel
        The anchors.
    rows
        Anchors of the group, all of known class, (anchor,).
    labels
        What the classes are called.
    distances
        Between them, (anchor, anchor).

    Returns
    -------
    numpy.ndarray
        Spearman for each of `GATE_PAIRS`; NaN where fewer than four stages are compared or the ruler is constant.
    """
    classes, studies = panel.classes[rows], panel.studies[rows]
    first, second = np.triu_indices(len(rows), 1)
    same_study = studies[first] == studies[second]
    values = np.full(len(GATE_PAIRS), np.nan)
    for column, used in ((0, np.ones(len(first), dtype=bool)), (2, same_study)):
        i, j = first[used], second[used]
        # A stage that stands alone in its study is in no pair of it.
        if len(np.unique(classes[np.concatenate([i, j])])) >= MIN_STAGES:
            values[column] = row_spearman(distances[i, j][None], labels.ruler[classes[i], classes[j]][None])[0]
    found = np.unique(classes)
    if len(found) >= MIN_STAGES:
        hot = (classes[:, None] == found).astype(np.float64)
        hot /= hot.sum(axis=0)
        a, b = np.triu_indices(len(found), 1)
        means = (hot.T @ distances @ hot)[a, b]
        values[1] = row_spearman(means[None], labels.ruler[found[a], found[b]][None])[0]
    return values


def blocked_p(
    panel: Panel, rows: IntArray, labels: Labels, distances: FloatArray, *, n: int, rng: np.random.Generator
) -> list[BlockedP | None]:
    """Permute the stages of anchors inside donor x tissue blocks and see how often the correlation is as high.

    Parameters
    ----------
    panel, rows, labels, distances
        As in `pair_correlations`.
    n
        Number of relabellings.
    rng
        Random stream.

    Returns
    -------
    list of BlockedP or None
        For each of `GATE_PAIRS`; None where the correlation itself is not computable.
    """
    correlations = pair_correlations(panel, rows, labels, distances)
    codes, classes = np.unique(panel.classes[rows], return_inverse=True)
    blocks = _blocks(panel, rows)
    ruler = labels.ruler[np.ix_(codes, codes)]
    statistics = _Statistics(distances, ruler, panel.studies[rows], classes)
    observed = statistics(classes[None])[0]
    as_good = np.zeros(len(GATE_PAIRS), dtype=np.int64)
    margin = TIE_TOLERANCE * np.maximum(np.abs(observed), 1.0)
    for relabelled in _relabellings(classes, blocks, n, rng):
        as_good += (statistics(relabelled) >= observed - margin).sum(axis=0)
    floor = max(1.0 / (1 + n), 1.0 / arrangements(classes, blocks))
    return [
        BlockedP((1 + int(b)) / (1 + n), n, bool(b == 0), floor) if np.isfinite(r) else None
        for b, r in zip(as_good, correlations, strict=True)
    ]


def arrangements(classes: IntArray, blocks: IntArray) -> float:
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


class _Statistics:
    """What is as high or not under relabelling, for many relabellings (draw, anchor) at once: (draw, pairs).

    Ranks do not change when labels move, so for all pairs and within studies the sum of products of ranks orders
    relabellings as Spearman does.
    """

    def __init__(self, distances: FloatArray, ruler: FloatArray, studies: np.ndarray, classes: IntArray) -> None:
        n = len(distances)
        same_study = studies[:, None] == studies
        self.n_classes = len(ruler)
        self.ruler = ruler
        self.distances = distances
        self.sizes = np.bincount(classes, minlength=self.n_classes).astype(np.float64)
        self.weights = [
            _pair_ranks(distances, ruler[np.ix_(classes, classes)], classes, used, self.n_classes)
            for used in (np.ones((n, n), dtype=bool), same_study)
        ]

    def __call__(self, classes: IntArray) -> FloatArray:
        hot = (classes[:, :, None] == np.arange(self.n_classes)).astype(np.float64)  # (draw, anchor, class)
        turned = np.ascontiguousarray(hot.transpose(0, 2, 1))
        values = np.empty((len(classes), len(GATE_PAIRS)))
        for column, (ranks, ruler_ranks) in zip((0, 2), self.weights, strict=True):
            values[:, column] = np.einsum("dab,ab->d", turned @ (ranks @ hot), ruler_ranks)
        a, b = np.triu_indices(self.n_classes, 1)
        means = (turned @ (self.distances @ hot))[:, a, b] / (self.sizes[a] * self.sizes[b])
        values[:, 1] = np.nan_to_num(row_spearman(means, np.broadcast_to(self.ruler[a, b], means.shape)))
        return values


def _pair_ranks(
    distances: FloatArray, ruler: FloatArray, classes: IntArray, used: np.ndarray, n_classes: int
) -> tuple[FloatArray, FloatArray]:
    """Centred ranks of the used pairs' distances, (anchor, anchor), and of the ruler by class pair, (class, class)."""
    from scipy.stats import rankdata

    first, second = np.triu_indices(len(distances), 1)
    keep = used[first, second]
    first, second = first[keep], second[keep]
    ranks = np.zeros_like(distances)
    by_class = np.zeros((n_classes, n_classes))
    if len(first):
        ranked = rankdata(distances[first, second])
        ranks[first, second] = ranks[second, first] = ranked - ranked.mean()
        values, place = np.unique(ruler[first, second], return_inverse=True)
        counts = np.bincount(place)
        level = np.cumsum(counts) - (counts - 1) / 2 - (len(first) + 1) / 2
        return ranks, _by_class(values, level, ruler, classes, by_class)
    return ranks, by_class


def _by_class(
    values: FloatArray, level: FloatArray, ruler: FloatArray, classes: IntArray, out: FloatArray
) -> FloatArray:
    """Rank of each ruler value, by the classes that have it; values that no used pair has keep rank 0."""
    place = np.clip(np.searchsorted(values, ruler), 0, len(values) - 1)
    ranks = np.where(values[place] == ruler, level[place], 0.0)
    out[classes[:, None], classes] = ranks
    return out


def _blocks(panel: Panel, rows: IntArray) -> IntArray:
    names = panel.obs["donor"].astype(str) + "\n" + panel.obs["tissue"].astype(str)
    return np.unique(names.to_numpy()[rows], return_inverse=True)[1]


def _relabellings(classes: IntArray, blocks: IntArray, n: int, rng: np.random.Generator) -> Iterator[IntArray]:
    home = np.argsort(blocks, kind="stable")
    for start in range(0, n, CHUNK):
        keys = blocks + rng.random((min(CHUNK, n - start), len(classes)))
        drawn = np.empty(keys.shape, dtype=np.int64)
        drawn[:, home] = classes[np.argsort(keys, axis=1)]
        yield drawn
