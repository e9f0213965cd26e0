"""A capture that was interrupted, at any moment and in any way, ends with the bytes of an undisturbed one."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from zarr.storage import _local as zarr_files

from interp.capture import ActivationStore, capture
from interp.capture import plan as plans
from interp.capture.partstore import PartStore
from interp.capture.state import DONE, PLAN, WORK
from interp.capture.work import CaptureWork
from interp.errors import InputError, StoreError
from interp.runs import lock as locks
from interp.runs.lock import folder_lock

OPTIONS = {"sites": ["resid_post", "z"], "layers": [0, 2], "reduce": "mean"}


@pytest.fixture(scope="module")
def whole(model, mixed, tree, tmp_path_factory):
    """The bytes of an undisturbed capture in parts of 4 cells."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plans, "PART_CELLS", 4)
        patch.setitem(plans.BATCH_TOKENS, "cpu", 60)
        folder = tmp_path_factory.mktemp("whole") / "store"
        capture(model, mixed, out=folder, **OPTIONS)
    return tree(folder)


def in_child(work) -> int:
    """Run in a forked process; returns the signal that ended it."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] & 0x7F


def test_two_captures_have_the_same_bytes_and_nothing_is_left_over(model, mixed, tree, whole, small_parts, tmp_path):
    capture(model, mixed, out=tmp_path / "again", **OPTIONS)
    assert tree(tmp_path / "again") == whole
    assert not any(".partial" in name or ".work" in name or ".lock" in name for name in whole)


@pytest.mark.parametrize("part", range(6))
@pytest.mark.parametrize("place", ["write", "compute"])
def test_an_error_in_any_part_is_made_good(model, mixed, tree, whole, small_parts, monkeypatch, tmp_path, part, place):
    owner, calls = {"write": PartStore, "compute": CaptureWork}[place], []
    true = getattr(owner, place)

    def broken(self, *args):
        calls.append(1)
        if len(calls) == part + 1:
            if place == "write":  # half of the part is on disk
                number, arrays = args
                start, stop = self.plan.part(number, self.n_cells)
                name = "blocks.0.hook_resid_post"
                self.group[name][start:stop] = arrays[name] * 7
            raise KeyboardInterrupt
        return true(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(owner, place, broken)
        with pytest.raises(KeyboardInterrupt):
            capture(model, mixed, out=tmp_path / "store", **OPTIONS)
    with pytest.raises(StoreError, match=f"not complete: {part} parts are written"):
        ActivationStore.open(tmp_path / "store")
    computed = []
    monkeypatch.setattr(CaptureWork, "compute", lambda self, *args: computed.append(1) or real(self, *args))
    capture(model, mixed, out=tmp_path / "store", **OPTIONS)
    assert len(computed) == 6 - part  # what was written is not computed again
    assert tree(tmp_path / "store") == whole


real = CaptureWork.compute


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 7])
def test_a_kill_at_any_write_is_made_good(model, mixed, tree, monkeypatch, tmp_path, step):
    monkeypatch.setattr(plans, "PART_CELLS", 4)
    cells, options = mixed[:6], {"sites": "resid_post", "layers": 0}
    capture(model, cells, out=tmp_path / "whole", **options)
    undisturbed, put = tree(tmp_path / "whole"), zarr_files._put
    for kill_at in range(1, 1000, step):
        folder, writes = tmp_path / f"{kill_at}", []

        def deadly(path, value, *, exclusive=False, writes=writes, kill_at=kill_at):
            writes.append(path)
            if len(writes) == kill_at:  # the bytes are there, the last name is not
                path.parent.mkdir(parents=True, exist_ok=True)
                path.with_suffix(".0a.partial").write_bytes(value.to_bytes()[:9])
                os.kill(os.getpid(), signal.SIGKILL)
            return put(path, value, exclusive=exclusive)

        with monkeypatch.context() as patch:
            patch.setattr(zarr_files, "_put", deadly)
            ended = in_child(lambda folder=folder: capture(model, cells, out=folder, **options))
        capture(model, cells, out=folder, **options)
        assert tree(folder) == undisturbed, kill_at
        shutil.rmtree(folder)
        if ended != signal.SIGKILL:
            break
    assert kill_at > 20


@pytest.mark.parametrize("moment", ["write_json", "rmtree", "touch"])
def test_a_kill_between_the_writes_is_made_good(model, mixed, tree, whole, small_parts, monkeypatch, tmp_path, moment):
    def die(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        if moment == "write_json":
            patch.setattr("interp.runs.files._flush_folder", die)  # the plan is there, nothing else is
        elif moment == "rmtree":
            patch.setattr(shutil, "rmtree", die)  # complete, but not tidied
        else:
            patch.setattr(Path, "touch", die)  # a part is there, its mark is not
        ended = in_child(lambda: capture(model, mixed, out=tmp_path / "store", **OPTIONS))
    assert ended == signal.SIGKILL
    capture(model, mixed, out=tmp_path / "store", **OPTIONS)
    assert tree(tmp_path / "store") == whole


def test_a_process_killed_from_outside_is_made_good_and_keeps_others_out(
    model, mixed, tree, whole, small_parts, monkeypatch, tmp_path
):
    folder, marks, write = tmp_path / "store", tmp_path / "store" / WORK / DONE, PartStore.write

    def slow(self, number, arrays):
        write(self, number, arrays)
        time.sleep(60 if number == 2 else 0)

    with monkeypatch.context() as patch:
        patch.setattr(PartStore, "write", slow)
        child = os.fork()
        if not child:
            capture(model, mixed, out=folder, **OPTIONS)
            os._exit(0)
    try:
        while not (marks / "00000002").exists():
            assert os.waitpid(child, os.WNOHANG) == (0, 0)
            time.sleep(0.01)
        with pytest.raises(InputError, match=rf"in use by another process.*{child}"):
            capture(model, mixed, out=folder, **OPTIONS)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert len(list(marks.iterdir())) == 3
    mixed.write_h5ad(tmp_path / "cells.h5ad")
    capture(model, tmp_path / "cells.h5ad", out=folder, **OPTIONS)  # the same cells, now from disk
    assert tree(folder) == whole


def test_the_recorded_plan_wins_over_a_new_budget(model, mixed, tree, whole, small_parts, monkeypatch, tmp_path):
    def stop(self, number, arrays):
        if number == 2:
            raise KeyboardInterrupt
        write(self, number, arrays)

    write = PartStore.write
    with monkeypatch.context() as patch:
        patch.setattr(PartStore, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            capture(model, mixed, out=tmp_path / "store", **OPTIONS)
    monkeypatch.setattr(plans, "PART_CELLS", 16)
    store = capture(model, mixed, out=tmp_path / "store", memory=2**26, **OPTIONS)
    assert store.attrs["plan"]["part_cells"] == 4
    assert tree(tmp_path / "store") == whole


def test_a_complete_store_is_only_read(model, mixed, small_parts, monkeypatch, tmp_path):
    folder = tmp_path / "store"
    first = capture(model, mixed, out=folder, **OPTIONS)
    times = {item: item.stat().st_mtime_ns for item in [folder, *folder.rglob("*")]}

    def never(*_, **__):
        raise AssertionError

    monkeypatch.setattr("interp.runs.lock.os.open", never)
    monkeypatch.setattr(zarr_files, "_put", never)
    monkeypatch.setattr(CaptureWork, "compute", never)
    again = capture(model, mixed, out=folder, **OPTIONS)
    assert {item: item.stat().st_mtime_ns for item in [folder, *folder.rglob("*")]} == times
    np.testing.assert_array_equal(again["blocks.0.attn.hook_z"][:], first["blocks.0.attn.hook_z"][:])
    assert again.attrs["complete"] is True


@pytest.mark.parametrize("left", [[".work"], ["zarr.json"], [".work", "zarr.json"], ["zarr.0a.partial", ".lock"]])
def test_what_a_killed_beginning_leaves_is_begun_afresh(model, mixed, tree, whole, small_parts, tmp_path, left):
    folder = tmp_path / "store"
    folder.mkdir()
    for name in left:
        if name == ".work":
            (folder / name).mkdir()
            (folder / name / f".{PLAN}.0a.part").write_text('{"sc')
        elif name == "zarr.json":
            (folder / name).write_text('{"attributes": {}, "zarr_format": 3, "node_type": "group"}')
        else:
            (folder / name).write_text("")
    capture(model, mixed, out=folder, **OPTIONS)
    assert tree(folder) == whole


@pytest.mark.parametrize("others", [["notes.txt"], [".work", "precious.partial.csv"], ["zarr.json"]])
def test_a_folder_with_other_things_is_refused_and_untouched(model, mixed, tree, tmp_path, others):
    folder = tmp_path / "store"
    folder.mkdir()
    for name in others:
        content = '{"attributes": {"encoding-type": "anndata"}, "zarr_format": 3, "node_type": "group"}'
        (folder / name).mkdir() if name == ".work" else (folder / name).write_text(content)
    before = tree(folder)
    with pytest.raises(InputError, match="holds other things"):
        capture(model, mixed, out=folder, **OPTIONS)
    assert tree(folder) == before


def test_a_file_in_place_of_the_folder_is_refused(model, mixed, tmp_path):
    (tmp_path / "store").write_text("")
    with pytest.raises(InputError, match="is a file"):
        capture(model, mixed, out=tmp_path / "store")
    with pytest.raises(StoreError, match="cannot be written"):
        capture(model, mixed, out=tmp_path / "store" / "below")


@pytest.mark.parametrize("full_at", [0, 3, 30, 50])
def test_a_full_disk_says_what_is_safe_and_the_repeat_continues(
    model, mixed, tree, whole, small_parts, monkeypatch, tmp_path, full_at
):
    put, writes = zarr_files._put, []

    def full(path, value, *, exclusive=False):
        writes.append(path)
        if len(writes) > full_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return put(path, value, exclusive=exclusive)

    with monkeypatch.context() as patch:
        patch.setattr(zarr_files, "_put", full)
        with pytest.raises(StoreError, match=r"the disk is full.*safe; make room and repeat the same call") as caught:
            capture(model, mixed, out=tmp_path / "store", **OPTIONS)
    if full_at == 50:
        assert " of 6 parts of 4 cells are safe" in str(caught.value)
    capture(model, mixed, out=tmp_path / "store", **OPTIONS)
    assert tree(tmp_path / "store") == whole


def test_a_folder_that_cannot_be_written_is_an_error_of_the_store(model, mixed, monkeypatch, tmp_path):
    def denied(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("interp.runs.lock.os.open", denied)
    with pytest.raises(StoreError, match=r"cannot be written.*Permission denied.*mend that"):
        capture(model, mixed, out=tmp_path / "store")


@pytest.mark.parametrize("state", ["complete", "begun"])
@pytest.mark.parametrize("other", ["cells", "order", "counts", "model", "seed", "sites", "reduce", "dtype", "genes"])
def test_a_store_of_something_else_is_refused_and_untouched(
    model, mixed, tree, small_parts, monkeypatch, tmp_path, state, other
):
    folder = tmp_path / "store"
    if state == "begun":
        with monkeypatch.context() as patch:
            patch.setattr(PartStore, "finish", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                capture(model, mixed, out=folder, **OPTIONS)
    else:
        capture(model, mixed, out=folder, **OPTIONS)
    before, cells, options = tree(folder), mixed, dict(OPTIONS)
    if other == "cells":
        cells = mixed[:-1]
    elif other == "order":
        cells = mixed[::-1]
    elif other == "counts":
        cells = mixed.copy()
        cells.X.data[0] += 1
    elif other == "genes":
        cells = mixed[:, 1:]
    elif other != "model":
        options[other] = {"seed": 1, "sites": "z", "reduce": "cls", "dtype": "float16"}[other]
    weight = model.encoder.embedding.weight
    try:
        weight.data[0, 0] += 1.0 if other == "model" else 0.0
        with pytest.raises(StoreError, match=r"something else .*there, .*asked for"):
            capture(model, cells, out=folder, **options)
    finally:
        weight.data[0, 0] -= 1.0 if other == "model" else 0.0
    assert tree(folder) == before


def test_one_process_fills_a_folder_once_at_a_time(model, mixed, tmp_path):
    (tmp_path / "store").mkdir()
    with folder_lock(tmp_path / "store"), pytest.raises(InputError, match="already open in this process"):
        capture(model, mixed, out=tmp_path / "store")


def test_a_lock_whose_file_its_last_holder_removed_is_taken_again(monkeypatch, tmp_path):
    true, takes = locks._take, []

    def late(handle, folder):
        takes.append(handle)
        if len(takes) == 1:
            (folder / locks.LOCK_NAME).unlink()  # what the holder before does between our opening and our locking
        true(handle, folder)

    monkeypatch.setattr(locks, "_take", late)
    with folder_lock(tmp_path, leave=False):
        assert len(takes) == 2
        assert in_child(lambda: enter(tmp_path)) == signal.SIGUSR1  # and keeps another process out
        assert (tmp_path / locks.LOCK_NAME).exists()
    assert not (tmp_path / locks.LOCK_NAME).exists()


def enter(folder: Path) -> None:
    """Die of SIGUSR1 when the folder is in use."""
    locks._held.clear()  # this process inherited it, not the lock
    try:
        with folder_lock(folder):
            time.sleep(0)
    except InputError:
        os.kill(os.getpid(), signal.SIGUSR1)
