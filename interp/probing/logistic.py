"""Multinomial logistic probes: many label vectors, penalties and training subsets of one representation at once.

The loss is that of scikit-learn's `StandardScaler` and `LogisticRegression(class_weight="balanced")`: the mean log loss
with every class weighing alike, plus half the squared weights of the standardised features times a penalty, which is
`penalty * n_features`, as more features carry more of anything. So C = 1 / (penalty * n_features * n_cells).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interp.errors import InputError
from interp.probing.standard import CONSTANT, PrincipalAxes, Subset, checked_features, spread, subsets_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

logger = logging.getLogger(__name__)

# Norm of the gradient of a loss of about 1 at which a fit stops; scikit-learn's default is 1e-4, of its largest entry.
TOLERANCE = 1e-6
MAX_NEWTON = 100
# The same for the fit of all cells that others start from: they lie further from it than this anyway.
START_TOLERANCE = 1e-3
# Up to this width a class's block of the Hessian is inverted and shared; above, its diagonal in principal axes does.
WIDEST_BLOCK = 256
# Weight of a feature that is constant among the training cells, in units of the penalty: it gets no say.
NO_SAY = 1e6
_NO_BLOCKS = np.empty((0, 0, 0), np.float32)


@dataclass(frozen=True)
class LogisticFit:
    """One fitted probe, in the units of the features given.

    Attributes
    ----------
    coef
        (class, feature); rows add up to zero over the classes, and are NaN for a class that the training cells lack.
    intercept
        (class,); minus infinity for a class that the training cells lack.
    loss
        The penalised loss.
    gradient_norm
        Norm of its gradient in the coordinates that it was fitted in.
    products
        Products with the Hessian that the fit took.
    converged
        Whether the gradient fell under the tolerance, or to rounding.
    """

    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]
    loss: float
    gradient_norm: float
    products: int
    converged: bool

    def logits(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the logits of cells (cell, feature), (cell, class); minus infinity where the class was not trained."""
        return features @ np.where(np.isfinite(self.coef), self.coef, 0.0).T + self.intercept


class LogisticPaths:
    """Logistic probes of one representation along a path of penalties, on several training subsets.

    One fit of all cells comes first for each penalty: where it ends the others start, and its curvature preconditions
    them. The optimum is unique, so the start shows in nothing above the tolerance.

    Parameters
    ----------
    features
        (cell, feature), finite.
    folds
        Fold of each cell, (cell,).
    left_out
        Folds that each training subset leaves out.
    penalties
        Penalties per feature.
    tolerance
        Norm of the gradient at which a fit stops.
    """

    def __init__(
        self,
        features: ArrayLike,
        folds: ArrayLike,
        left_out: Sequence[tuple[int, ...]],
        penalties: Sequence[float],
        *,
        tolerance: float = TOLERANCE,
    ) -> None:
        x = checked_features(features)
        self.subsets = subsets_of(folds, left_out)
        self.penalties = _checked_penalties(penalties)
        self.tolerance = tolerance
        self.width = x.shape[1]
        self.shared = self.width <= WIDEST_BLOCK and len(self.subsets) > 1
        if self.shared:
            used = np.unique(np.concatenate([subset.rows for subset in self.subsets]))
            self.whole = _Shared(x, Subset((), used))
            self.parts = [self.whole.part(subset) for subset in self.subsets]
        else:
            self.own = [_Own(x, subset) for subset in self.subsets]

    def start(self, labels: ArrayLike) -> LogisticRun:
        """Take up one label vector.

        Parameters
        ----------
        labels
            Class of each cell, whole numbers from 0, (cell,).

        Returns
        -------
        LogisticRun
            Fits when asked for.

        Raises
        ------
        InputError
            A subset holds one class only.
        """
        return LogisticRun(self, np.asarray(labels))


