from __future__ import annotations

import errno
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import anndata
import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from scipy import sparse

import interp
from interp.capture import cluster, parcel, partstore, plan, workers
from interp.capture.work import CaptureWork
from interp.errors import InputError, StoreError, UnfinishedError
from interp.scgpt.checkpoint import save_checkpoint
from interp.scgpt.config import ScGPTConfig
from interp.scgpt.load import untrained_like
from interp.scgpt.model import HookedScGPT
from interp.scgpt.vocabulary import Vocabulary

cloudpickle = pytest.importorskip("cloudpickle")
distributed = pytest.importorskip("distributed")
# Workers cannot import this module, so its functions go to them by value.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

SITES = ["resid_post", "z"]
N_CELLS = 130
COMMAND = "from interp.cli import main; main()"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_checkpoint(folder, small_model())
    return folder


@pytest.fixture(scope="module")
def model(checkpoint):
    """The model as a command loads it."""
    return interp.load_model(checkpoint)


@pytest.fixture(scope="module")
def many(cells):
    """Cells enough for five parts."""
    counts = np.random.default_rng(2).poisson(0.8, (N_CELLS, cells.n_vars)).astype(np.float32)
    obs = pd.DataFrame({"donor": pd.Categorical(["a", "b"] * (N_CELLS // 2))}, index=[f"c{i}" for i in range(N_CELLS)])
    return anndata.AnnData(sparse.csr_matrix(counts), obs=obs, var=cells.var)


@pytest.fixture(scope="module")
def path(many, tmp_path_factory):
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    many.write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def two_workers():
    """Two worker processes of one thread, as `interp capture --workers 2` starts them, but open to a command."""
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(workers, "own_credentials", lambda distributed: None)
            client = stack.enter_context(workers.connect(workers=2))
        yield client


@pytest.fixture
def client(two_workers):
    two_workers.wait_for_workers(2, timeout=60)
    return two_workers


@pytest.fixture
def threads():
    """One worker of two threads in this process, which starts at once."""
    options = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "dashboard_address": None}
    with distributed.LocalCluster(**options) as local, distributed.Client(local) as client:
        yield client


@pytest.fixture(scope="module")
def undisturbed(model, path, tmp_path_factory):
    """The files of a run in one process, in parts of the size that workers get."""
    out = tmp_path_factory.mktemp("undisturbed") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "PART_CELLS", plan.LEAST_PART_CELLS)
        interp.capture(model, path, sites=SITES, reduce="mean", out=out)
    return tree(out)


def small_model():
    vocabulary = Vocabulary([*(f"G{i}" for i in range(30)), "<pad>", "<cls>", "<eoc>"])
    config = ScGPTConfig(n_vocab=len(vocabulary), n_layers=3, n_heads=2, d_model=16, d_hid=16, dropout=0.0)
    return HookedScGPT(config, vocabulary).initialize(torch.Generator().manual_seed(0)).eval()


def tree(folder: Path) -> dict[str, str]:
    files = (item for item in folder.rglob("*") if item.is_file())
    return {str(item.relative_to(folder)): hashlib.sha256(item.read_bytes()).hexdigest() for item in files}


def written(out: Path) -> dict[str, int]:
    """When the done parts of a store were last written."""
    files = ((item.name, out / "lengths" / "c" / str(int(item.name))) for item in (out / ".work/done").glob("*"))
    numbers = files if (out / ".work").exists() else ((f"{i:08d}", out / "lengths" / "c" / str(i)) for i in range(5))
    return {name: chunk.stat().st_mtime_ns for name, chunk in numbers}


def slow_down():
    """Make parts last, in a worker."""
    from interp.capture.work import CaptureWork

    compute = CaptureWork.compute

    def slow(*given):
        time.sleep(0.4)
        return compute(*given)

    CaptureWork.compute = slow


def die_at_work():
    """Make parts fatal, in a worker."""
    from interp.capture.work import CaptureWork

    CaptureWork.compute = lambda *given: os.kill(os.getpid(), signal.SIGKILL)


def when_begun(out: Path, act) -> threading.Thread:
    """Do something as soon as one part of a store is done."""

    def wait():
        done = out / ".work" / "done"
        while not (done.is_dir() and any(done.iterdir())):
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_workers_write_the_very_bytes_of_one_process(model, path, client, undisturbed, tmp_path):
    store = interp.capture(model, path, sites=SITES, reduce="mean", out=tmp_path / "store", client=client)
    assert store.attrs["plan"]["part_cells"] == 32
    assert tree(tmp_path / "store") == undisturbed
    assert list(store.obs["donor"][:2]) == ["a", "b"]


def test_other_parts_change_nothing_but_rounding(model, many, client, tmp_path):
    alone = interp.capture(model, many, sites=SITES)
    shared = interp.capture(model, many, sites=SITES, out=tmp_path / "store", client=client)
    assert alone.attrs["plan"] != shared.attrs["plan"]
    for site in alone:
        np.testing.assert_allclose(shared[site][:], alone[site][:], atol=1e-6)


def test_workers_continue_what_one_process_began(model, path, client, undisturbed, tmp_path, monkeypatch):
    out = tmp_path / "store"
    compute, done = CaptureWork.compute, []

    def break_off(*given):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return compute(*given)

    with monkeypatch.context() as patch:
        patch.setattr(plan, "PART_CELLS", plan.LEAST_PART_CELLS)
        patch.setattr(CaptureWork, "compute", break_off)
        with pytest.raises(KeyboardInterrupt):
            interp.capture(model, path, sites=SITES, reduce="mean", out=out)
    assert len(list((out / ".work" / "done").iterdir())) == 2
    interp.capture(model, path, sites=SITES, reduce="mean", out=out, client=client)
    assert tree(out) == undisturbed


def test_each_capture_of_a_cluster_uses_its_own_model(model, many, client, tmp_path):
    for i, one in enumerate((model, untrained_like(model, 5))):
        shared = interp.capture(one, many, sites="resid_post", layers=2, out=tmp_path / str(i), client=client)
        alone = interp.capture(one, many, sites="resid_post", layers=2)
        np.testing.assert_allclose(shared[shared.sites[0]][:], alone[shared.sites[0]][:], atol=1e-6)


def test_workers_listen_on_the_loopback_interface_alone(client):
    ours = psutil.Process()
    heard = [c for p in (ours, *ours.children(recursive=True)) for c in p.net_connections() if c.status == "LISTEN"]
    assert len(heard) >= 3
    assert {c.laddr.ip for c in heard} == {"127.0.0.1"}


def test_a_killed_worker_changes_nothing(model, path, client, undisturbed, tmp_path):
    out = tmp_path / "store"
    client.run(slow_down)
    victim = next(iter(client.run(os.getpid).values()))
    before = {}

    def kill():
        os.kill(victim, signal.SIGKILL)
        before.update(written(out))

    killer = when_begun(out, kill)
    interp.capture(model, path, sites=SITES, reduce="mean", out=out, client=client)
    killer.join(1)
    assert not psutil.pid_exists(victim)
    assert tree(out) == undisturbed
    after = written(out)
    assert before
    assert all(after[part] == when for part, when in before.items())  # parts that were done are not done again


def test_a_killed_command_is_continued_by_the_same_command(model, checkpoint, path, client, undisturbed, tmp_path):
    out = tmp_path / "store"
    client.run(slow_down)
    words = ["capture", "--model", checkpoint, "--cells", path, "--sites", *SITES, "--reduce", "mean"]
    words += ["--out", out, "--scheduler", client.scheduler.address]
    command = subprocess.Popen([sys.executable, "-c", COMMAND, *map(str, words)], stderr=subprocess.PIPE)
    when_begun(out, command.kill).join(90)
    assert command.wait(90) == -signal.SIGKILL, command.stderr.read()
    with pytest.raises(StoreError, match="not complete"):
        interp.ActivationStore.open(out)
    interp.capture(model, path, sites=SITES, reduce="mean", out=out, client=client)
    assert tree(out) == undisturbed


@pytest.mark.slow
def test_a_part_that_kills_its_workers_ends_the_run_and_says_what_is_safe(model, path, client, undisturbed, tmp_path):
    out = tmp_path / "store"
    client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 0))
    client.run(die_at_work)
    with pytest.raises(UnfinishedError, match=r"1 workers died .* 0 of 5 parts are safe .* same call continues"):
        interp.capture(model, path, sites=SITES, reduce="mean", out=out, client=client)
    client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 3))
    client.wait_for_workers(2, timeout=60)
    interp.capture(model, path, sites=SITES, reduce="mean", out=out, client=client)
    assert tree(out) == undisturbed


