"""Loss and gradient of a `CellProblem`, ready to be evaluated many times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import log_softmax

from interp.extraction.cell_kernel import block_arcs, block_pull, edge_pull
from interp.extraction.cell_problem import HEAD_RIDGE
from interp.extraction.let_kernel import BETA_RIDGE, NORM_FLOOR

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from interp.extraction.cell_problem import CellProblem

    Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The loss at one point.

    Attributes
    ----------
    loss
        Sum of the weighted parts and the ridge on beta.
    gradient
        By all parameters, (parameter,).
    beta
        The best beta, hops per radian.
    parts
        Unweighted part by name.
    """

    loss: float
    gradient: Floats
    beta: float
    parts: dict[str, float]


@dataclass(frozen=True, eq=False)
class Theta:
    """The parameters: A (latent, rank), b (rank,), head (stage, latent) and its intercept (stage,), in one vector."""

    a: Floats
    b: Floats
    head: Floats
    intercept: Floats

    @classmethod
    def of(cls, vector: Floats, n_latent: int, rank: int) -> Theta:
        """Cut a vector into views."""
        first = n_latent * rank
        rest = vector[first + rank :].reshape(-1, n_latent + 1)
        return cls(vector[:first].reshape(n_latent, rank), vector[first : first + rank], rest[:, :-1], rest[:, -1])


class Points:
    """Cells or anchors whose pairs count: their coordinates, and room for the arcs between them."""

    def __init__(self, coords: Floats, codes: NDArray[np.int64], hops: Floats, bounds: NDArray[np.int64]) -> None:
        self.coords = np.ascontiguousarray(coords.T)  # (rank, point)
        self.codes, self.hops, self.bounds = codes, hops, bounds
        widest = int(np.diff(bounds).max())
        self._cosines, self._arcs = np.empty((len(codes), widest)), np.empty((len(codes), widest))

    def place(self, theta: Theta) -> None:
        """Map the points, and sum arcs and hops over their pairs."""
        latents = np.ascontiguousarray((theta.a @ self.coords).T) - theta.a @ theta.b
        self.inverse = 1.0 / np.sqrt(np.einsum("ij,ij->i", latents, latents) + NORM_FLOOR)
        self.unit = latents * self.inverse[:, None]
        across, square, hop_square, pairs = block_arcs(
            self.unit, self.bounds, self.codes, self.hops, self._cosines, self._arcs
        )
        self.across, self.square, self.hop_square, self.pairs = (
            across / pairs,
            square / pairs,
            hop_square / pairs,
            pairs,
        )

    def stress(self, beta: float) -> float:
        """Mean over pairs of (beta arc - hops)^2."""
        return beta * beta * self.square - 2.0 * beta * self.across + self.hop_square

    def add_stress_pull(self, beta: float, weight: float, pull: Floats) -> None:
        """Add the gradient of the weighted stress by the unit latents to ``pull`` (point, latent)."""
        block_pull(
            self.unit, self.bounds, self.codes, self.hops, self._cosines, self._arcs, beta, weight / self.pairs, pull
        )

    def movement(self, gram: Floats) -> Floats:
        """Square of the angle by which unit noise in every direction moves each point, (point,); gram = A A'."""
        radial = np.einsum("ij,ij->i", self.unit @ gram, self.unit)
        return (np.trace(gram) - radial) * self.inverse**2

    def back(self, pull: Floats, shrink: Floats | float = 0.0) -> tuple[Floats, Floats]:
        """Turn a gradient by unit latents into one by A (latent, rank) without the offset, and one by A b (latent,).

        ``shrink`` (point,) is minus the gradient by the logarithm of the latents' norms.
        """
        radial = np.einsum("ij,ij->i", pull, self.unit) + shrink
        by_latent = (pull - radial[:, None] * self.unit) * self.inverse[:, None]
        return np.ascontiguousarray(by_latent.T) @ self.coords.T, -by_latent.sum(axis=0)


