"""Nested cross-validation over donors: the penalty chosen by inner donors, the score taken on outer ones.

One division into folds serves both: the probe that leaves out folds a and b helps to choose for a, where b is its test,
and for b, where a is. What was chosen for a never saw a.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from interp.probing.metrics import CLASS_METRICS, NUMBER_METRICS, DonorClasses, DonorNumbers
from interp.probing.predictor import predictor
from interp.stats import donor_folds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from interp.probing.sites import Representation
    from interp.probing.targets import Task


# Donors are left out one by one up to so many, and in so many folds beyond.
MAX_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Folds:
    """One division of the donors.

    Attributes
    ----------
    of_cell, of_donor
        Fold of each cell and of each donor.
    number
        How many folds.
    left_out
        What the training subsets leave out: every fold, then every pair of folds.
    """

    of_cell: NDArray[np.int64]
    of_donor: NDArray[np.int64]
    number: int

    @cached_property
    def left_out(self) -> list[tuple[int, ...]]:
        """Folds that each training subset leaves out."""
        return [(a,) for a in range(self.number)] + list(combinations(range(self.number), 2))

    @cached_property
    def _tested(self) -> list[NDArray[np.int64]]:
        return [np.flatnonzero(np.isin(self.of_cell, names)) for names in self.left_out]

    def tested(self, subset: int) -> NDArray[np.int64]:
        """Return the cells that a subset (its number) leaves out, ascending."""
        return self._tested[subset]


def make_folds(task: Task, *, max_folds: int = MAX_FOLDS, strata: NDArray | None = None, seed: int = 0) -> Folds:
    """Divide the donors of a task: each alone up to `max_folds` of them, in as many folds beyond.

    Parameters
    ----------
    task
        The target.
    max_folds
        Most folds.
    strata
        Group of each of the task's cells, such as its study, over which donors are spread.
    seed
        Seed of the division.

    Returns
    -------
    Folds
    """
    names = np.array(task.donors, dtype=object)[task.donor]
    n_folds = min(len(task.donors), max_folds)
    of_cell = np.zeros(len(names), np.int64)
    for number, split in enumerate(donor_folds(names, n_folds, seed, strata=strata)):
        of_cell[split.test] = number
    of_donor = np.zeros(len(task.donors), np.int64)
    of_donor[task.donor] = of_cell
    return Folds(of_cell, of_donor, n_folds)


@dataclass(frozen=True, eq=False)
class Scores:
    """What one representation reached; higher is better in every metric.

    Attributes
    ----------
    score
        Metric to (draw, donor): each donor by the probe that saw none of its fold. Draw 0 has the true labels.
    select
        Metric to (draw, fold, donor): the donors outside a fold, each by a probe that saw neither fold.
    penalty
        Place of the penalty chosen for each fold, (draw, fold).
    """

    score: dict[str, NDArray]
    select: dict[str, NDArray]
    penalty: NDArray[np.int64]


def cross_validate(
    representation: Representation, task: Task, folds: Folds, labels: NDArray, penalties: Sequence[float]
) -> Scores:
    """Score one representation.

    Parameters
    ----------
    representation
        The features.
    task
        The target.
    folds
        The division of its donors.
    labels
        Values of the cells, (draw, cell): the true ones first, then those of control tasks.
    penalties
        Penalties to choose from.

    Returns
    -------
    Scores
    """
    metrics = NUMBER_METRICS if task.is_number else CLASS_METRICS
    shape = (len(labels), folds.number)
    score = {name: np.full((shape[0], len(task.donors)), np.nan) for name in metrics}
    select = {name: np.full((*shape, len(task.donors)), np.nan) for name in metrics}
    chosen = np.zeros(shape, np.int64)
    predict = predictor(representation.features, folds, labels, penalties, is_number=task.is_number)
    for draw, values in enumerate(labels):
        judge = _Judge(task, folds, values)
        tests = [_test(judge, folds, subset) for subset in range(len(folds.left_out))]
        inner = _inner(partial(predict, draw), tests[folds.number :], folds, penalties)
        for fold in range(folds.number):
            place = inner.choose(fold)
            chosen[draw, fold] = place
            for found in inner.metrics(fold, place):
                _fill(select, (draw, fold), found)
            (part,) = tests[fold]
            _fill(score, (draw,), part.judged.metrics(predict(draw, fold, place)))
    return Scores(score, select, chosen)


class _Test(NamedTuple):
    """The cells of one fold among those that a subset leaves out."""

    fold: int
    own: NDArray[np.bool_]
    judged: DonorClasses | DonorNumbers


def _test(judge: _Judge, folds: Folds, subset: int) -> list[_Test]:
    left_out = folds.left_out[subset]
    rows = folds.tested(subset)
    found = []
    for fold in left_out:
        own = folds.of_cell[rows] == fold
        found.append(_Test(fold, own, judge.part(left_out, rows[own])))
    return found


@dataclass(frozen=True, eq=False)
class _Inner:
    """Losses and predictions of the probes that leave out two folds, as far down the path of penalties as was needed.

    ``loss`` (fold, fold, place) has what the second fold's donors say of the first fold's penalty.
    """

    pairs: list[tuple[int, ...]]
    tests: list[list[_Test]]
    loss: NDArray[np.float64]
    weight: NDArray[np.float64]
    predicted: dict[tuple[int, int], NDArray]
    falling: list[int]

    def mean_loss(self, fold: int) -> NDArray[np.float64]:
        """Mean over inner donors by place, infinite where the path was not followed."""
        total, n = self.loss[fold].sum(axis=0), self.weight[fold].sum(axis=0)
        return np.where(n > 0, total / np.maximum(n, 1.0), np.inf)

    def choose(self, fold: int) -> int:
        """Return the place of the least loss, the largest penalty of equals."""
        return self.falling[int(np.argmin(self.mean_loss(fold)[self.falling]))]

    def metrics(self, fold: int, place: int) -> list[dict[str, NDArray]]:
        """Scores of the donors outside a fold at one penalty."""
        found = []
        for index, pair in enumerate(self.pairs):
            if fold in pair:
                test = next(test for test in self.tests[index] if test.fold != fold)
                found.append(test.judged.metrics(self.predicted[index, place][test.own]))
        return found


def _inner(
    predict: Callable[[int, int], NDArray], tests: list[list[_Test]], folds: Folds, penalties: Sequence[float]
) -> _Inner:
    """Follow the path from the largest penalty until the loss rises for every fold."""
    pairs = folds.left_out[folds.number :]
    shape = (folds.number, folds.number, len(penalties))
    falling = sorted(range(len(penalties)), key=lambda place: -penalties[place])
    inner = _Inner(pairs, tests, np.zeros(shape), np.zeros(shape), {}, falling)
    for step, place in enumerate(falling):
        for index, pair in enumerate(pairs):
            found = predict(folds.number + index, place)
            inner.predicted[index, place] = found
            for test in tests[index]:
                other = pair[0] if test.fold == pair[1] else pair[1]
                loss = test.judged.loss(found[test.own])
                inner.loss[other, test.fold, place] = np.nansum(loss)
                inner.weight[other, test.fold, place] = np.isfinite(loss).sum()
        means = np.array([inner.mean_loss(fold) for fold in range(folds.number)])
        if step and (means[:, place] > means[:, falling[step - 1]]).all():
            break
    return inner


def _fill(table: dict[str, NDArray], place: tuple[int, ...], found: dict[str, NDArray]) -> None:
    for name, values in found.items():
        known = np.isfinite(values)
        table[name][place][known] = values[known]


class _Judge:
    """Scores predictions of one label vector on parts of the cells."""

    def __init__(self, task: Task, folds: Folds, labels: NDArray) -> None:
        self.task, self.folds, self.labels = task, folds, labels

    def part(self, left_out: tuple[int, ...], rows: NDArray) -> DonorClasses | DonorNumbers:
        """Return the scores of some cells under a probe that was trained without some folds."""
        donors, n_donors = self.task.donor[rows], len(self.task.donors)
        if self.task.is_number:
            return DonorNumbers(self.labels[rows], donors, n_donors)
        n_classes = len(self.task.classes)
        seen = self.labels[~np.isin(self.folds.of_cell, left_out)]
        trained = np.bincount(seen, minlength=n_classes) > 0
        return DonorClasses(self.labels[rows], donors, n_donors, n_classes, trained)