def test_a_worker_without_interp_or_with_another_one_is_named(model, many, client, tmp_path, monkeypatch):
    code = "import sys; sys.modules['interp'] = None; from distributed.cli.dask_worker import main; main()"
    words = [client.scheduler.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--name", "bare"]
    bare = subprocess.Popen([sys.executable, "-c", code, *words], stderr=subprocess.DEVNULL)
    try:
        client.wait_for_workers(3, timeout=60)
        with pytest.raises(InputError, match=r"has interp none .*install"):
            interp.capture(model, many, out=tmp_path / "store", client=client)
    finally:
        bare.kill()
        bare.wait()
    while len(client.nthreads()) > 2:
        time.sleep(0.05)
    here = interp.__version__
    monkeypatch.setattr(interp, "__version__", "9.9")
    with pytest.raises(InputError, match=f"has interp {here}, and 9.9 is asked for"):
        interp.capture(model, many, out=tmp_path / "store", client=client)
    assert not (tmp_path / "store").exists()


def test_threads_of_one_worker_take_turns_with_the_model(model, path, threads, tmp_path, monkeypatch):
    inside, most = [], []
    compute = CaptureWork.compute

    def watched(*given):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.02)
        arrays = compute(*given)
        inside.pop()
        return arrays

    monkeypatch.setattr(CaptureWork, "compute", watched)
    shared = interp.capture(model, path, sites=SITES, reduce="mean", out=tmp_path / "store", client=threads)
    assert len(most) == 5
    assert max(most) == 1
    alone = interp.capture(model, path, sites=SITES, reduce="mean")
    for site in alone:  # two threads add up in another order than one
        np.testing.assert_allclose(shared[site][:], alone[site][:], atol=1e-6)
    assert cluster._opened.cache_info().currsize == 0  # and the model is let go


