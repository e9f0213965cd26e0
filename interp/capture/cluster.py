"""Parts of a capture on the workers of a dask cluster, each of which writes its own chunks."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp.capture.parcel import pack, unpack
from interp.capture.partstore import WORK, PartStore
from interp.errors import DependencyError, InputError, StoreError
from interp.runs.progress import progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from interp.capture.work import CaptureWork

PARCEL = "parcel"
# Seconds that a scheduler has to answer; a login node and its compute nodes talk within one.
ANSWER_SECONDS = 10
# A worker can be lost to a queue's time limit; a part that has taken three with it is itself at fault.
RETRIES = 3


@contextmanager
def connect(*, scheduler: str | None = None, workers: int | None = None) -> Iterator[Any]:
    """Connect to a scheduler, or start workers on this machine.

    Parameters
    ----------
    scheduler
        Address of a running scheduler, such as ``tcp://10.0.0.5:8786``.
    workers
        Processes to start here, one thread each; they listen on the loopback interface only.

    Yields
    ------
    dask.distributed.Client or None
        None when neither is given.

    Raises
    ------
    InputError
        Nothing answers at the address, or both are given.
    DependencyError
        dask.distributed is not installed.
    """
    if scheduler is None and workers is None:
        yield None
        return
    if scheduler is not None and workers is not None:
        msg = "give --scheduler (workers that run already) or --workers (to start some here), not both"
        raise InputError(msg)
    distributed = _distributed()
    if scheduler is not None:
        with _client(distributed, scheduler) as client:
            yield client
        return
    options: dict[str, Any] = {"host": "127.0.0.1", "dashboard_address": None, "worker_dashboard_address": None}
    with (
        distributed.LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


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
    StoreError
        A part failed, or its workers were lost again and again.
    """
    distributed = _distributed()
    if store.folder is None:
        msg = "workers write to a folder that all of them share; name one with out="
        raise InputError(msg)
    folder = store.folder.resolve()
    parcel = folder / WORK / f"{PARCEL}-{os.getpid()}-{time.time_ns()}"
    pack(work, parcel)
    cells = {number: stop - start for number, (start, stop) in enumerate(store.plan.parts(store.n_cells))}
    futures = client.map(do_part, numbers, folder=str(folder), parcel=str(parcel), pure=False, retries=RETRIES)
    try:
        with progress(total=sum(cells[number] for number in numbers), description="capture", unit="cell") as bar:
            for _, number in distributed.as_completed(futures, with_results=True):
                bar.update(cells[number])
    except (distributed.KilledWorker, distributed.client.FutureCancelledError, OSError) as error:
        msg = (
            f"the workers were lost while they filled {folder} ({type(error).__name__}: {error}); "
            f"{len(store.todo())} of {len(cells)} parts are left, and the same call goes on with them"
        )
        raise StoreError(msg) from error
    finally:
        client.cancel(futures, force=True)


def do_part(number: int, *, folder: str, parcel: str) -> int:
    """Compute and write one part, in a worker; returns its number."""
    work, store = _opened(folder, parcel)
    store.write(number, work.compute(work.tokens(number)))
    return number


@lru_cache(maxsize=1)
def _opened(folder: str, parcel: str) -> tuple[CaptureWork, PartStore]:
    """Load the model and open the cells once a worker."""
    import torch
    from distributed import get_worker

    # Several threads of several workers on the same cores would wait for each other.
    torch.set_num_threads(max(1, get_worker().state.nthreads))
    return unpack(Path(parcel), "auto"), PartStore.attach(Path(folder))


def _client(distributed: Any, address: str) -> Any:
    try:
        return distributed.Client(address, timeout=ANSWER_SECONDS)
    except (OSError, TimeoutError, ValueError) as error:
        msg = (
            f"no scheduler answers at {address!r} ({type(error).__name__}); start one with `dask scheduler` and give "
            "the address that it prints, such as tcp://10.0.0.5:8786"
        )
        raise InputError(msg) from error


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        msg = "workers need dask.distributed, which is not installed; pip install 'interp[cluster]'"
        raise DependencyError(msg) from error
    return distributed
