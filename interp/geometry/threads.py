"""Blocks of rows, several at a time; each is computed on one thread, so no result depends on how many run."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from interp.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")
R = TypeVar("R")


def workers(n_threads: int | None) -> int:
    """Return the number of threads asked for, or that of the processors this process may use; InputError under 1."""
    if n_threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if n_threads < 1:
        msg = f"n_threads is {n_threads}; give at least 1, or None for one per processor."
        raise InputError(msg)
    return n_threads


def each(function: Callable[[T], R], items: Iterable[T], n_threads: int) -> list[R]:
    """Apply a function that releases the GIL to independent items; the results are in the order of the items."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        if n_threads == 1:
            return [function(item) for item in items]
        with ThreadPoolExecutor(n_threads) as pool:
            return list(pool.map(function, items))
