"""Many adaptor fits in one stream: bases are made once per set of anchors and features, fits run in batches."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from interp.extraction.let import MAX_ITER, N_LATENT, LetFit, LetProblem, fit_let
from interp.extraction.span import SpanBasis
from interp.runs.workers import one_thread_each, processors

if TYPE_CHECKING:
    from interp.evidence.panel import FloatArray

T = TypeVar("T")

# Problems that a thread fits in a row, and batches per thread that are made ahead, so that a long fit holds nobody up.
BATCH = 16
AHEAD = 4
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
    warns
        Say when fits stop at the cap; not where stopping early is meant.
    """

    n_latent: int = N_LATENT
    n_starts: int = 1
    max_iter: int = MAX_ITER
    seed: int = 0
    warns: bool = True

    @property
    def screening(self) -> Solver:
        """The same solver, stopped at once; it ranks many operators."""
        return self.stopped_after(SCREENING_ITERATIONS)

    def stopped_after(self, iterations: int) -> Solver:
        """Return the same solver with one start, stopped after so many iterations without a word."""
        return replace(self, n_starts=1, max_iter=min(self.max_iter, iterations), warns=False)

    def fit(self, problems: Sequence[LetProblem]) -> list[LetFit]:
        """Fit some problems on this thread, in order."""
        options = {"n_latent": self.n_latent, "n_starts": self.n_starts, "max_iter": self.max_iter}
        with nullcontext() if self.warns else _hushed():
            return fit_let(problems, seed=self.seed, n_threads=1, **options)

    def stream(self, jobs: Iterable[tuple[LetProblem, T]]) -> Iterator[tuple[LetFit, T]]:
        """Fit problems as they come, each with whatever travels beside it, in order.

        The next problems are made while earlier ones are fitted, where there are several processors.
        """
        jobs, n_threads = iter(jobs), processors()
        coming: deque[Future[list[tuple[LetFit, T]]]] = deque()
        with one_thread_each():
            if n_threads == 1:
                while batch := list(islice(jobs, BATCH)):
                    yield from self._fitted(batch)
                return
            pool = ThreadPoolExecutor(n_threads)
            try:
                while batch := list(islice(jobs, BATCH)):
                    coming.append(pool.submit(self._fitted, batch))
                    if len(coming) > AHEAD * n_threads:
                        yield from coming.popleft().result()
                while coming:
                    yield from coming.popleft().result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _fitted(self, batch: list[tuple[LetProblem, T]]) -> list[tuple[LetFit, T]]:
        fits = self.fit([problem for problem, _ in batch])
        return list(zip(fits, (beside for _, beside in batch), strict=True))


def span_of(features: FloatArray) -> SpanBasis | None:
    """Make the span of training features (anchor, feature); None where no feature varies, so nothing can be fitted."""
    return SpanBasis.from_features(features) if (features != features[:1]).any() else None


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep this thread's warning that fits stopped at the cap to itself, where stopping is meant."""
    logger, here = logging.getLogger(fit_let.__module__), threading.get_ident()

    def keep(record: logging.LogRecord) -> bool:
        return record.levelno != logging.WARNING or record.thread != here

    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)
