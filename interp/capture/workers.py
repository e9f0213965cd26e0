"""The workers that share a capture: connect to them, or start some here, and see that they can do it."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import interp
from interp.errors import DependencyError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

# Seconds that a scheduler has to answer; a login node and its compute nodes talk within one.
ANSWER_SECONDS = 5
# Seconds between two lines that say that there is no worker; a job queue can take hours.
PATIENCE_SECONDS = 60
LOOPBACK = "127.0.0.1"
AUTO, CPU, CUDA = "auto", "cpu", "cuda"


@dataclass(frozen=True)
class Workers:
    """What is known of a client's workers before the work.

    Attributes
    ----------
    number
        How many there are now; more may come.
    device
        ``cuda`` when every one of them has a GPU, else ``cpu``.
    """

    number: int
    device: str


@contextmanager
def connect(*, scheduler: str | None = None, workers: int | None = None, device: str = AUTO) -> Iterator[Any]:
    """Connect to a scheduler, or start workers on this machine.

    Parameters
    ----------
    scheduler
        Address of a running scheduler, such as ``tcp://10.0.0.5:8786``.
    workers
        Processes to start here, one thread each; they listen on the loopback interface only, with credentials that
        nobody else has.
    device
        ``cpu`` keeps workers that are started here off the GPUs.

    Yields
    ------
    dask.distributed.Client or None
        None when neither is given.

    Raises
    ------
    InputError
        Nothing answers at the address, both are given, or workers cannot start.
    DependencyError
        dask.distributed is not installed.
    """
    if scheduler is None and workers is None:
        yield None
        return
    if scheduler is not None and workers is not None:
        msg = "give --scheduler (workers that run already) or --workers (to start some here), not both"
        raise InputError(msg)
    distributed = import_distributed()
    if scheduler is not None:
        with _client(distributed, scheduler) as client:
            yield client
        return
    with _local_cluster(distributed, workers, device) as cluster, distributed.Client(cluster) as client:
        try:
            yield client
        finally:
            # it reports every process whose memory takes seconds to be given back
            logging.getLogger("distributed.nanny").setLevel(logging.ERROR)


def check_workers(client: Any) -> Workers:
    """See that there are workers and that they run this version of interp; waits for the first one.

    Parameters
    ----------
    client
        A ``dask.distributed.Client``.

    Raises
    ------
    InputError
        It is something else, or a worker has no interp or another version.
    """
    distributed = import_distributed()
    if not isinstance(client, distributed.Client) or client.asynchronous:
        msg = (
            f"client is {type(client).__module__}.{type(client).__name__}; expected a dask.distributed.Client that is "
            "not asynchronous, such as Client('tcp://10.0.0.5:8786') or Client(cluster)"
        )
        raise InputError(msg)
    _wait_for_one(client)
    answers: dict[str, Any] = client.run(describe_worker, on_error="return")
    answers = {address: answer for address, answer in answers.items() if not isinstance(answer, OSError)}  # lost ones
    for address, answer in answers.items():
        version = answer.get("version") if isinstance(answer, dict) else f"none ({type(answer).__name__}: {answer})"
        if version != interp.__version__:
            msg = (
                f"the worker at {address} has interp {version}, and {interp.__version__} is asked for; install that "
                "version where the workers run, or start them with the Python of this command"
            )
            raise InputError(msg)
    on_gpu = bool(answers) and all(answer["cuda"] for answer in answers.values())
    return Workers(max(1, len(answers)), CUDA if on_gpu else CPU)


def describe_worker() -> dict[str, Any]:
    """Say, in a worker, which interp it has and whether it sees a GPU."""
    import torch

    return {"version": interp.__version__, "cuda": torch.cuda.is_available()}


def own_credentials(distributed: Any) -> Any:
    """Make TLS credentials that only this process and its workers have; None where they cannot be made."""
    try:
        return distributed.Security.temporary()
    except ImportError:
        log.warning(
            "Other users of this machine can reach the workers, as there is no TLS without the package cryptography; "
            "pip install 'interp[cluster]'"
        )
        return None


def dask_setup(worker: Any) -> None:
    """Prepare a process that `connect` starts; dask calls it by this name."""
    # Ctrl-C reaches all processes of a terminal, and the one that started this one ends it in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("distributed.worker.state_machine").setLevel(logging.ERROR)  # else it reports each end


def import_distributed() -> Any:
    """Import dask.distributed.

    Raises
    ------
    DependencyError
        It is not installed.
    """
    try:
        import distributed
    except ImportError as error:
        msg = "workers need dask.distributed, which is not installed; pip install 'interp[cluster]'"
        raise DependencyError(msg) from error
    return distributed


def _wait_for_one(client: Any) -> None:
    while not client.nthreads():
        log.info("No worker has come to %s yet; waiting for the first.", client.scheduler.address)
        try:
            client.wait_for_workers(1, timeout=PATIENCE_SECONDS)
        except TimeoutError:
            continue


def _local_cluster(distributed: Any, workers: int | None, device: str) -> Any:
    # The name that the standard library gives to the user's script when it starts that again in a new process.
    if sys.modules["__main__"].__name__ == "__mp_main__":
        msg = "a worker is starting the script that started it; put the script's work under: if __name__ == '__main__':"
        raise InputError(msg)
    options: dict[str, Any] = {
        "host": LOOPBACK,
        "security": own_credentials(distributed),
        "preload": [__name__],
        "dashboard_address": None,
        # the server behind the dashboard, which starts without one too; its usual port may be taken
        "scheduler_kwargs": {"dashboard_address": f"{LOOPBACK}:0"},
    }
    if device == CPU:
        options["env"] = {"CUDA_VISIBLE_DEVICES": ""}
    try:
        # no limit of memory: a capture keeps to its own budget, and a paused worker would only look slow
        with _quiet():
            return distributed.LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, memory_limit=None, **options
            )
    except RuntimeError as error:
        msg = (
            f"{workers} workers cannot be started here ({error}); a script that starts workers needs its work under "
            "`if __name__ == '__main__':`, because each of them imports the script"
        )
        raise InputError(msg) from error


def _client(distributed: Any, address: str) -> Any:
    try:
        with _quiet(), ThreadPoolExecutor(1) as caller:  # in a notebook this thread runs a loop already
            caller.submit(asyncio.run, _call(distributed, address)).result()
            return distributed.Client(address, timeout=ANSWER_SECONDS)
    except Exception as error:  # what a port that is no scheduler's sends can fail in any way
        msg = (
            f"no scheduler answers at {address!r} ({type(error).__name__}: {error}); start one with `dask scheduler` "
            "and give the address that it prints, such as tcp://10.0.0.5:8786 (docs/cluster.md)"
        )
        raise InputError(msg) from error


async def _call(distributed: Any, address: str) -> None:
    """Connect once: a client that finds nobody leaves threads behind that can block the next one."""
    credentials = distributed.Security().get_connection_args("client")
    connecting = distributed.core.connect(address, timeout=ANSWER_SECONDS, **credentials)
    comm = await asyncio.wait_for(connecting, ANSWER_SECONDS + 1)
    await comm.close()


@contextmanager
def _quiet() -> Iterator[None]:
    """Show dask's warnings alone, here and in workers that are started inside, unless its configuration says more."""
    import dask

    if dask.config.get("logging", None) or dask.config.get("distributed.logging", None):
        yield
        return
    for name in ("distributed", "distributed.nanny"):
        logging.getLogger(name).setLevel(logging.WARNING)
    place = "distributed.nanny.pre-spawn-environ"  # a worker sets its loggers up before it is told anything
    with dask.config.set({place: {**dask.config.get(place), "DASK_LOGGING__DISTRIBUTED": "warning"}}):
        yield
