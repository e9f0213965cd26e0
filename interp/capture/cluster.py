"""Parts of a capture on the workers of a dask cluster, each of which writes its own chunks."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import interp
from interp.capture.parcel import pack, unpack
from interp.capture.partstore import WORK, PartStore
from interp.capture.workers import PATIENCE_SECONDS, import_distributed, log
from interp.errors import InputError, InterpError, UnfinishedError
from interp.runs.progress import progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from interp.capture.work import CaptureWork

PARCEL = "parcel"
# An error that is not ours, such as one of a file system or a GPU, may pass; one that came three times will not.
RETRIES = 2
# Seconds between two looks at what is done.
LOOK_SECONDS = 0.05
# Seconds that workers have to let go of the model.
END_SECONDS = 5
# A worker has one model and its hooks, so its threads take turns; while one runs it, another reads or writes.
_opening, _running, _writing = threading.Lock(), threading.Lock(), threading.Lock()


class _GivenUpError(Exception):
    """The capture of a part is no more."""


def run_parts(client: Any, work: CaptureWork, store: PartStore, numbers: Sequence[int]) -> None:
    """Compute and write parts on the client's workers; returns when all are written.

    Parameters
    ----------
    client
        A ``dask.distributed.Client``.
    work
        The capture.
    store
        The store that the parts belong to, on a file system that all workers share.
    numbers
        The parts.

    Raises
    ------
    InputError
        The store is in memory, or a worker cannot see its folder or the cells.
    UnfinishedError
        A part failed, or its workers or their scheduler were lost; what is written stays.
    """
    if store.folder is None:
        msg = "workers write to a folder that all of them share; name one with out="
        raise InputError(msg)
    folder = store.folder.resolve()
    # only this process holds the folder's lock, so these belong to runs that are dead
    for left in (folder / WORK).glob(f"*{PARCEL}-*"):
        shutil.rmtree(left, ignore_errors=True)
    parcel = folder / WORK / f"{PARCEL}-{os.getpid()}-{time.time_ns()}"
    pack(work, parcel)
    place = {"folder": str(folder), "parcel": str(parcel), "version": interp.__version__}
    futures = set(client.map(do_part, numbers, **place, key=parcel.name, pure=False, retries=RETRIES))
    cells = {number: stop - start for number, (start, stop) in enumerate(store.plan.parts(store.n_cells))}
    try:
        with progress(total=sum(cells[number] for number in numbers), description="capture", unit="cell") as bar:
            for number in _finished(client, futures, store):
                bar.update(cells[number])
    finally:
        # a worker that still computes a part finds the parcel gone, and stops
        shutil.rmtree(parcel, ignore_errors=True)
        # in a thread, as a worker that is gone is waited for
        ending = threading.Thread(target=_let_go, args=(client, list(futures)), daemon=True)
        ending.start()
        ending.join(END_SECONDS)


def _let_go(client: Any, futures: Sequence[Any]) -> None:
    with suppress(Exception):
        client.cancel(futures, force=True)
        client.run(release, on_error="ignore")


def do_part(number: int, *, folder: str, parcel: str, version: str) -> tuple[int, InterpError | None]:
    """Compute and write one part, in a worker; returns its number, and the error where trying again is in vain."""
    try:
        if version != interp.__version__:
            msg = f"it has interp {interp.__version__}, and {version} is asked for; install that version there"
            raise InputError(msg)
        with _opening:
            work, store = _opened(folder, parcel)
        if number not in store.todo():
            return number, None  # by a worker that was lost before it could say so
        tokens = work.tokens(number)
        with _running, _worker_threads():
            arrays = work.compute(tokens, lambda _: _stop_without(parcel))
        with _writing:
            _stop_without(parcel)
            store.write(number, arrays)
    except _GivenUpError:
        return number, None
    except InterpError as error:
        return number, type(error)(f"the worker on {socket.gethostname()}: {error}")
    return number, None


def _stop_without(parcel: str) -> None:
    """Stop a part whose capture was given up, or has ended without this worker."""
    if not Path(parcel).exists():
        raise _GivenUpError


def release() -> None:
    """Let go of the model, in a worker."""
    import torch

    _opened.cache_clear()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def choose_gpu(name: object, n_gpus: int) -> str:
    """Return the device of a worker: its own GPU, by its number, where several workers see several GPUs.

    Examples
    --------
    >>> choose_gpu(5, n_gpus=4), choose_gpu("tcp://10.0.0.5:8786", n_gpus=4), choose_gpu(1, n_gpus=0)
    ('cuda:1', 'cuda', 'cpu')
    """
    if not n_gpus:
        return "cpu"
    return f"cuda:{name % n_gpus}" if isinstance(name, int) else "cuda"


@lru_cache(maxsize=1)
def _opened(folder: str, parcel: str) -> tuple[CaptureWork, PartStore]:
    """Load the model and open the cells once a worker."""
    import torch
    from distributed import get_worker

    device = choose_gpu(get_worker().name, torch.cuda.device_count() if torch.cuda.is_available() else 0)
    return unpack(Path(parcel), device), PartStore.attach(Path(folder))


@contextmanager
def _worker_threads() -> Iterator[None]:
    """Compute on as many threads as the worker has; more would wait for each other on shared cores."""
    import torch
    from distributed import get_worker

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, get_worker().state.nthreads))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _finished(client: Any, futures: set[Any], store: PartStore) -> Iterator[int]:
    """Go through the numbers of the parts as they are done, and take them out of the futures."""
    distributed = import_distributed()
    coming = distributed.as_completed(futures, with_results=True)
    looked = time.monotonic()
    while not coming.is_empty():
        ready = coming.next_batch(block=False)
        for future, result in ready:
            # dask would do a part again whose worker is lost while anybody holds its future
            futures.discard(future)
            future.release()
            yield _number(result, store)
        if ready:
            looked = time.monotonic()
        elif time.monotonic() - looked >= PATIENCE_SECONDS:
            looked = time.monotonic()
            _warn_if_alone(client)
        else:
            time.sleep(LOOK_SECONDS)


def _number(result: Any, store: PartStore) -> int:
    """Return the number of a part that was done.

    Raises
    ------
    InterpError
        It was not done.
    """
    if isinstance(result, tuple) and len(result) == 2:
        number, known = result
        if known is not None:
            raise known
        return number
    # dask gives the error's type, itself and its trace, or the reason for which it dropped the part
    error = result[1] if isinstance(result, tuple) else result
    n_parts = len(store.plan.parts(store.n_cells))
    msg = (
        f"{_what_failed(error)}. {n_parts - len(store.todo())} of {n_parts} parts are safe in {store.folder}, and the "
        "same call continues with the others"
    )
    raise UnfinishedError(msg) from error


def _what_failed(error: BaseException) -> str:
    distributed = import_distributed()
    if isinstance(error, distributed.KilledWorker):
        deaths = error.allowed_failures + 1
        return (
            f"{deaths} workers died one after the other over the same part, the last one at "
            f"{error.last_worker.address}: as a rule they ran out of memory (give less with memory=, or more to each "
            "worker) or of their queue's time; their logs say which"
        )
    if isinstance(error, distributed.client.FutureCancelledError):
        return f"the scheduler was lost or dropped the work ({error.reason})"
    return f"a part failed in a worker, three times ({type(error).__name__}: {error})"


def _warn_if_alone(client: Any) -> None:
    with suppress(OSError):
        if not client.nthreads():
            log.warning("No worker is left; waiting for one. The same call continues, if you stop it.")