class Objective:
    """Loss of a problem as a function of its parameters.

    Parameters
    ----------
    problem
        The problem.
    n_latent
        Latent dimensions.
    """

    def __init__(self, problem: CellProblem, n_latent: int) -> None:
        basis, weights = problem.basis, problem.weights
        self.problem, self.weights, self.n_latent, self.rank = problem, weights, n_latent, basis.rank
        self.noise = float(basis.variance.mean())
        codes = problem.stages[problem.dealt]
        self.cells = Points(basis.train[problem.dealt], codes, problem.ruler, problem.bounds)
        self.anchors: Points | None = None
        if weights.topology and problem.anchors is not None and problem.anchor_stages is not None:
            whole = np.array([0, len(problem.anchors)])
            self.anchors = Points(problem.anchors, problem.anchor_stages, problem.ruler, whole)
        self.present = problem.present
        self.labels = np.searchsorted(self.present, codes)
        self.neighbours = problem.neighbours if weights.local else None

    @property
    def size(self) -> int:
        """Number of parameters that are searched: map, offset and, when it counts, the head."""
        return (self.n_latent + 1) * self.rank + self.n_head

    @property
    def n_head(self) -> int:
        """Number of parameters of the head; 0 when classification has no weight."""
        return len(self.present) * (self.n_latent + 1) if self.weights.classification else 0

    def __call__(self, vector: Floats) -> Evaluation:
        """Evaluate at ``vector`` (parameter,)."""
        theta = Theta.of(vector, self.n_latent, self.rank)
        gradient = np.zeros_like(vector)
        slope = Theta.of(gradient, self.n_latent, self.rank)
        pull = np.zeros((len(self.labels), self.n_latent))
        self.cells.place(theta)
        arc_square = edge_pull(self.cells.unit, self.neighbours, pull) if self.neighbours is not None else 0.0
        if self.anchors:
            self.anchors.place(theta)
        w, gram = self.weights, theta.a @ theta.a.T
        moved = self.cells.movement(gram) if w.ridge else np.zeros(1)
        beta = self._beta(arc_square, self.noise * float(moved.mean()))
        pull *= w.local * beta * beta
        parts = {"stage": self.cells.stress(beta), "local": beta * beta * arc_square, "topology": 0.0}
        if w.stage:
            self.cells.add_stress_pull(beta, w.stage, pull)
        parts["classification"] = self._classify(theta, pull, slope) if self.n_head else 0.0
        parts["ridge"] = beta * beta * self.noise * float(moved.mean())
        shrink = self._resist(theta, gram, beta, moved, pull, slope) if w.ridge else 0.0
        by_a, by_shift = self.cells.back(pull, shrink)
        if self.anchors:
            parts["topology"] = self.anchors.stress(beta)
            prior = np.zeros_like(self.anchors.unit)
            self.anchors.add_stress_pull(beta, w.topology, prior)
            more_a, more_shift = self.anchors.back(prior)
            by_a, by_shift = by_a + more_a, by_shift + more_shift
        parts["reconstruction"] = self._reconstruct(theta, slope)
        slope.a[:] += by_a + np.outer(by_shift, theta.b)
        slope.b[:] += theta.a.T @ by_shift
        loss = (w.stage + w.topology) * BETA_RIDGE * beta * beta
        loss += sum(getattr(w, name) * value for name, value in parts.items())
        return Evaluation(float(loss), gradient, beta, {name: float(value) for name, value in parts.items()})

    def _beta(self, arc_square: float, noise: float) -> float:
        """Return the beta that minimises the loss at the present arcs; its own slope is then zero."""
        w = self.weights
        across, square = w.stage * self.cells.across, w.stage * (self.cells.square + BETA_RIDGE)
        if self.anchors:
            across += w.topology * self.anchors.across
            square += w.topology * (self.anchors.square + BETA_RIDGE)
        return float(across / (square + w.local * arc_square + w.ridge * noise))

    def _resist(self, theta: Theta, gram: Floats, beta: float, moved: Floats, pull: Floats, slope: Theta) -> Floats:
        """Add the gradients of the ridge, and return what they are by minus the logarithm of the norms, (cell,)."""
        unit = self.cells.unit
        twice = 2.0 * beta * beta * self.weights.ridge * self.noise / len(unit)
        heat = twice * self.cells.inverse**2
        heated = heat[:, None] * unit
        pull -= heated @ gram
        slope.a[:] += heat.sum() * theta.a - (heated.T @ unit) @ theta.a
        return twice * moved

    def _classify(self, theta: Theta, pull: Floats, slope: Theta) -> float:
        """Return the cross-entropy of the head with its ridge, and add its gradients."""
        unit, weight = self.cells.unit, self.weights.classification
        rows = np.arange(len(unit))
        logs = log_softmax(unit @ theta.head.T + theta.intercept, axis=1)
        off = np.exp(logs)
        off[rows, self.labels] -= 1.0
        off *= weight / len(unit)
        pull += off @ theta.head
        slope.head[:] += off.T @ unit + 2.0 * weight * HEAD_RIDGE * theta.head
        slope.intercept[:] += off.sum(axis=0)
        return float(HEAD_RIDGE * np.sum(theta.head**2) - logs[rows, self.labels].mean())

    def _reconstruct(self, theta: Theta, slope: Theta) -> float:
        """Return the reconstruction and add its gradients; over centred cells it needs their variances alone."""
        basis, a, b = self.problem.basis, theta.a, theta.b
        shift, gram, scaled = a @ b, a @ a.T, a * basis.variance
        spread, back = scaled @ a.T, gram @ shift
        fit = basis.variance.sum() + b @ b + shift @ back - 2.0 * (shift @ shift) - 2.0 * np.trace(spread)
        share = self.weights.reconstruction / basis.n_features
        down = share * (2.0 * back - 4.0 * shift)
        outer = 2.0 * share * (spread + np.outer(shift, shift))
        inner = 2.0 * share * (gram - 2.0 * np.eye(self.n_latent))
        slope.a[:] += outer @ a + inner @ scaled + np.outer(down, b)
        slope.b[:] += a.T @ down + 2.0 * share * b
        return float((fit + np.sum(gram * spread)) / basis.n_features)
