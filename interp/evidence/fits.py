"""Many adaptor fits in one stream: bases are made once per set of anchors and features, fits run in batches."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from interp.extraction.let import MAX_ITER, N_LATENT, LetFit, LetProblem, fit_let
from interp.extraction.span import SpanBasis

if TYPE_CHECKING:
    from interp.evidence.panel import FloatArray

T = TypeVar("T")

# Problems fitted at a time: enough to keep the processors busy while the next ones are made.
BATCH = 64
# Iterations of a screening fit: the informed start, which is a ridge regression onto the ruler, and one step from it.
# Over operators of many kinds its inner criterion ranked 0.9 with the converged one, at a quarter of the cost.
SCREENING_ITERATIONS = 1


@dataclass(frozen=True)
class Solver:
    """How every adaptor of the evidence is fitted; one solver for all arms.

    Attributes
    ----------
    n_latent
        Latent dimensions.
    n_starts
        Starts per fit; start 0 is the informed one.
    max_iter
        Cap on iterations.
    seed
        Seed of the starts.
    """

    n_latent: int = N_LATENT
    n_starts: int = 1
    max_iter: int = MAX_ITER
    seed: int = 0

    @property
    def screening(self) -> Solver:
        """The same solver, stopped at once; it ranks many operators."""
        return replace(self, n_starts=1, max_iter=min(self.max_iter, SCREENING_ITERATIONS))

    def fit(self, problems: Sequence[LetProblem]) -> list[LetFit]:
        """Fit some problems, in order."""
        options = {"n_latent": self.n_latent, "n_starts": self.n_starts, "max_iter": self.max_iter}
        with _hushed() if self.max_iter <= SCREENING_ITERATIONS else nullcontext():
            return fit_let(problems, seed=self.seed, **options)

    def stream(self, jobs: Iterable[tuple[LetProblem, T]]) -> Iterator[tuple[LetFit, T]]:
        """Fit problems as they come, each with whatever travels beside it, in order.

        The next problems are made in a thread of their own while the last ones are fitted.
        """
        jobs = iter(jobs)
        with one_blas_thread(), ThreadPoolExecutor(1) as maker:
            coming = maker.submit(_take, jobs)
            while batch := coming.result():
                coming = maker.submit(_take, jobs)
                fits = self.fit([problem for problem, _ in batch])
                yield from zip(fits, (beside for _, beside in batch), strict=True)


def span_of(features: FloatArray) -> SpanBasis | None:
    """Make the span of training features (anchor, feature); None where no feature varies, so nothing can be fitted."""
    return SpanBasis.from_features(features) if (features != features[:1]).any() else None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread, so that its sums keep one order on any machine."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield


def _take(jobs: Iterator[T]) -> list[T]:
    return list(islice(jobs, BATCH))


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep the warning that fits stopped at the cap to itself, where stopping is meant."""
    logger = logging.getLogger(fit_let.__module__)

    def keep(record: logging.LogRecord) -> bool:
        return record.levelno != logging.WARNING

    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)
