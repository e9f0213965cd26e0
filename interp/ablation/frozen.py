"""Readouts of the intact model's embedding, fitted on training donors and then frozen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from interp.probing.logistic import LogisticPaths
from interp.probing.metrics import CLASS_METRICS, NUMBER_METRICS, DonorClasses, DonorNumbers
from interp.probing.nested import cross_validate
from interp.probing.ridge import ridge_paths
from interp.probing.sites import Representation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from interp.probing.nested import Folds
    from interp.probing.targets import Task

# What gradients follow; higher is better, as in all metrics. Both are linear in what is read where a readout is sure of
# itself, and there the slope of a log-probability or of a squared error vanishes, so that it foretells nothing.
LOG_ODDS, SLOPE = "log_odds", "slope"
# That metric stands last, beside those of the probes.
CLASSES, NUMBERS = (*CLASS_METRICS, LOG_ODDS), (*NUMBER_METRICS, SLOPE)


@dataclass(frozen=True, eq=False)
class FrozenReadouts:
    """The probes of one target on some cells, so that every cell is read by probes that never saw its donor.

    Slot 0 is the probe that left out the cell's own fold: it scores. Slot 1 + f left out the cell's own fold and fold
    f: with it the donors outside f choose heads for f, and what they choose has seen nothing of f.

    Attributes
    ----------
    donors, classes
        Names; no classes for a number.
    values
        Class codes or numbers of the cells that are scored, (cell,).
    donor, fold
        Number of each cell's donor and fold, (cell,).
    coef
        Weights by the cell's fold and slot, (fold, slot, output, d_model); an output is a class, or the one number.
        NaN where the slot is the own fold's; zero for a class that the training cells lack.
    intercept
        (fold, slot, output); minus infinity for a class that the training cells lack.
    """

    donors: tuple[str, ...]
    classes: tuple[str, ...]
    values: NDArray
    donor: NDArray[np.int64]
    fold: NDArray[np.int64]
    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return len(self.coef)

    @property
    def fold_of_donor(self) -> NDArray[np.int64]:
        """Fold of each donor, (donor,)."""
        folds = np.zeros(len(self.donors), np.int64)
        folds[self.donor] = self.fold
        return folds

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics, each higher for better."""
        return CLASSES if self.classes else NUMBERS

    @property
    def differentiable(self) -> str:
        """The metric that is a mean over cells of something with a gradient.

        ``log_odds``: of the true class against all others (natural logarithm); ``slope``: of what is read on the truth,
        inside a donor.
        """
        return LOG_ODDS if self.classes else SLOPE

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whether a cell counts: its probe was trained on its class, or its donor's numbers differ, (cell,)."""
        if not self.classes:
            return np.isfinite(self.contrast)
        return np.isfinite(self.intercept[self.fold, 0, self.values])

    @cached_property
    def contrast(self) -> NDArray[np.float64]:
        """Of a number: deviation from the donor's mean over the donor's variance, (cell,); NaN for a constant."""
        return deviation(self.values, self.donor, len(self.donors))

    def weights(self) -> NDArray[np.float64]:
        """Weight of each cell in its donor's score, classes alike, (donor, cell); all NaN without two known classes."""
        labels = self.values if self.classes else np.zeros(len(self.values), np.int64)
        return class_weights(labels, self.donor, self.known, len(self.donors), len(self.classes))

    def read(self, embedding: NDArray, rows: NDArray[np.int64], *, every: bool = True) -> NDArray[np.float64]:
        """Return logits or numbers of some of the cells (by their rows) from their `<cls>` rows (cell, d_model).

        Returns
        -------
        numpy.ndarray
            (cell, slot, output); slot 0 alone unless `every`.
        """
        slots = slice(None) if every else slice(1)
        fold = self.fold[rows]
        found = np.einsum("cd,cskd->csk", np.asarray(embedding, np.float64), self.coef[fold, slots])
        return found + self.intercept[fold, slots]

    def scores(self, read: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Score what was read, (cell, slot, output).

        Returns
        -------
        dict
            Metric to (slot, donor); NaN where a donor takes no part in the choice or cannot be scored.
        """
        n_slots = read.shape[1]
        found = {name: np.full((n_slots, len(self.donors)), np.nan) for name in self.metrics}
        for own in range(self.n_folds):
            cells = np.flatnonzero(self.fold == own)
            for slot in range(n_slots):
                if slot == 1 + own or not len(cells):
                    continue
                for name, values in self._metrics(read[cells, slot], cells, own, slot).items():
                    scored = np.isfinite(values)
                    found[name][slot, scored] = values[scored]
        return found

    def _metrics(self, read: NDArray, cells: NDArray, own: int, slot: int) -> dict[str, NDArray]:
        n_donors, values, donor = len(self.donors), self.values[cells], self.donor[cells]
        if self.classes:
            trained = np.isfinite(self.intercept[own, slot])
            judge = DonorClasses(values, donor, n_donors, len(self.classes), trained)
            weights = class_weights(values, donor, trained[values], n_donors, len(self.classes))
            return judge.metrics(read) | {LOG_ODDS: weights @ np.where(trained[values], log_odds(read, values), 0.0)}
        numbers = DonorNumbers(values, donor, n_donors)
        contrast = deviation(values, donor, n_donors)
        weights = class_weights(np.zeros(len(cells), np.int64), donor, np.isfinite(contrast), n_donors, 0)
        return numbers.metrics(read[:, 0]) | {SLOPE: weights @ (read[:, 0] * np.nan_to_num(contrast))}


def log_odds(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the log-odds of each cell's class against all others, (cell,), from logits (cell, class)."""
    from scipy.special import logsumexp

    rows = np.arange(len(labels))
    others = logits.copy()
    others[rows, labels] = -np.inf
    return logits[rows, labels] - logsumexp(others, axis=1)


def class_weights(
    labels: NDArray[np.int64], donor: NDArray[np.int64], known: NDArray[np.bool_], n_donors: int, n_classes: int
) -> NDArray[np.float64]:
    """Return the weight of each known cell in its donor's mean, classes alike, (donor, cell).

    All NaN for a donor with fewer than two known classes; `n_classes` is 0 for a number, which has none.
    """
    sizes = np.zeros((n_donors, max(n_classes, 1)))
    np.add.at(sizes, (donor[known], labels[known]), 1.0)
    present = (sizes > 0).sum(axis=1)
    found = np.zeros((n_donors, len(labels)))
    cells = np.flatnonzero(known)
    found[donor[cells], cells] = 1.0 / (sizes[donor, labels] * present[donor])[cells]
    found[present < (2 if n_classes else 1)] = np.nan
    return found


def deviation(values: NDArray, donor: NDArray[np.int64], n_donors: int) -> NDArray[np.float64]:
    """Return each number's deviation from its donor's mean over the donor's variance, (cell,); NaN for a constant.

    The mean over a donor's cells of what is read times this is the slope of what is read on the truth.
    """
    found = np.full(len(values), np.nan)
    for number in range(n_donors):
        own = donor == number
        if own.any() and np.ptp(values[own]) > 0:
            centred = values[own] - values[own].mean()
            found[own] = centred / np.mean(centred**2)
    return found


def fit_readouts(
    embedding: NDArray, task: Task, folds: Folds, penalties: Sequence[float], *, scored: NDArray | None = None
) -> FrozenReadouts:
    """Fit the standard probe of every fold on the embeddings of the intact model, the penalty chosen by inner donors.

    Parameters
    ----------
    embedding
        `<cls>` rows of the task's cells, (cell, d_model).
    task, folds
        The target, and the division of its donors.
    penalties
        Penalties per feature to choose from.
    scored
        Places among the task's cells of those that will be scored; all when None. All are trained on.

    Returns
    -------
    FrozenReadouts
        Of the scored cells.
    """
    x = np.asarray(embedding, dtype=np.float64)
    whole = Representation("cls", "cls", None, None, x)
    places = cross_validate(whole, task, folds, task.values[None], penalties).penalty[0]
    n_outputs = 1 if task.is_number else len(task.classes)
    coef = np.full((folds.number, 1 + folds.number, n_outputs, x.shape[1]), np.nan)
    intercept = np.full(coef.shape[:3], np.nan)
    for own in range(folds.number):
        coef[own, 0], intercept[own, 0] = _fit(x, task, folds, (own,), penalties[places[own]])
        for other in range(folds.number):
            if other != own:
                left_out = (min(own, other), max(own, other))
                fit = _fit(x, task, folds, left_out, penalties[places[other]])
                coef[own, 1 + other], intercept[own, 1 + other] = fit
    rows = np.arange(len(x)) if scored is None else np.asarray(scored, np.int64)
    classes = () if task.is_number else task.classes
    return FrozenReadouts(
        task.donors, classes, task.values[rows], task.donor[rows], folds.of_cell[rows], coef, intercept
    )


def _fit(
    x: NDArray, task: Task, folds: Folds, left_out: tuple[int, ...], penalty: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights (output, d_model) and intercepts (output,) of the probe that saw all folds but some."""
    if task.is_number:
        (fits,) = ridge_paths(x, task.values[:, None], folds.of_cell, [left_out], [penalty])
        return fits.coef[0], fits.intercept[0]
    n_classes = len(task.classes)
    found = LogisticPaths(x, folds.of_cell, [left_out], [penalty]).start(task.values).fit(0, 0)
    coef, intercept = np.zeros((n_classes, x.shape[1])), np.full(n_classes, -np.inf)
    coef[: len(found.coef)] = np.where(np.isfinite(found.coef), found.coef, 0.0)
    intercept[: len(found.intercept)] = found.intercept
    return coef, intercept
