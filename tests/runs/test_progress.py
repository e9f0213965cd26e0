import io
import logging
import sys

import pytest

from interp.runs import progress as module
from interp.runs.progress import ProgressLines, progress


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_lines_come_every_ten_seconds_with_rate_and_remaining_time(clock, caplog):
    caplog.set_level(logging.INFO, logger="interp")
    with progress(total=100, description="tokens", unit="cells", quiet=True) as bar:
        for _ in range(5):
            clock.now += 5
            bar.update(10)
        bar.set_postfix_str("loss 0.5")
    assert [record.getMessage() for record in caplog.records] == [
        "tokens: 20/100 cells, 2 cells/s, 40 s left",
        "tokens: 40/100 cells, 2 cells/s, 30 s left",
        "tokens: 50/100 cells, 2 cells/s, 25 s left, loss 0.5",
    ]


def test_short_work_is_not_logged(clock, caplog):
    caplog.set_level(logging.INFO, logger="interp")
    assert list(progress(iter("abc"), quiet=True)) == ["a", "b", "c"]
    assert not caplog.records


def test_an_iterable_counts_itself_and_an_early_end_closes(clock, caplog):
    caplog.set_level(logging.INFO, logger="interp")
    for item in progress([1, 2, 3], description="fits", unit="fits", quiet=True):
        clock.now += 2
        if item == 2:
            break
    assert [record.getMessage() for record in caplog.records] == ["fits: 1/3 fits, 0.25 fits/s, 8 s left"]


def test_a_bar_is_drawn_on_a_terminal_only(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert isinstance(progress(total=1), ProgressLines)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress(total=1, description="fits") as bar:
        assert not isinstance(bar, ProgressLines)
        bar.update(1)
        bar.set_postfix_str("done")
    assert isinstance(progress(total=1, quiet=True), ProgressLines)


def test_bytes_are_written_with_prefixes(clock, caplog):
    caplog.set_level(logging.INFO, logger="interp")
    with progress(total=205_385_258, description="best_model.pt", unit="B", quiet=True) as bar:
        clock.now += 10
        bar.update(51_000_000)
    assert caplog.records[0].getMessage() == "best_model.pt: 51.0M/205MB, 5.10MB/s, 30 s left"