@pytest.mark.slow
def test_a_lost_scheduler_ends_the_run_and_the_same_call_continues(model, path, client, undisturbed, tmp_path):
    out, file = tmp_path / "store", tmp_path / "scheduler.json"
    start = "import sys; from distributed.cli.dask_{0} import main; sys.argv[0] = 'dask-{0}'; main()"
    here = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", file]
    words = [["scheduler", *here, "--port", "0"], ["worker", *here, "--nthreads", "1", "--no-nanny"]]
    processes = [subprocess.Popen([sys.executable, "-c", start.format(w[0]), *map(str, w[1:])]) for w in words]
    try:
        while not file.is_file():
            time.sleep(0.05)
        with distributed.Client(scheduler_file=str(file), timeout=5) as lost:
            lost.wait_for_workers(1, timeout=60)
            lost.run(slow_down)
            when_begun(out, processes[0].kill)
            with pytest.raises(UnfinishedError, match=r"scheduler was lost .* same call continues"):
                interp.capture(model, path, sites=SITES, reduce="mean", out=out, client=lost)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    interp.capture(model, path, sites=SITES, reduce="mean", out=out, client=client)
    assert tree(out) == undisturbed


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        (
            distributed.KilledWorker("part", SimpleNamespace(address="tcp://10.0.0.7:4"), 3),
            "4 workers died one after the other over the same part, the last one at tcp://10.0.0.7:4: .* memory",
        ),
        (distributed.client.FutureCancelledError("part", "scheduler-connection-lost"), "scheduler was lost"),
    ],
)
def test_lost_workers_are_told_apart_and_what_is_safe_is_said(lost, words):
    store = SimpleNamespace(plan=plan.BatchPlan(2, 1, None, 1), n_cells=10, todo=lambda: [3, 4], folder="out")
    result = lost if isinstance(lost, distributed.client.FutureCancelledError) else (type(lost), lost, None)
    with pytest.raises(UnfinishedError, match=words + ".*3 of 5 parts are safe in out, and the same call continues"):
        cluster._number(result, store)


def test_an_error_that_stays_ends_the_run(model, path, threads, tmp_path, monkeypatch):
    calls = []

    def fail(*given):
        calls.append(1)
        msg = "the accelerator is gone"
        raise RuntimeError(msg)

    monkeypatch.setattr(CaptureWork, "compute", fail)
    with pytest.raises(UnfinishedError, match=r"RuntimeError: the accelerator is gone.* 0 of 5 parts are safe"):
        interp.capture(model, path, out=tmp_path / "store", client=threads)
    assert len(calls) >= 3


def test_a_full_disk_of_a_worker_ends_the_run_at_once(model, path, threads, tmp_path, monkeypatch):
    def no_room(*given):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(parcel, "write_json", no_room)
        with pytest.raises(UnfinishedError, match=r"cannot be written for the workers.*No space left.*same call"):
            interp.capture(model, path, out=tmp_path / "store", client=threads)
    with monkeypatch.context() as patch:
        patch.setattr(partstore, "every_chunk_written", no_room)
        with pytest.raises(UnfinishedError, match=r"the worker on .* the disk is full.*continues there"):
            interp.capture(model, path, out=tmp_path / "store", client=threads)
    assert len(interp.capture(model, path, out=tmp_path / "store", client=threads)) == N_CELLS


