"""Distances of points against a ruler: all pairs, pairs of different stages and pairs of one study, side by side."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from interp.errors import InputError
from interp.geometry.measured import Measured
from interp.geometry.ranks import row_ranks, snapped
from interp.geometry.resampling import bounded, draws, one_each

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# Pairs that count: all; of different stages, each pair of stages weighing one; of one study (design, pairs).
PAIR_KINDS = ("all", "different-stage", "within-study")
# Stages that pairs must cover (design, paper gates: a group counts with at least 4 stages).
MIN_STAGES = 4
# The 2.5 % tail then rests on 25 draws.
N_BOOT = 1000
CONSTANT = "the distances or the ruler are constant over the pairs"


@dataclass(frozen=True)
class Agreement:
    """How far distances follow a ruler, over one kind of pairs.

    Attributes
    ----------
    pairs
        One of `PAIR_KINDS`.
    spearman, pearson
        Correlations, with a donor-bootstrap interval where donors were given.
    n_pairs
        Pairs of points; of stages for ``different-stage``.
    n_stages
        Stages that the pairs cover.
    """

    pairs: str
    spearman: Measured
    pearson: Measured
    n_pairs: int
    n_stages: int


def ruler_agreement(
    distances: ArrayLike,
    ruler: ArrayLike,
    *,
    stages: ArrayLike,
    studies: ArrayLike | None = None,
    anchors: ArrayLike | None = None,
    donors: ArrayLike | None = None,
    seed: int = 0,
    n_boot: int = N_BOOT,
) -> dict[str, Agreement]:
    """Correlate distances between points with a ruler.

    Parameters
    ----------
    distances, ruler
        Symmetric (point, point), such as from `point_distances` and in hops.
    stages
        Stage of each point, (point,).
    studies
        Study of each point, (point,); one study by default.
    anchors
        Name of each point, (point,), where points may be copies: copies of one anchor never form a pair. All differ by
        default.
    donors
        Donor of each point, (point,), for intervals: donors are drawn with replacement, and their points with them.
    seed
        Seed of the drawn donors.
    n_boot
        Number of draws.

    Returns
    -------
    dict of str to Agreement
        For each of `PAIR_KINDS`. ``different-stage`` compares the mean distance of each pair of stages with the ruler,
        so pairs of stages weigh equally. Not computable where the pairs cover fewer than four stages or one of the two
        is constant. No interval with one donor, or where most draws cannot be computed.

    Raises
    ------
    InputError
        If the shapes do not fit or a value is not finite.

    Examples
    --------
    >>> depth = np.repeat(np.arange(5.0), 2)
    >>> ruler = np.abs(np.subtract.outer(depth, depth))
    >>> found = ruler_agreement(ruler**2, ruler, stages=depth)
    >>> round(found["all"].spearman.value, 6), round(found["different-stage"].pearson.value, 3)
    (1.0, 0.981)
    """
    pairs = _Pairs(distances, ruler, stages, studies, anchors)
    found = {kind: _agreement(kind, *pairs.summary(kind), pairs(kind, None)) for kind in PAIR_KINDS}
    if donors is None or n_boot < 1:
        return found
    weights = draws(len(pairs.stages), donors, n_boot, seed, "ruler agreement bootstrap")
    drawn = np.array([[pairs(kind, weight) for kind in PAIR_KINDS] for weight in weights])  # (draw, kind, correlation)
    if not len(drawn):
        return found
    return {kind: _with_interval(found[kind], drawn[:, place]) for place, kind in enumerate(PAIR_KINDS)}


class _Pairs:
    """The pairs of points, ready to be correlated under any weights of the points."""

    def __init__(
        self,
        distances: ArrayLike,
        ruler: ArrayLike,
        stages: ArrayLike,
        studies: ArrayLike | None,
        anchors: ArrayLike | None,
    ) -> None:
        self.distances, self.ruler = (np.asarray(m, dtype=np.float64) for m in (distances, ruler))
        n = len(self.distances)
        for matrix in (self.distances, self.ruler):
            if matrix.shape != (n, n) or not np.isfinite(matrix).all():
                msg = f"Distances and ruler must be finite and ({n}, {n}); one has shape {matrix.shape}."
                raise InputError(msg)
        self.names, self.stages = np.unique(one_each(stages, n, "stage"), return_inverse=True)
        self.first, self.second = np.triu_indices(n, 1)
        if anchors is not None:
            name = np.unique(one_each(anchors, n, "anchor"), return_inverse=True)[1]
            apart = name[self.first] != name[self.second]
            self.first, self.second = self.first[apart], self.second[apart]
        self.same_study = np.ones(len(self.first), dtype=bool)
        if studies is not None:
            study = np.unique(one_each(studies, n, "study"), return_inverse=True)[1]
            self.same_study = study[self.first] == study[self.second]

    def __call__(self, kind: str, weights: NDArray | None) -> tuple[float, float]:
        """Spearman and Pearson correlation under weights (point,); NaN where not computable."""
        if self.summary(kind)[1] < MIN_STAGES:
            return float("nan"), float("nan")
        if kind == "different-stage":
            return self._by_stage(weights)
        from interp.geometry.kernels import pair_correlations

        spread = np.ones(len(self.stages)) if weights is None else weights
        return pair_correlations(*self._columns[kind][:2], spread, *self._columns[kind][2:])

    def summary(self, kind: str) -> tuple[int, int]:
        """Number of pairs and of the stages that they cover."""
        return self._summaries[kind]

    @cached_property
    def _summaries(self) -> dict[str, tuple[int, int]]:
        n = len(self.names)
        used = self.same_study
        # A stage that stands alone in its study is in no pair of it.
        covered = np.unique(self.stages[np.concatenate([self.first[used], self.second[used]])])
        every = np.unique(self.stages[np.concatenate([self.first, self.second])])
        return {
            "all": (len(self.first), len(every)),
            "different-stage": (n * (n - 1) // 2, n),
            "within-study": (int(used.sum()), len(covered)),
        }

    @cached_property
    def _columns(self) -> dict[str, list[NDArray]]:
        """First and second point, distance and ruler of the pairs, and the places of both among their values."""
        both = [matrix[self.first, self.second] for matrix in (self.distances, self.ruler)]
        places = [np.unique(values, return_inverse=True)[1] for values in both]
        every = [self.first, self.second, *both, *places]
        one_study = bool(self.same_study.all())
        return {"all": every, "within-study": every if one_study else [column[self.same_study] for column in every]}

    def _by_stage(self, weights: NDArray | None) -> tuple[float, float]:
        hot = (self.stages[:, None] == np.arange(len(self.names))).astype(np.float64)
        if weights is not None:
            hot *= weights[:, None]
            hot = hot[:, hot.any(axis=0)]
        if hot.shape[1] < MIN_STAGES:
            return float("nan"), float("nan")
        hot /= hot.sum(axis=0)
        a, b = np.triu_indices(hot.shape[1], 1)
        means = [(hot.T @ matrix @ hot)[a, b] for matrix in (self.distances, self.ruler)]
        even = [snapped(values) for values in means]
        if not all(np.ptp(values) > 0 for values in even):
            return float("nan"), float("nan")
        ranks = row_ranks(np.array(even))
        return float(np.corrcoef(*ranks)[0, 1]), float(np.corrcoef(*means)[0, 1])


def too_few(n_stages: int) -> str:
    """Say that pairs cover too few stages to be compared with a ruler."""
    return f"the pairs cover {n_stages} stages; at least {MIN_STAGES} are needed"


def _agreement(kind: str, n_pairs: int, n_stages: int, values: tuple[float, float]) -> Agreement:
    if n_stages < MIN_STAGES:
        missing = Measured.missing(too_few(n_stages))
        return Agreement(kind, missing, missing, n_pairs, n_stages)
    constant = Measured.missing(CONSTANT)
    spearman, pearson = (Measured(float(np.clip(v, -1, 1))) if np.isfinite(v) else constant for v in values)
    return Agreement(kind, spearman, pearson, n_pairs, n_stages)


def _with_interval(found: Agreement, drawn: NDArray) -> Agreement:
    return replace(found, spearman=bounded(found.spearman, drawn[:, 0]), pearson=bounded(found.pearson, drawn[:, 1]))
