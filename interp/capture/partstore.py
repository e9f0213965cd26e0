"""A store of activations while it is being filled: every part is written once, marked, and never asked for again."""

from __future__ import annotations

import errno
import json
import logging
import shutil
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp.capture.layout import SCHEMA, create_arrays, every_chunk_written, write_obs
from interp.capture.plan import BatchPlan
from interp.errors import InputError, StoreError, UnfinishedError
from interp.runs.files import write_json
from interp.runs.lock import LOCK_NAME, folder_lock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy as np
    import zarr

log = logging.getLogger(__name__)

# Holds what belongs to the filling alone; removed at the end.
WORK = ".work"
PLAN, DONE = "plan.json", "done"
# Endings of files that zarr renames when they are whole.
UNFINISHED = "*.partial"


class PartStore:
    """A store that is being filled; made by `PartStore.open`, or by `PartStore.attach` in a worker.

    Parameters
    ----------
    group
        The zarr group.
    plan
        The batch plan.
    n_cells
        Number of cells.
    folder
        Where the store lies; None in memory.
    """

    def __init__(self, group: zarr.Group, plan: BatchPlan, n_cells: int, folder: Path | None) -> None:
        self.group, self.plan, self.n_cells, self.folder = group, plan, n_cells, folder

    @classmethod
    @contextmanager
    def open(
        cls,
        out: Path | None,
        identity: Mapping[str, Any],
        plan: BatchPlan,
        shapes: Mapping[str, tuple[int, ...]],
    ) -> Iterator[PartStore]:
        """Begin a store, or go on with one that the same call began.

        Parameters
        ----------
        out
            Folder; None keeps the store in memory.
        identity
            All that the content depends on but the plan; ``n_cells`` and ``dtype`` among it.
        plan
            Plan of a new store; one that goes on keeps its own.
        shapes
            Shape of one cell by array.

        Raises
        ------
        StoreError
            The folder holds activations of something else.
        InputError
            It holds other things, or another process fills it.
        """
        import zarr

        n_cells, dtype = identity["n_cells"], identity["dtype"]
        if out is None:
            group = zarr.open_group(zarr.storage.MemoryStore(), mode="w")
            create_arrays(group, shapes, n_cells, dtype, plan)
            group.attrs.update({**identity, "plan": asdict(plan), "complete": False})
            yield cls(group, plan, n_cells, None)
            return
        _check_folder(out)
        out.mkdir(parents=True, exist_ok=True)
        with folder_lock(out):
            recorded = recorded_state(out)
            if recorded is not None:
                _check_same(out, recorded, identity)
                plan = BatchPlan(**recorded["plan"])
            state = {**identity, "plan": asdict(plan), "complete": bool(recorded and recorded["complete"])}
            store = cls(zarr.open_group(out, mode="a"), plan, n_cells, out)
            if not state["complete"] and len(store.todo()) == len(plan.parts(n_cells)):
                write_json(out / WORK / PLAN, state)
                create_arrays(store.group, shapes, n_cells, dtype, plan)
                store.group.attrs.update(state)
            yield store
        (out / LOCK_NAME).unlink(missing_ok=True)

    @classmethod
    def attach(cls, folder: Path) -> PartStore:
        """Open a begun store in a worker, to write parts of it."""
        import zarr

        state = json.loads((folder / WORK / PLAN).read_text())
        return cls(zarr.open_group(folder, mode="r+"), BatchPlan(**state["plan"]), state["n_cells"], folder)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        return bool(self.group.attrs.get("complete"))

    def todo(self) -> list[int]:
        """Numbers of the parts that are not written yet."""
        parts = range(len(self.plan.parts(self.n_cells)))
        if self.folder is None:
            return list(parts)
        marks = self.folder / WORK / DONE
        done = {int(mark.name) for mark in marks.iterdir()} if marks.is_dir() else set()
        return [number for number in parts if number not in done]

    def write(self, number: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Write one part and mark it as done.

        Raises
        ------
        UnfinishedError
            The disk is full or the folder cannot be written; parts that are done stay done.
        """
        start, stop = self.plan.parts(self.n_cells)[number]
        try:
            with every_chunk_written():
                for name, values in arrays.items():
                    self.group[name][start:stop] = values
            if self.folder is not None:
                marks = self.folder / WORK / DONE
                marks.mkdir(parents=True, exist_ok=True)
                (marks / f"{number:08d}").touch()
        except OSError as error:
            raise UnfinishedError(self._unwritable(error)) from error

    def finish(self, columns: Iterable[tuple[str, Any]]) -> None:
        """Add the cells' labels and declare the store complete."""
        try:
            write_obs(self.group, columns)
            if self.folder is not None:
                for left in self.folder.rglob(UNFINISHED):
                    left.unlink(missing_ok=True)
            self.group.attrs["complete"] = True
        except OSError as error:
            raise UnfinishedError(self._unwritable(error)) from error
        if self.folder is not None:
            shutil.rmtree(self.folder / WORK, ignore_errors=True)

    def _unwritable(self, error: OSError) -> str:
        why = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error)
        done = len(self.plan.parts(self.n_cells)) - len(self.todo())
        return (
            f"{self.folder} cannot be written: {why}. {done} parts of {self.plan.part_cells:,} cells are safe; "
            "make room and repeat the same call, which continues there"
        )


def recorded_state(folder: Path) -> dict[str, Any] | None:
    """Return what a begun or complete store says of itself; None for a new folder."""
    if (folder / WORK / PLAN).is_file():
        state: dict[str, Any] = json.loads((folder / WORK / PLAN).read_text())
        # the last act of filling is to set this, and then to remove the plan
        state["complete"] = bool(_attributes(folder).get("complete"))
        return state
    return _attributes(folder) or None


def _attributes(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "zarr.json").read_text()).get("attributes", {}))
    except (OSError, ValueError):
        return {}


def _check_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        msg = f"{out} is a file; give a folder for the activations"
        raise InputError(msg)
    names = {item.name for item in out.iterdir()} - {LOCK_NAME} if out.is_dir() else set()
    if names and recorded_state(out) is None:
        if WORK in names or names == {"zarr.json"}:
            return  # a run that was killed before it had begun
        msg = f"{out} holds other things ({sorted(names)[:3]}); give a new or an empty folder"
        raise InputError(msg)


def _check_same(out: Path, recorded: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    if recorded.get("schema") != SCHEMA:
        msg = f"{out} has schema {recorded.get('schema')!r}, this version writes {SCHEMA}; give another folder"
        raise StoreError(msg)
    asked = json.loads(json.dumps(identity))
    other = [key for key in asked if recorded.get(key) != asked[key]]
    if other:
        shown = "; ".join(f"{key}: {_short(recorded.get(key))} there, {_short(asked[key])} asked for" for key in other)
        msg = f"{out} holds activations of something else ({shown}); give another folder, or remove this one"
        raise StoreError(msg)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
