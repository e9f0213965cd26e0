"""LET: the linear map whose angles reproduce a ruler, fitted to many small problems at once.

The loss of one problem, over anchors x standardised with the training mean and sd, and z = W (x - b), is the sum of

- the stress, mean over pairs i < j of (beta arccos cos(z_i, z_j) - ruler_ij)^2;
- alpha * mean over anchors and kept features of (W^T z + b - x)^2;
- ridge * v * mean over anchors of beta^2 (||W||^2 - ||W^T u_i||^2) / ||z_i||^2, with u_i = z_i / ||z_i|| and v the mean
  variance along the directions of the span: the mean square, in ruler units, by which noise of variance v in every
  direction would move an anchor. So ``ridge`` is the variance of the noise in units of v, whatever the number of
  features and anchors. Angles do not see the length of z, and a plain ||W||^2 is escaped by shrinking W;
- BETA_RIDGE * beta^2, which keeps the radius of the sphere finite.

beta has a closed form, and is put in at every evaluation.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np

from interp.errors import InputError
from interp.extraction.span import SpanBasis
from interp.geometry.distances import angles
from interp.runs.seeds import stream
from interp.runs.workers import one_thread_each, processors

logger = logging.getLogger(__name__)

# Latent dimensions of the method (arXiv:2603.10261: 3, 6 and 10 were tried, 10 kept).
N_LATENT = 10
# Weight of the reconstruction (design: start 0.1) and of the ridge, and the grids both are tuned over.
ALPHA = 0.1
RIDGE = 0.03
ALPHAS = (0.01, 0.1, 1.0)
RIDGES = (0.001, 0.03, 1.0)
N_STARTS = 5
MAX_ITER = 3000
# The informed start puts the largest ruler distance at this angle; under pi, so that the target is not folded over.
START_ANGLE = 0.75 * np.pi
# Ridge of the informed start, as a share of the mean variance along the span's directions.
START_RIDGE = 1.0
# Norm of the random part added to the informed start, as a share of its norm.
SPARK = 0.1


@dataclass(frozen=True, eq=False)
class LetProblem:
    """One adaptor to fit: the anchors' span, the ruler between them, and the two weights of the loss.

    Attributes
    ----------
    basis
        Span of the training anchors; problems may share one.
    ruler
        Symmetric non-negative distances between the training anchors, (anchor, anchor).
    alpha
        Weight of the reconstruction.
    ridge
        Weight of the ridge, in the scale-free units of this module.
    """

    basis: SpanBasis
    ruler: np.ndarray = field(repr=False)
    alpha: float = ALPHA
    ridge: float = RIDGE

    def __post_init__(self) -> None:
        """Check the ruler and the weights against the basis."""
        ruler = np.ascontiguousarray(self.ruler, dtype=np.float64)
        object.__setattr__(self, "ruler", ruler)
        n = self.basis.n_rows
        if ruler.shape != (n, n):
            msg = f"The ruler has shape {ruler.shape}, but the basis has {n} anchors: ({n}, {n}) is needed."
            raise InputError(msg)
        # min() is NaN when any entry is, and NaN fails the comparison
        if not (ruler.min() >= 0 and np.isfinite(ruler.max())) or not np.array_equal(ruler, ruler.T):
            msg = "The ruler must be symmetric, finite and non-negative; leave out anchors without a known stage."
            raise InputError(msg)
        if not ruler.any():
            msg = f"The ruler is zero between all {n} anchors; at least two different stages are needed."
            raise InputError(msg)
        if not (self.alpha >= 0 and self.ridge >= 0):
            msg = f"alpha and ridge must not be negative; alpha={self.alpha}, ridge={self.ridge} given."
            raise InputError(msg)


@dataclass(frozen=True, eq=False)
class LetFit:
    """A fitted adaptor z = W (x - b), its latents rotated to the principal axes of the training anchors' latents.

    Only angles about the origin matter, so the gauge rotates and never shifts: axes by falling variance of the training
    latents, the largest loading of each positive.

    Attributes
    ----------
    basis
        Span of the training anchors.
    weights
        W in span coordinates, (latent, rank).
    offset
        b in span coordinates, (rank,).
    beta_
        Ruler units per radian.
    loss_, ruler_loss_
        Final loss, and its ruler part (mean squared error over pairs).
    n_iter_
        Iterations of the best start.
    converged_
        False if the best start was stopped at the cap.
    start_
        Which start won; 0 is the informed one.
    losses_
        Learning curve of that start: the loss before each iteration and after the last, float64 (iteration + 1,).
    """

    basis: SpanBasis
    weights: np.ndarray = field(repr=False)
    offset: np.ndarray = field(repr=False)
    beta_: float
    loss_: float
    ruler_loss_: float
    n_iter_: int
    converged_: bool
    start_: int
    losses_: np.ndarray = field(repr=False)

    @property
    def mean_(self) -> np.ndarray:
        """Training mean of the features, (feature,)."""
        return self.basis.mean

    @property
    def scale_(self) -> np.ndarray:
        """Training sd of the kept features, (kept,)."""
        return self.basis.scale

    @property
    def kept_(self) -> np.ndarray:
        """Which features vary, bool (feature,)."""
        return self.basis.kept

    @cached_property
    def W_(self) -> np.ndarray:
        """Weights on the standardised kept features, (latent, kept)."""
        return self.basis.to_features(self.weights)

    @cached_property
    def b_(self) -> np.ndarray:
        """Offset in the standardised kept features, (kept,)."""
        return self.basis.to_features(self.offset)

    def from_coords(self, coords: np.ndarray) -> np.ndarray:
        """Latents (row, latent) of rows given in span coordinates (row, rank), as ``basis.coords`` makes them."""
        return (coords - self.offset) @ self.weights.T

    def transform(self, features: np.ndarray) -> np.ndarray:
        """Latents (row, latent) of rows in the raw features (row, feature)."""
        return self.from_coords(self.basis.coords(features))

    def as_map(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the same map as one affine step from the raw features.

        Returns
        -------
        tuple of numpy.ndarray
            M (feature, latent), zero for dropped features, and c (latent,), with latents = features @ M + c.
        """
        matrix = np.zeros((len(self.mean_), len(self.weights)))
        matrix[self.kept_] = (self.W_ / self.scale_).T
        return matrix, -(self.mean_ @ matrix) - self.weights @ self.offset

    def arcs(self, latents: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
        """Distances in ruler units, beta arccos cos, between latents (row, latent) and others, or among themselves."""
        return self.beta_ * angles(latents, latents if others is None else others)

    def distances(self, features: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
        """Distances in ruler units between rows in the raw features (row, feature), (row, other row)."""
        latents = self.transform(features)
        return self.arcs(latents, None if others is None else self.transform(others))


def fit_let(
    problems: Sequence[LetProblem],
    *,
    n_latent: int = N_LATENT,
    n_starts: int = N_STARTS,
    seed: int = 0,
    max_iter: int = MAX_ITER,
    n_threads: int | None = None,
) -> list[LetFit]:
    """Fit many adaptors, each from several starts, and keep the best training loss of each.

    Parameters
    ----------
    problems
        Problems of any sizes; share a ``SpanBasis`` between problems that have the same anchors and features.
    n_latent
        Latent dimensions.
    n_starts
        Start 0 is informed by the ruler, the others are random.
    seed
        Seed of the random starts, which depend on it, the start and the rank alone.
    max_iter
        Cap on iterations; a fit that reaches it is kept, marked and warned about.
    n_threads
        Problems fitted at a time; default `interp.runs.workers.processors`.

    Returns
    -------
    list of LetFit
        In the order of ``problems``. A fit does not depend on its batch, its place in it, or the number of threads.

    Raises
    ------
    InputError
        If a count is not positive.
    """
    for name, value in {"n_latent": n_latent, "n_starts": n_starts, "max_iter": max_iter}.items():
        if value < 1:
            msg = f"{name} must be at least 1; {value} given."
            raise InputError(msg)

    def one(problem: LetProblem) -> LetFit:
        return _fit_one(problem, n_latent, n_starts, seed, max_iter)

    workers = max(1, min(n_threads or processors(), len(problems)))
    # One BLAS thread per fit: faster for matrices this small, and the sums keep one order.
    with one_thread_each(), ThreadPoolExecutor(workers) if workers > 1 else nullcontext() as pool:
        fits = list(pool.map(one, problems) if pool else map(one, problems))
    capped = sum(not fit.converged_ for fit in fits)
    if capped:
        logger.warning("%d of %d LET fits stopped at the cap of %d iterations.", capped, len(fits), max_iter)
    return fits


def _fit_one(problem: LetProblem, n_latent: int, n_starts: int, seed: int, max_iter: int) -> LetFit:
    from interp.extraction.let_kernel import CAPPED, minimise

    basis = problem.basis
    coords = np.ascontiguousarray(basis.train.T)
    results = [
        minimise(
            _start(problem, start, n_latent, seed), coords, basis.variance, problem.ruler, problem.alpha, problem.ridge,
            basis.n_features, n_latent, max_iter,
        )
        for start in range(n_starts)
    ]  # fmt: skip
    winner = int(np.argmin([result[1] for result in results]))
    theta, loss, ruler_loss, beta, n_iter, _, state, losses = results[winner]
    weights = theta[: n_latent * basis.rank].reshape(n_latent, basis.rank)
    return LetFit(
        basis=basis,
        weights=gauge(weights, basis) @ weights,
        offset=theta[n_latent * basis.rank :],
        beta_=beta,
        loss_=loss,
        ruler_loss_=ruler_loss,
        n_iter_=n_iter,
        converged_=state != CAPPED,
        start_=winner,
        losses_=losses,
    )


def _start(problem: LetProblem, start: int, n_latent: int, seed: int) -> np.ndarray:
    """First A and b of a start, as one vector: start 0 is informed by the ruler, the others are random."""
    rank = problem.basis.rank
    spark = stream(seed, "let-start", str(start)).standard_normal((n_latent, rank)) / np.sqrt(rank)
    offset = np.zeros(rank)
    if start == 0:
        weights, offset = _informed(problem, n_latent)
        length = np.linalg.norm(weights)
        # A latent that starts at zero would stay there, and the ruler alone may leave some empty.
        if length > 0:
            spark = weights * (np.linalg.norm(spark) / length) + SPARK * spark
    return np.concatenate([spark.ravel(), offset])


def _informed(problem: LetProblem, n_latent: int) -> tuple[np.ndarray, np.ndarray]:
    """Place the anchors on a sphere by the ruler alone, and regress those places on the anchors' coordinates."""
    return regressed(problem.basis, _places(problem.ruler.tobytes(), len(problem.ruler), n_latent))


def regressed(basis: SpanBasis, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Regress places (row, latent) on the rows' coordinates: W (latent, rank) and b (rank,) in the span."""
    centre = places.mean(axis=0)
    floor = START_RIDGE * basis.variance.mean()
    weights = ((places - centre).T @ basis.train) / (basis.n_rows * (basis.variance + floor))
    return weights, -np.linalg.lstsq(weights, centre, rcond=1e-6)[0]


# Thousands of operators are fitted to the same few rulers.
@lru_cache(maxsize=128)
def _places(ruler: bytes, n: int, n_latent: int) -> np.ndarray:
    """Where a ruler (anchor, anchor) asks for the anchors on a sphere, (anchor, latent)."""
    hops = np.frombuffer(ruler).reshape(n, n)
    # The eigh of NumPy, here and in the span: the one of SciPy makes other threads wait.
    values, vectors = np.linalg.eigh(np.cos(hops * (START_ANGLE / hops.max())))
    first = max(0, n - n_latent)
    places = np.zeros((n, n_latent))
    places[:, : n - first] = (vectors[:, first:] * np.sqrt(np.maximum(values[first:], 0.0)))[:, ::-1]
    return places


def gauge(weights: np.ndarray, basis: SpanBasis) -> np.ndarray:
    """Return the rotation (latent, latent) of W (latent, rank) to the gauge of all fits.

    Axes are the principal ones of the training rows' latents, the largest loading of each positive.
    """
    _, rotation = np.linalg.eigh((weights * basis.variance) @ weights.T)
    rotation = rotation[:, ::-1].T
    loadings = basis.to_features(rotation @ weights)
    largest = loadings[np.arange(len(weights)), np.abs(loadings).argmax(axis=1)]
    return rotation * np.where(largest < 0, -1.0, 1.0)[:, None]
