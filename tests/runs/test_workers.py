"""Work shared out: the same results in the same order, counted, stopped, and never several threads in one call."""

import os
import signal
import threading
import time

import pytest
from threadpoolctl import threadpool_info

from interp.errors import InputError
from interp.runs import workers
from interp.runs.progress import progress
from interp.runs.workers import each, inside, one_thread_each, processors, processors_for


class Count:
    def __init__(self):
        self.n = 0

    def update(self, n=1):
        self.n += n


def blas_threads():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.fixture
def two_workers(monkeypatch):
    monkeypatch.setenv(workers.WORKERS, "2")


@pytest.mark.parametrize("n_workers", [1, 2, 5])
def test_results_stand_in_the_order_of_the_items(monkeypatch, n_workers):
    monkeypatch.setenv(workers.WORKERS, str(n_workers))

    def later_items_are_faster(i):
        time.sleep(0.002 * (8 - i))
        return i * i

    bar = Count()
    assert each(later_items_are_faster, range(8), bar=bar) == [i * i for i in range(8)]
    assert bar.n == 8


def test_two_workers_work_at_the_same_time(two_workers):
    meeting = threading.Barrier(2, timeout=10)
    assert sorted(each(lambda _: meeting.wait(), range(2))) == [0, 1]


def test_progress_inside_is_counted_outside_once_however_deep(two_workers):
    outer = Count()

    def piece(_):
        return sum(each(lambda i: sum(progress(range(i))), [2, 3], within=progress(total=5)))

    each(piece, range(4), within=outer)
    assert outer.n == 4 * 5


def test_the_first_error_is_raised_and_stops_the_others(two_workers):
    turns = []

    def piece(i):
        if i == 0:
            msg = "the first fails"
            raise ValueError(msg)
        for turn in progress(range(2000)):
            turns.append(turn)
            time.sleep(0.005)

    started = time.monotonic()
    with pytest.raises(ValueError, match="first fails"):
        each(piece, range(20))
    assert time.monotonic() - started < 5
    assert len(turns) < 1000


def test_a_signal_ends_the_work_at_once(two_workers):
    def stop(number, frame):
        raise KeyboardInterrupt

    def piece(_):
        for _ in progress(range(2000)):
            time.sleep(0.005)

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            each(piece, range(20))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - started < 5


def test_a_piece_of_work_is_not_shared_out_again(two_workers):
    assert processors() == 2
    assert not inside()
    assert each(lambda _: processors(), range(2)) == [1, 1]
    assert each(lambda _: bool(inside()), range(1)) == [True]
    assert not inside()


def test_blas_and_torch_keep_to_one_thread_and_get_theirs_back():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads(), blas_threads()
    torch.set_num_threads(3)
    with one_thread_each():
        with one_thread_each():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
        assert blas_threads() == {1}
        assert set(each(lambda _: torch.get_num_threads(), range(4), n_workers=2)) == {1}
    assert (torch.get_num_threads(), blas_threads()) == (3, before[1])
    torch.set_num_threads(before[0])


def test_processors_follow_affinity_and_what_the_user_says(monkeypatch):
    monkeypatch.delenv(workers.WORKERS, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(workers, "_quota", lambda: None)
    for omp, expected in {"": 8, "1": 8, "3": 3, "64": 8}.items():
        monkeypatch.setenv("OMP_NUM_THREADS", omp)
        assert processors() == expected
    monkeypatch.setenv(workers.WORKERS, "5")
    assert processors() == 5
    monkeypatch.setenv(workers.WORKERS, "many")
    with pytest.raises(InputError, match="'many'"):
        processors()


def test_a_container_grants_less(monkeypatch, tmp_path):
    monkeypatch.delenv(workers.WORKERS, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(workers, "CGROUP", tmp_path)
    (tmp_path / "cpu.max").write_text("250000 100000\n")
    (tmp_path / "memory.max").write_text("1000\n")
    assert processors() == 2
    assert processors_for(300) == 1
    assert processors_for(100) == 2
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert processors() == 8
