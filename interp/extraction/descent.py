"""L-BFGS for losses that are evaluated outside of compiled code, by the directions and rules of the anchor fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from interp.extraction.let_kernel import ARMIJO, CURVATURE, LOSS_TOLERANCE, LOSS_WINDOW, MAX_LINE_SEARCH, direction

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Pairs of steps that are kept: beside a pass over all cells they cost little, and 30 took a quarter less iterations
# than the 12 of the anchor fit.
MEMORY = 30


class Descent:
    """One search for a minimum.

    Parameters
    ----------
    function
        From parameters (parameter,) to the loss and its gradient (parameter,).
    start
        First parameters, (parameter,).
    metric
        Diagonal first guess of the inverse Hessian up to a factor, (parameter,).
    kept
        Iterations whose parameters are kept.

    Attributes
    ----------
    losses
        The loss before each iteration and after the last.
    points
        Parameters after the iterations that were to be kept.
    end
        Where the search stands.
    converged
        The loss fell by less than `LOSS_TOLERANCE` relative over `LOSS_WINDOW` iterations, or no step lowers it.

    Examples
    --------
    >>> descent = Descent(lambda x: (x @ x, 2 * x), np.array([3.0, 4.0]), np.ones(2)).run(100)
    >>> bool(descent.converged), bool(np.abs(descent.end).max() < 1e-6)
    (True, True)
    """

    def __init__(
        self,
        function: Callable[[Floats], tuple[float, Floats]],
        start: Floats,
        metric: Floats,
        kept: frozenset[int] = frozenset(),
    ) -> None:
        self._function, self._metric, self._kept = function, metric, kept
        self.end, self.converged = start, False
        self._loss, self._gradient = function(start)
        self.losses = [self._loss]
        self.points = {0: start} if 0 in kept else {}
        self._steps, self._changes = np.empty((MEMORY, start.size)), np.empty((MEMORY, start.size))
        self._inverse, self._newest, self._stored = np.empty(MEMORY), -1, 0

    def run(self, max_iter: int) -> Descent:
        """Take at most so many iterations.

        Returns
        -------
        Descent
            Itself.
        """
        for iteration in range(1, max_iter + 1):
            self.converged = not self._step()
            if self.converged:
                break
            self.losses.append(self._loss)
            if iteration in self._kept:
                self.points[iteration] = self.end
            back = iteration - LOSS_WINDOW
            if back >= 0 and self.losses[back] - self._loss < LOSS_TOLERANCE * abs(self._loss):
                self.converged = True
                break
        return self

    def _step(self) -> bool:
        """Take one step; False when none lowers the loss, with or without the memory of earlier ones."""
        while True:
            way = np.empty_like(self.end)
            memory = (self._steps, self._changes, self._inverse, self._newest, self._stored)
            direction(self._gradient, self._metric, *memory, way)
            descent = float(way @ self._gradient)
            if descent < 0.0 and self._search(way, descent):
                return True
            if self._stored == 0:
                return False
            self._stored = 0

    def _search(self, way: Floats, descent: float) -> bool:
        """Look along a direction for a step that meets the weak Wolfe conditions, and take what was found."""
        first = 0.1 * np.linalg.norm(self.end) / np.linalg.norm(way)
        step, low, high = 1.0 if self._stored else min(1.0, float(first)), 0.0, np.inf
        for _ in range(MAX_LINE_SEARCH):
            trial = self.end + step * way
            loss, gradient = self._function(trial)
            lower = loss <= self._loss + ARMIJO * step * descent
            if not lower:
                high = step
            elif gradient @ way < CURVATURE * descent:
                low = step
            else:
                break
            step = 0.5 * (low + high) if high < np.inf else 2.0 * step
        if not (lower and loss < self._loss):
            return False
        self._newest = (self._newest + 1) % MEMORY
        self._steps[self._newest], self._changes[self._newest] = trial - self.end, gradient - self._gradient
        product = float(self._steps[self._newest] @ self._changes[self._newest])
        # The line search makes the product positive, except when it ran out.
        self._stored = min(self._stored + 1, MEMORY) if product > 0.0 else 0
        self._inverse[self._newest] = 1.0 / product if product > 0.0 else 0.0
        self.end, self._loss, self._gradient = trial, loss, gradient
        return True