class LogisticRun:
    """The probes of one label vector, each fitted when asked for; made by `LogisticPaths.start`."""

    def __init__(self, paths: LogisticPaths, labels: NDArray) -> None:
        self.paths = paths
        self.n_classes = int(labels.max()) + 1
        problems = paths.parts if paths.shared else paths.own
        self.tasks = [problem.task(labels, self.n_classes) for problem in problems]
        # theta and, where they are shared, blocks, by penalty: of all cells, or the last of each subset
        self.starts: dict[int, tuple[NDArray, NDArray]] = {}
        self.last: dict[int, NDArray] = {}
        self.whole = paths.whole.task(labels, self.n_classes) if paths.shared else None

    def fit(self, subset: int, place: int) -> LogisticFit:
        """Fit one subset (its number) at one penalty (its place).

        Penalties are cheapest in falling order.
        """
        paths, task = self.paths, self.tasks[subset]
        penalty = paths.penalties[place] * paths.width
        if self.whole is not None:
            found = task.solve(*self._start(self.whole, place), penalty, paths.tolerance)
        else:
            zero = np.zeros((self.n_classes, task.problem.features.shape[0]))
            found = task.solve(self.last.get(subset, zero), _NO_BLOCKS, penalty, paths.tolerance)
            self.last[subset] = found[0]
        fit = task.fitted(*found)
        if not fit.converged:
            words = "A probe with penalty %g stopped after %d Newton steps, at a gradient of %.1e."
            logger.warning(words, paths.penalties[place], MAX_NEWTON, fit.gradient_norm)
        return fit

    def _start(self, whole: _Task, place: int) -> tuple[NDArray, NDArray]:
        """Where the fit of all cells ends at a penalty, reached from the larger ones, and its blocks there."""
        paths = self.paths
        theta = np.zeros((self.n_classes, paths.width + 1))
        blocks = None
        for step in np.argsort(-paths.penalties):
            if step not in self.starts:
                penalty = paths.penalties[step] * paths.width
                blocks = whole.blocks(theta, penalty) if blocks is None else blocks
                theta = whole.solve(theta, blocks, penalty, START_TOLERANCE)[0]
                self.starts[int(step)] = theta, whole.blocks(theta, penalty)
            theta, blocks = self.starts[int(step)]
            if step == place:
                break
        return self.starts[place]


class _Problem:
    """Training cells in some coordinates, (coordinate, cell) with a last row of ones, and how to return from them."""

    def __init__(self, rows: NDArray, features: NDArray, stiffness: NDArray) -> None:
        self.rows = rows
        self.features = np.ascontiguousarray(features)
        self.single = self.features.astype(np.float32)
        self.stiffness = stiffness

    def raw(self, weights: NDArray, intercept: NDArray) -> tuple[NDArray, NDArray]:
        raise NotImplementedError

    def task(self, labels: NDArray, n_classes: int) -> _Task:
        return _Task(self, labels[self.rows], n_classes)


class _Own(_Problem):
    """A subset in its own principal axes."""

    def __init__(self, x: NDArray, subset: Subset) -> None:
        self.axes = PrincipalAxes.of(x[subset.rows])
        coords = self.axes.coords
        stiffness = np.append(np.ones(coords.shape[1]), 0.0)
        super().__init__(subset.rows, np.vstack([coords.T, np.ones(len(coords))]), stiffness)

    def raw(self, weights: NDArray, intercept: NDArray) -> tuple[NDArray, NDArray]:
        return self.axes.raw(weights, intercept)


class _Shared(_Problem):
    """All cells in their own units, which their subsets keep, so that solutions and curvatures of one serve the others.

    To standardise a subset by its own cells then only changes what a weight costs: by the square of the ratio of the
    two standard deviations. The shift of the means goes into the intercept, which costs nothing.
    """

    def __init__(self, x: NDArray, subset: Subset) -> None:
        self.mean = x[subset.rows].mean(axis=0)
        sd = spread(x[subset.rows], self.mean)
        self.scale = np.where(sd > 0, sd, np.inf)
        z = (x - self.mean) / self.scale
        self.all = np.vstack([z.T, np.ones(len(z))])
        super().__init__(subset.rows, self.all[:, subset.rows], _stiffness(self.all[:-1, subset.rows]))

    def raw(self, weights: NDArray, intercept: NDArray) -> tuple[NDArray, NDArray]:
        coef = weights / self.scale
        return coef, intercept - coef @ self.mean

    def part(self, subset: Subset) -> _Part:
        return _Part(self, subset)


