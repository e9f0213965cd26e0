"""Whether neighbours stay neighbours in an embedding: trustworthiness, continuity, mean relative rank errors.

Exact at any size: distances are made for a block of rows at a time and never held for all pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Literal

import numpy as np

from interp.errors import InputError
from interp.geometry.measured import Measured
from interp.runs.workers import each, workers_asked

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

Metric = Literal["euclidean", "precomputed"]
# Neighbours of the paper's gate (design, paper gates).
NEIGHBOURS = 15
# Bytes that distances may take beside the points themselves.
MEMORY = 2**30
# Up to this many features squared distances are summed feature by feature, exact in ties; above, by matrix products.
FEW_FEATURES = 24
# Squared distances closer than this share of the largest squared length are equal: matrix products round that much.
TIE = 1e-13
# Rows at a time: enough to pay for a call, few enough to stay in the cache, or to feed a matrix product.
ROWS_SUMMED, ROWS_MULTIPLIED = 16, 256


@dataclass(frozen=True)
class Neighbourhoods:
    """How well neighbourhoods are kept, each `Measured`.

    Attributes
    ----------
    trustworthiness
        1 when no false neighbour enters, about 0.5 for a random embedding (Venna & Kaski 2001).
    continuity
        1 when no true neighbour is lost.
    rank_error_low, rank_error_high
        Mean relative rank error of the neighbours in the embedding and of those in the original space; 0 when all ranks
        stay, 1 when they are reversed (Lee & Verleysen 2007, chapter 4).
    """

    trustworthiness: Measured
    continuity: Measured
    rank_error_low: Measured
    rank_error_high: Measured


def neighbourhoods(
    high: ArrayLike,
    low: ArrayLike,
    *,
    k: int = NEIGHBOURS,
    metric: Metric = "euclidean",
    memory: int = MEMORY,
    n_threads: int | None = None,
) -> Neighbourhoods:
    """Measure neighbourhoods in both directions, in one pass over the pairs.

    Parameters
    ----------
    high
        Points in the original space, (point, feature); with ``metric="precomputed"`` their distances, (point, point),
        of which one block of rows is read at a time, so a memory-mapped or stored array will do.
    low
        The same points embedded, (point, latent), compared by Euclidean distance. For arc distances give latents of
        length one: chords and arcs rank alike.
    k
        Neighbours.
    metric
        What `high` holds.
    memory
        Bytes that blocks of distances may take, beside the points.
    n_threads
        Blocks at a time; by default one per processor.

    Returns
    -------
    Neighbourhoods
        Not computable with 2 k points or fewer, where points coincide in either space (a copy is its own neighbour in
        every embedding), or where all distances in a space are equal.

    Raises
    ------
    InputError
        Not the same points, a value that is not finite, `k` under 1, or `memory` too small for one row of distances.

    Examples
    --------
    >>> points = np.random.default_rng(0).standard_normal((50, 3))
    >>> found = neighbourhoods(points, 2 * points, k=5)
    >>> found.trustworthiness.value, found.continuity.value, found.rank_error_low.value
    (1.0, 1.0, 0.0)
    """
    first, second = _spaces(high, low, metric, k)
    n = first.n
    if reason := _refused(first, second, k):
        return Neighbourhoods(*[Measured.missing(reason)] * 4)
    inward, outward = _sums(first, second, k, memory, n_threads, both=True)
    trusted, kept = (Measured(_trust(sums[0], n, k)) for sums in (inward, outward))
    low_error, high_error = (Measured(sums[1] / _worst_rank_error(n, k)) for sums in (inward, outward))
    return Neighbourhoods(trusted, kept, low_error, high_error)


def trustworthiness(
    high: ArrayLike,
    low: ArrayLike,
    *,
    k: int = NEIGHBOURS,
    metric: Metric = "euclidean",
    memory: int = MEMORY,
    n_threads: int | None = None,
) -> Measured:
    """Return how far the k nearest neighbours in the embedding are among the nearest in the original space.

    Parameters
    ----------
    high, low, k, metric, memory, n_threads
        As in `neighbourhoods`.

    Returns
    -------
    Measured
        1 when no false neighbour enters, about 0.5 for a random embedding; not computable as in `neighbourhoods`.

    Raises
    ------
    InputError
        As in `neighbourhoods`.

    Examples
    --------
    >>> line = np.arange(9.0)[:, None]
    >>> trustworthiness(line, 2 * line, k=2).value
    1.0
    """
    first, second = _spaces(high, low, metric, k)
    return _one_way(first, second, k, memory, n_threads)


def continuity(
    high: ArrayLike,
    low: ArrayLike,
    *,
    k: int = NEIGHBOURS,
    metric: Metric = "euclidean",
    memory: int = MEMORY,
    n_threads: int | None = None,
) -> Measured:
    """Return how far the k nearest neighbours in the original space are among the nearest in the embedding.

    Parameters
    ----------
    high, low, k, metric, memory, n_threads
        As in `neighbourhoods`.

    Returns
    -------
    Measured
        1 when no true neighbour is lost; not computable as in `neighbourhoods`.

    Raises
    ------
    InputError
        As in `neighbourhoods`.

    Examples
    --------
    >>> square = np.random.default_rng(0).random((40, 2))
    >>> continuity(square, square[:, :1], k=5).value < continuity(square, square, k=5).value
    True
    """
    first, second = _spaces(high, low, metric, k)
    return _one_way(second, first, k, memory, n_threads)


def _one_way(first: _Space, second: _Space, k: int, memory: int, n_threads: int | None) -> Measured:
    if reason := _refused(first, second, k):
        return Measured.missing(reason)
    return Measured(_trust(_sums(first, second, k, memory, n_threads, both=False)[0][0], first.n, k))


def _trust(intruded: float, n: int, k: int) -> float:
    return 1.0 - intruded * 2.0 / (n * k * (2.0 * n - 3.0 * k - 1.0))


def _worst_rank_error(n: int, k: int) -> float:
    """Sum of relative rank errors when all ranks are reversed, the normalisation of Lee & Verleysen (2007)."""
    return n * math.fsum(abs(n - 2 * r + 1) / r for r in range(1, k + 1))


@dataclass(frozen=True, eq=False)
class _Space:
    """Points of one space, as a way to write a block of their distances."""

    n: int
    write: Callable[[int, NDArray[np.float64]], None]
    block_rows: int
    tie: float
    flaw: Callable[[], str]


def _spaces(high: ArrayLike, low: ArrayLike, metric: Metric, k: int) -> tuple[_Space, _Space]:
    if metric not in ("euclidean", "precomputed"):
        msg = f"The metric is {metric!r}; expected 'euclidean' or 'precomputed'."
        raise InputError(msg)
    if k < 1:
        msg = f"{k} neighbours were asked for; give at least 1."
        raise InputError(msg)
    first = _stored(high) if metric == "precomputed" else _points(high, "the original space")
    second = _points(low, "the embedding")
    if first.n != second.n:
        msg = f"{first.n} points were given in the original space and {second.n} in the embedding; give the same ones."
        raise InputError(msg)
    return first, second


def _points(values: ArrayLike, where: str) -> _Space:
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 2:
        msg = f"Points in {where} have shape {points.shape}; (point, dimension) is needed."
        raise InputError(msg)
    if not np.isfinite(points).all():
        msg = f"{np.count_nonzero(~np.isfinite(points).all(axis=1))} points in {where} are not finite; leave them out."
        raise InputError(msg)
    n = len(points)
    if n:
        # The middle of each range: rounding then stays small far from the origin, whatever the order of the points.
        points = points - (points.min(axis=0) + points.max(axis=0)) / 2

    def flaw() -> str:
        copies = n - len({blake2b((row + 0.0).tobytes(), digest_size=16).digest() for row in points})
        return f"{copies} of {n} points in {where} coincide with another one; keep one of each" if copies else ""

    lengths = np.einsum("ij,ij->i", points, points)
    tie = TIE * float(lengths.max(initial=0.0))
    if points.shape[1] <= FEW_FEATURES:
        columns = np.ascontiguousarray(points.T)
        return _Space(n, lambda start, out: _summed(columns, start, out), ROWS_SUMMED, tie, flaw)
    return _Space(n, lambda start, out: _multiplied(points, lengths, start, out), ROWS_MULTIPLIED, tie, flaw)


def _summed(columns: NDArray, start: int, out: NDArray) -> None:
    from interp.geometry.kernels import squared_differences

    squared_differences(columns, start, out)


def _multiplied(points: NDArray, lengths: NDArray, start: int, out: NDArray) -> None:
    stop = start + len(out)
    np.matmul(points[start:stop], points.T, out=out)
    out *= -2.0
    out += lengths
    out += lengths[start:stop, None]


def _stored(distances: ArrayLike) -> _Space:
    stored = distances if hasattr(distances, "shape") else np.asarray(distances)
    n = len(stored)  # type: ignore[arg-type]
    if stored.shape != (n, n):
        msg = f"Precomputed distances have shape {stored.shape}; (point, point) is needed."
        raise InputError(msg)

    def write(start: int, out: NDArray) -> None:
        out[:] = stored[start : start + len(out)]  # type: ignore[index]
        if not (out >= 0).all() or not np.isfinite(out).all():
            msg = "Precomputed distances must be finite and not negative."
            raise InputError(msg)

    def flaw() -> str:
        smallest, largest = np.inf, 0.0
        for start in range(0, n, ROWS_SUMMED):
            rows = np.array(stored[start : start + ROWS_SUMMED], dtype=np.float64)  # type: ignore[index]
            largest = max(largest, float(rows.max()))
            rows[np.arange(len(rows)), start + np.arange(len(rows))] = np.inf
            smallest = min(smallest, float(rows.min()))
        if smallest == 0.0:
            return "points coincide in the original space: a distance is 0; keep one of each"
        return "all distances in the original space are equal" if smallest == largest else ""

    return _Space(n, write, ROWS_SUMMED, 0.0, flaw)


def _refused(first: _Space, second: _Space, k: int) -> str:
    """Why neighbourhoods cannot be compared; empty when they can."""
    if first.n <= 2 * k:
        return f"{first.n} points; more than {2 * k} are needed at k = {k}"
    return first.flaw() or second.flaw()


def _sums(
    first: _Space, second: _Space, k: int, memory: int, n_threads: int | None, *, both: bool
) -> list[tuple[float, float]]:
    """Intrusions and relative rank errors, summed over points, for neighbours in the second space, then the first."""
    from interp.geometry.kernels import neighbour_errors

    n = first.n
    pair = 2 * n * np.dtype(np.float64).itemsize
    if memory < pair:
        msg = f"{memory} bytes do not hold one row of distances of {n} points in two spaces; give at least {pair}."
        raise InputError(msg)
    threads = max(1, min(workers_asked(n_threads), memory // pair))
    rows = max(1, min(max(first.block_rows, second.block_rows), memory // (pair * threads)))
    found = np.empty((4 if both else 2, n))

    def block(start: int) -> None:
        size = min(rows, n - start)
        a, b = np.empty((size, n)), np.empty((size, n))
        first.write(start, a)
        second.write(start, b)
        part = found[:, start : start + size]
        neighbour_errors(b, a, start, k, (second.tie, first.tie), part[0], part[1])
        if both:
            neighbour_errors(a, b, start, k, (first.tie, second.tie), part[2], part[3])

    each(block, range(0, n, rows), n_workers=threads)
    totals = [math.fsum(row) for row in found]
    return list(zip(totals[::2], totals[1::2], strict=True))
