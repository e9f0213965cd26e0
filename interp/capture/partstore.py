"""A store of activations while it is being filled: every part is written once, marked, and never asked for again."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from interp.capture.layout import create_arrays, every_chunk_written, write_obs
from interp.capture.plan import BatchPlan
from interp.capture.state import (
    DONE,
    PLAN,
    UNFINISHED,
    WORK,
    check_folder,
    check_same,
    recorded_state,
    writable,
)
from interp.runs.files import write_json
from interp.runs.lock import folder_lock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    import numpy as np
    import zarr


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
        """Begin a store, or go on with one that the same call began; a complete one is only read.

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
            The folder holds activations of something else, or cannot be written.
        InputError
            It holds other things, or another process fills it.
        """
        import zarr

        if out is None:
            yield cls._begin(zarr.open_group(zarr.storage.MemoryStore(), mode="w"), None, identity, plan, shapes)
            return
        check_folder(out)
        recorded = recorded_state(out)
        if recorded is not None:
            check_same(out, recorded, identity)
            if recorded["complete"] and not (out / WORK).exists():
                yield cls(zarr.open_group(out, mode="r"), BatchPlan(**recorded["plan"]), identity["n_cells"], out)
                return
        with ExitStack() as stack:
            with writable(out, lambda: "What was written before is safe"):
                out.mkdir(parents=True, exist_ok=True)
                stack.enter_context(folder_lock(out, leave=False))
                store = cls._continue(out, identity, plan, shapes)
            yield store

    @classmethod
    def _continue(
        cls, out: Path, identity: Mapping[str, Any], plan: BatchPlan, shapes: Mapping[str, tuple[int, ...]]
    ) -> PartStore:
        """Open the folder for writing, now that nobody else does; what it holds may have changed until then."""
        import zarr

        recorded = recorded_state(out)
        if recorded is not None:
            check_same(out, recorded, identity)
            plan = BatchPlan(**recorded["plan"])
        store = cls(zarr.open_group(out, mode="a"), plan, identity["n_cells"], out)
        if store.complete:
            store._clean()  # a run that was killed right before it
        elif len(store.todo()) == plan.n_parts(store.n_cells):
            return cls._begin(store.group, out, identity, plan, shapes)
        return store

    @classmethod
    def _begin(
        cls,
        group: zarr.Group,
        out: Path | None,
        identity: Mapping[str, Any],
        plan: BatchPlan,
        shapes: Mapping[str, tuple[int, ...]],
    ) -> PartStore:
        state = {**identity, "plan": asdict(plan), "complete": False}
        if out is not None:
            write_json(out / WORK / PLAN, state)
        create_arrays(group, shapes, identity["n_cells"], identity["dtype"], plan)
        group.attrs.update(state)
        return cls(group, plan, identity["n_cells"], out)

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
        """Return the numbers of the parts that are not written yet."""
        parts = range(self.plan.n_parts(self.n_cells))
        if self.folder is None:
            return list(parts)
        marks = self.folder / WORK / DONE
        done = {mark.name for mark in marks.iterdir()} if marks.is_dir() else set()
        return [number for number in parts if _mark(number) not in done]

    def write(self, number: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Write one part and mark it as done.

        Raises
        ------
        UnfinishedError
            The disk is full or the folder cannot be written; parts that are done stay done.
        """
        start, stop = self.plan.part(number, self.n_cells)
        with writable(self.folder, self._safe):
            with every_chunk_written():
                for name, values in arrays.items():
                    self.group[name][start:stop] = values
            if self.folder is not None:
                marks = self.folder / WORK / DONE
                marks.mkdir(parents=True, exist_ok=True)
                (marks / _mark(number)).touch()

    def finish(self, columns: Iterable[tuple[str, Any]]) -> None:
        """Add the cells' labels and declare the store complete.

        Raises
        ------
        StoreError
            The disk is full or the folder cannot be written; the parts stay done.
        """
        with writable(self.folder, self._safe):
            write_obs(self.group, columns)
            self.group.attrs["complete"] = True
            self._clean()

    def _clean(self) -> None:
        """Remove what the filling alone needed."""
        if self.folder is not None:
            for left in self.folder.rglob(UNFINISHED):
                left.unlink(missing_ok=True)
            shutil.rmtree(self.folder / WORK, ignore_errors=True)

    def _safe(self) -> str:
        n_parts = self.plan.n_parts(self.n_cells)
        return f"{n_parts - len(self.todo())} of {n_parts} parts of {self.plan.part_cells:,} cells are safe"


def _mark(number: int) -> str:
    return f"{number:08d}"