class _Part(_Problem):
    """A subset in the units of all cells."""

    def __init__(self, whole: _Shared, subset: Subset) -> None:
        self.whole = whole
        features = np.ascontiguousarray(whole.all[:, subset.rows])
        super().__init__(subset.rows, features, _stiffness(features[:-1]))

    def raw(self, weights: NDArray, intercept: NDArray) -> tuple[NDArray, NDArray]:
        return self.whole.raw(weights, intercept)


class _Task:
    """One label vector on one problem; classes without training cells take no part."""

    def __init__(self, problem: _Problem, labels: NDArray, n_classes: int) -> None:
        self.problem, self.n_classes = problem, n_classes
        sizes = np.bincount(labels, minlength=n_classes)
        self.present = np.flatnonzero(sizes)
        if len(self.present) < 2:
            msg = f"the training cells of a split hold {len(self.present)} class; a probe needs two"
            raise InputError(msg)
        place = np.full(n_classes, -1)
        place[self.present] = np.arange(len(self.present))
        self.labels = place[labels]
        weights = 1.0 / sizes[labels]
        self.weights = weights / weights.sum()
        # scikit-learn has one weight vector for two classes, which costs half of what two opposite ones of half its
        # length do.
        self.factor = 2.0 if n_classes == 2 else 1.0

    def costs(self, penalty: float) -> NDArray:
        return self.factor * penalty * self.problem.stiffness

    def blocks(self, theta: NDArray, penalty: float) -> NDArray:
        from interp.probing.logistic_kernel import blocks_at

        table = np.ascontiguousarray(theta[self.present])
        found = blocks_at(table.ravel(), self.problem.features, self.weights, self.costs(penalty), len(self.present))
        if len(self.present) == self.n_classes:
            return found
        every = np.zeros((self.n_classes, *found.shape[1:]), np.float32)
        every[self.present] = found
        return every

    def solve(self, theta: NDArray, blocks: NDArray, penalty: float, tolerance: float) -> tuple:
        from interp.probing.logistic_kernel import CAPPED, minimise

        start = theta[self.present] - theta[self.present].mean(axis=0)
        every = len(self.present) == self.n_classes
        chosen = np.ascontiguousarray(blocks[self.present]) if len(blocks) and not every else blocks
        features, single = self.problem.features, self.problem.single
        found, loss, norm, _, products, state = minimise(
            start.ravel(), features, single, self.labels, self.weights, self.costs(penalty), len(self.present), chosen,
            tolerance, MAX_NEWTON,
        )  # fmt: skip
        table = np.zeros_like(theta)
        table[self.present] = found.reshape(len(self.present), -1)
        return table, loss, norm, products, state != CAPPED

    def fitted(self, table: NDArray, loss: float, norm: float, products: int, converged: bool) -> LogisticFit:  # noqa: FBT001
        coef, intercept = self.problem.raw(table[:, :-1], table[:, -1])
        if len(self.present) < self.n_classes:
            absent = np.setdiff1d(np.arange(self.n_classes), self.present)
            coef[absent], intercept[absent] = np.nan, -np.inf
        return LogisticFit(coef, intercept, loss, norm, products, converged)


def _stiffness(z: NDArray) -> NDArray:
    """What a unit weight of each feature, (feature, cell), costs, (feature + 1,), the intercept nothing."""
    square, mean = np.einsum("ij,ij->i", z, z) / z.shape[1], z.mean(axis=1)
    sd = np.sqrt(np.maximum(square - mean**2, 0.0))
    return np.append(np.where(sd > CONSTANT, sd**2, NO_SAY), 0.0)


def _checked_penalties(penalties: Sequence[float]) -> NDArray[np.float64]:
    values = np.asarray(penalties, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not (values > 0).all():
        msg = f"penalties are {list(np.ravel(values))}; give at least one, all above zero"
        raise InputError(msg)
    return values