def test_a_worker_that_cannot_see_the_folder_says_so(model, path, threads, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "pack", lambda work, folder: None)
    monkeypatch.setattr(parcel, "SEEN_SECONDS", 0)
    with pytest.raises(InputError, match=r"the worker on .* cannot read .*facts.json .*file system that all workers"):
        interp.capture(model, path, out=tmp_path / "store", client=threads)


def test_a_part_whose_capture_has_ended_is_not_written(model, path, threads, tmp_path, monkeypatch):
    out = tmp_path / "store"
    compute = CaptureWork.compute

    def give_up(*given):
        for left in (out / ".work").glob("parcel-*"):
            left.rename(tmp_path / left.name)
        return compute(*given)

    with monkeypatch.context() as patch:
        patch.setattr(CaptureWork, "compute", give_up)
        patch.setattr(cluster.PartStore, "finish", lambda store, columns: None)
        with pytest.raises(StoreError, match="not complete: 0 parts"):
            interp.capture(model, path, out=out, client=threads)
    assert not (out / ".work" / "done").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"scheduler": "tcp://127.0.0.1:1"}, "no scheduler answers at 'tcp://127.0.0.1:1'"),
        ({"scheduler": "nonsense"}, "no scheduler answers at 'nonsense'"),
        ({"scheduler": "tls://127.0.0.1:1"}, "no scheduler answers"),
        ({"scheduler": "tcp://127.0.0.1:1", "workers": 2}, "not both"),
    ],
)
def test_a_scheduler_that_is_not_there_is_an_error_within_seconds(given, words, monkeypatch):
    assert workers.ANSWER_SECONDS <= 10
    monkeypatch.setattr(workers, "ANSWER_SECONDS", 1)
    began = time.monotonic()
    with pytest.raises(InputError, match=words), workers.connect(**given):
        pass
    assert time.monotonic() - began < 5


def test_a_port_that_is_no_schedulers_is_an_error_within_seconds(monkeypatch):
    monkeypatch.setattr(workers, "ANSWER_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(InputError, match="no scheduler answers"), workers.connect(scheduler=address):
            pass


def test_a_client_needs_a_folder_and_is_one(model, many, threads, tmp_path):
    with pytest.raises(InputError, match="no out="):
        interp.capture(model, many, client=threads)
    with pytest.raises(InputError, match=r"builtins.str; expected a dask.distributed.Client"):
        interp.capture(model, many, out=tmp_path / "x", client=threads.scheduler.address)


@pytest.mark.parametrize(
    ("n_cells", "n_workers", "expected"), [(10**6, 2, 512), (1000, 2, 64), (1000, 20, 32), (1, 1, 32)]
)
def test_parts_are_enough_for_the_workers(n_cells, n_workers, expected):
    whole = plan.BatchPlan(512, 4096, None, 8)
    assert plan.share_out(whole, n_cells, n_workers).part_cells == expected
    tight = plan.BatchPlan(4, 4096, None, 8)
    assert plan.share_out(tight, n_cells, n_workers).part_cells == 4


def test_workers_see_gpus_by_their_number():
    assert [cluster.choose_gpu(i, 2) for i in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert cluster.choose_gpu("SLURMCluster-3", 1) == "cuda"


@pytest.mark.slow
def test_local_workers_obey_nobody_else():
    pytest.importorskip("cryptography")
    with workers.connect(workers=1) as client:
        address = client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        assert client.submit(sum, [1, 2]).result() == 3
        for stranger in (address, address.replace("tls://", "tcp://")):
            with pytest.raises(InputError, match="no scheduler answers"), workers.connect(scheduler=stranger):
                pass


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_of_it(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("from interp.capture.workers import connect\nwith connect(workers=1) as client:\n    pass\n")
    found = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=120)
    assert found.returncode
    assert "if __name__ == '__main__':" in found.stderr.splitlines()[-1]


@pytest.mark.slow
def test_local_workers_die_with_a_killed_command(path, tmp_path):
    words = ["capture", "--model", "scgpt-sim", "--cells", path, "--out", tmp_path / "store", "--workers", "2"]
    command = subprocess.Popen([sys.executable, "-c", COMMAND, *map(str, words)])
    deadline = time.monotonic() + 60
    while len(psutil.Process(command.pid).children(recursive=True)) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    children = psutil.Process(command.pid).children(recursive=True)
    command.kill()
    command.wait()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
