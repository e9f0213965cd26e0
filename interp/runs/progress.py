"""Progress of long work: a bar on a terminal, a plain log line now and then everywhere else."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from interp.runs import workers

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 10.0
SECONDS_WORTH_A_LINE = 1.0  # shorter work is logged for debugging only
BYTES = "B"


_choice = {"quiet": False}


def be_quiet() -> None:
    """Show log lines instead of bars from now on, on terminals too (what `--quiet` asks for)."""
    _choice["quiet"] = True


def progress(
    iterable: Iterable[Any] | None = None,
    *,
    total: int | None = None,
    description: str = "",
    unit: str = "it",
    quiet: bool | None = None,
) -> "tqdm[Any] | ProgressLines":
    """Show how far some work is, how fast it goes and how long it will take.

    Inside a piece of work of `workers.each` nothing is shown: the pieces are counted there, and are stopped here.

    Parameters
    ----------
    iterable
        What to go through; without it the caller reports by ``update(n)``.
    total
        Number of units, when the iterable does not know its length.
    description
        What is being done.
    unit
        What is counted, such as ``"cells"``; ``"B"`` is written as kB, MB and so on.
    quiet
        True: log lines; False: a bar; None: a bar on a terminal, else log lines.

    Returns
    -------
    tqdm or ProgressLines
        Iterable, and a context manager with ``update(n)``, ``set_postfix_str(text)`` and ``close()``.

    Examples
    --------
    >>> sum(progress(range(4), description="adding", unit="numbers", quiet=True))
    6
    """
    if work := workers.inside():
        return _Within(work, iterable)
    if quiet is None:
        quiet = _choice["quiet"] or not sys.stderr.isatty()
    if quiet:
        return ProgressLines(iterable, total=total, description=description, unit=unit)
    shown = {"unit": unit, "unit_scale": True} if unit == BYTES else {"unit": f" {unit}"}
    return tqdm(iterable, total=total, desc=description or None, dynamic_ncols=True, smoothing=0.1, **shown)


class ProgressLines:
    """Progress as log lines of level INFO, one every ten seconds and one at the end.

    Parameters
    ----------
    iterable, total, description, unit
        As in `progress`.
    """

    def __init__(
        self,
        iterable: Iterable[Any] | None = None,
        *,
        total: int | None = None,
        description: str = "",
        unit: str = "it",
    ) -> None:
        if total is None and isinstance(iterable, Sized):
            total = len(iterable)
        self.iterable = iterable
        self.total = total
        self.description = description or "work"
        self.unit = unit
        self.n = 0
        self._note = ""
        self._started = self._said = time.monotonic()
        self._closed = False

    def __iter__(self) -> Iterator[Any]:
        """Go through the iterable, counting one unit per item."""
        with self:
            for item in self.iterable or ():
                yield item
                self.update()

    def __enter__(self) -> Self:
        """Start; the clock has run since construction."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def update(self, n: int = 1) -> None:
        """Count `n` more units as done."""
        self.n += n
        now = time.monotonic()
        if now - self._said >= SECONDS_BETWEEN_LINES:
            self._said = now
            logger.info("%s", self._line(now - self._started))

    def set_postfix_str(self, text: str) -> None:
        """Set a short note that stands at the end of the next lines, such as a loss."""
        self._note = text

    def close(self) -> None:
        """Log the last line, once."""
        if self._closed:
            return
        self._closed = True
        seconds = time.monotonic() - self._started
        level = logging.INFO if seconds >= SECONDS_WORTH_A_LINE else logging.DEBUG
        logger.log(level, "%s", self._line(seconds))

    def _line(self, seconds: float) -> str:
        rate = self.n / seconds if seconds > 0 else 0.0
        if self.unit == BYTES:
            n, total, speed = (tqdm.format_sizeof(value) for value in (self.n, self.total or 0, rate))
            unit = self.unit
        else:
            n, total, speed, unit = f"{self.n}", f"{self.total}", f"{rate:.3g} ", f" {self.unit}"
        count = n if self.total is None else f"{n}/{total}"
        parts = [f"{self.description}: {count}{unit}", f"{speed}{self.unit}/s"]
        if self.total is not None and rate > 0 and self.n < self.total:
            parts.append(f"{(self.total - self.n) / rate:.0f} s left")
        else:
            parts.append(f"{seconds:.1f} s")
        return ", ".join(parts + ([self._note] if self._note else []))


class _Within(ProgressLines):
    """Progress inside a piece of work, counted by whoever shared the work out."""

    def __init__(self, work: workers.Work, iterable: Iterable[Any] | None) -> None:
        super().__init__(iterable)
        self._work = work

    def update(self, n: int = 1) -> None:
        """Hand `n` more units on; ends the piece when the work has been stopped."""
        self._work.report(n)

    def close(self) -> None:
        """Say nothing."""
