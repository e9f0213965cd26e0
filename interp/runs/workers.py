"""Independent pieces of work, several at a time: how many, in which threads, and how they stop.

Each piece computes on one thread, so sums keep one order and no result depends on how many pieces run beside it.
"""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from interp.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")
R = TypeVar("R")

# Environment variable with the number of pieces of work at a time.
WORKERS = "INTERP_WORKERS"
# Share of the memory that pieces of work which hold much may take together.
MEMORY_SHARE = 0.5
CGROUP = Path("/sys/fs/cgroup")


class Bar(Protocol):
    """What is needed of a progress bar."""

    def update(self, n: int = 1) -> object:
        """Count more units as done."""
        ...


def processors() -> int:
    """Return how many pieces of work to do at a time; 1 inside a piece of work.

    `INTERP_WORKERS` decides where it is set. Else the affinity of the process, the quota of its container, and
    `OMP_NUM_THREADS` where it is above 1; at 1 it asks for calls of one thread each, which all are here.

    Raises
    ------
    InputError
        `INTERP_WORKERS` is not a positive number.
    """
    if inside():
        return 1
    if chosen := os.environ.get(WORKERS):
        if not chosen.isdecimal() or int(chosen) < 1:
            msg = f"{WORKERS} is {chosen!r}; give the number of pieces of work to do at a time, such as 2, or unset it."
            raise InputError(msg)
        return int(chosen)
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    most = int(asked) if asked.isdecimal() and int(asked) > 1 else there
    return max(1, min(there, most, _quota() or there))


def workers_asked(n_threads: int | None) -> int:
    """Return the number of threads that a caller asked for; `processors` when None.

    Raises
    ------
    InputError
        The number is under 1.
    """
    if n_threads is None:
        return processors()
    if n_threads < 1:
        msg = f"n_threads is {n_threads}; give at least 1, or None for one per processor."
        raise InputError(msg)
    return n_threads


def processors_for(bytes_each: int) -> int:
    """Return how many pieces of work to do at a time when each holds so many bytes."""
    return max(1, min(processors(), int(MEMORY_SHARE * _memory() / max(1, bytes_each))))


def each(
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    n_workers: int | None = None,
    bar: Bar | None = None,
    within: Bar | None = None,
) -> list[R]:
    """Apply a function to independent items, several at a time, each on one thread.

    Parameters
    ----------
    function
        Must not depend on other items. Its own `progress` is not shown, but is where it stops when the work is stopped.
    items
        What to apply it to.
    n_workers
        Items at a time; default `processors`.
    bar
        Progress that counts items.
    within
        Progress that counts what the function's own progress counts.

    Returns
    -------
    list
        In the order of the items, whatever the number of workers. The first error stops the work and is raised.

    Examples
    --------
    >>> each(lambda x: x * x, [1, 2, 3])
    [1, 4, 9]
    """
    items = list(items)
    n_workers = min(n_workers or processors(), len(items))
    work = Work(within)
    with one_thread_each():
        if n_workers <= 1 or inside():
            return [_counted(work.run(function, item), bar) for item in items]
        pool = ThreadPoolExecutor(n_workers, initializer=_limit_torch)
        try:
            coming = [pool.submit(work.run, function, item) for item in items]
            return [_counted(future.result(), bar) for future in coming]
        finally:
            work.stopped.set()
            pool.shutdown(wait=True, cancel_futures=True)


def inside() -> Work | None:
    """Return the work of `each` that this thread is doing a piece of."""
    return getattr(_here, "work", None)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Keep BLAS and torch to one thread per call; may be entered again, and by several threads at a time."""
    _limits.enter()
    try:
        yield
    finally:
        _limits.leave()


class _Stopped(BaseException):
    """Ends a piece of work that nobody waits for."""


class Work:
    """What the pieces of one call of `each` share."""

    def __init__(self, within: Bar | None) -> None:
        self.stopped = threading.Event()
        self._within, self._lock = within, threading.Lock()

    def run(self, function: Callable[[T], R], item: T) -> R:
        """Do one piece in this thread."""
        around = inside()
        _here.work = self
        try:
            return function(item)
        finally:
            _here.work = around

    def report(self, n: int) -> None:
        """Count units done inside a piece, and end the piece when the work has been stopped."""
        if self.stopped.is_set():
            raise _Stopped
        if self._within is not None:
            with self._lock:
                self._within.update(n)


class _Limits:
    """The limit on threads: set by the first who needs it, lifted by the last."""

    def __init__(self) -> None:
        self._lock, self._depth = threading.Lock(), 0

    def enter(self) -> None:
        from threadpoolctl import threadpool_limits

        with self._lock:
            if self._depth == 0:
                self._blas, self._torch = threadpool_limits(1, user_api="blas"), _limit_torch()
            self._depth += 1

    def leave(self) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                self._blas.restore_original_limits()
                if self._torch is not None:
                    sys.modules["torch"].set_num_threads(self._torch)


_here = threading.local()
_limits = _Limits()


def _limit_torch() -> int | None:
    """Keep torch, once imported, to one thread, which every thread has to ask for; returns what it had before."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    before = int(torch.get_num_threads())
    torch.set_num_threads(1)
    return before


def _counted(result: R, bar: Bar | None) -> R:
    if bar is not None:
        bar.update()
    return result


def _quota() -> int | None:
    """Whole processors that the container grants."""
    words = _cgroup("cpu.max")
    return max(1, int(words[0]) // int(words[1])) if len(words) == 2 and words[0].isdecimal() else None


def _memory() -> float:
    """Bytes of memory of the machine, or those that the container grants."""
    words = _cgroup("memory.max")
    granted = float(words[0]) if words and words[0].isdecimal() else float("inf")
    if not hasattr(os, "sysconf"):
        return granted
    return min(granted, float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")))


def _cgroup(name: str) -> list[str]:
    try:
        return (CGROUP / name).read_text().split()
    except OSError:
        return []
