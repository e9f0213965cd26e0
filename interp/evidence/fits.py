"""Many adaptor fits in one stream: bases are made once per set of anchors and features, fits run in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from interp.extraction.let import MAX_ITER, N_LATENT, LetFit, LetProblem, available_processors, fit_let
from interp.extraction.span import SpanBasis

T = TypeVar("T")
R = TypeVar("R")

# Problems fitted at a time: enough to keep the processors busy, little enough to hold (0.1 MB each).
BATCH = 256


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

    def fit(self, problems: Sequence[LetProblem]) -> list[LetFit]:
        """Fit some problems, in order."""
        return fit_let(problems, n_latent=self.n_latent, n_starts=self.n_starts, seed=self.seed, max_iter=self.max_iter)

    def stream(self, jobs: Iterable[tuple[LetProblem, T]]) -> Iterator[tuple[LetFit, T]]:
        """Fit problems as they come, each with whatever travels beside it, in order."""
        jobs = iter(jobs)
        while batch := list(islice(jobs, BATCH)):
            fits = self.fit([problem for problem, _ in batch])
            yield from zip(fits, (beside for _, beside in batch), strict=True)


def bases(arrays: Sequence[object]) -> list[SpanBasis]:
    """Make the span of each array of training features (anchor, feature)."""
    return threaded(SpanBasis.from_features, arrays)  # type: ignore[arg-type]


def threaded(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Apply a function that leaves the interpreter for NumPy to many items; BLAS keeps to one thread."""
    from threadpoolctl import threadpool_limits

    workers = max(1, min(available_processors(), len(items)))
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        return list(pool.map(function, items))
