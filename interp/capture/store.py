"""Captured activations, read back lazily and held to the cells that they were captured from."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interp.capture.layout import CELL_IDS, LENGTHS, OBS, SCHEMA, TOKEN_GENES, damage, missing_chunks
from interp.capture.reduce import FULL
from interp.capture.state import DONE, WORK, recorded_state
from interp.cells.reader import open_cells
from interp.cells.survey import survey
from interp.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import zarr

    from interp.cells.reader import Cells

CELLS_WORDS = {
    "genes": "other genes, or the same in another order",
    "cells": "other cells, or the same in another order",
    "counts": "other counts",
}


class StoredActivation:
    """One array of a store; slices are read from the disk, as NumPy arrays.

    Attributes
    ----------
    name
        The hook point, or the name of another array of the store.
    """

    def __init__(self, array: zarr.Array, name: str, where: str) -> None:
        self._array, self.name, self._where = array, name, where

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, (cell, ...)."""
        return self._array.shape

    @property
    def dtype(self) -> np.dtype:
        """The type on disk."""
        return self._array.dtype

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of a stored chunk."""
        return self._array.chunks

    @property
    def zarr(self) -> zarr.Array:
        """The zarr array itself, for ``dask.array.from_zarr``."""
        return self._array

    def __len__(self) -> int:
        """Return the number of cells."""
        return self.shape[0]

    def __repr__(self) -> str:
        """Say what it is."""
        return f"StoredActivation({self.name}: {self.shape} {self.dtype})"

    def __getitem__(self, index: Any) -> np.ndarray:
        """Return a part, read from the disk; rows may be a slice, a list or a mask.

        Raises
        ------
        StoreError
            A chunk is damaged.
        """
        rows, *rest = index if isinstance(index, tuple) else (index,)
        picked = not (isinstance(rows, slice | int | np.integer) or rows is Ellipsis)
        if picked:
            rows = np.asarray(rows)
            rows = np.atleast_1d(np.arange(len(self))[rows if rows.size else rows.astype(np.int64)])
        with damage(self._where, self.name):
            if not picked:
                return np.asarray(self._array[index])
            taken = np.asarray(self._array.oindex[rows]) if len(rows) else np.empty((0, *self.shape[1:]), self.dtype)
        return taken[(slice(None), *rest)] if rest else taken

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:  # noqa: FBT001
        """Read all of it."""
        return np.asarray(self[:], dtype=dtype)


class ActivationStore:
    """Activations of many cells, on disk or in memory, read when asked for.

    Made by `interp.capture`, or by `ActivationStore.open` from a folder. ``store[site]`` gives a `StoredActivation`.

    Attributes
    ----------
    sites
        Hook points, in the order in which they arise.
    attrs
        schema, model and vocabulary (SHA-256), hooks (that were live), cells (SHA-256 of genes, cells and counts),
        n_cells, sites, reduce, genes, dtype, seed, max_tokens, precision, matched_genes, count_share, plan.
    """

    def __init__(self, group: zarr.Group, *, where: str) -> None:
        self._group, self._where = group, where
        self.attrs: dict[str, Any] = dict(group.attrs)
        self.sites: tuple[str, ...] = tuple(self.attrs["sites"])

    @classmethod
    def open(cls, folder: str | Path, *, cells: Cells | None = None) -> ActivationStore:
        """Open a complete store.

        Parameters
        ----------
        folder
            The folder that `interp.capture` wrote.
        cells
            Cells that the store must have been captured from, in this order.

        Raises
        ------
        StoreError
            There is no such store, it is not complete or damaged, of another schema, or was captured from other cells.
        """
        import zarr

        folder = Path(folder)
        state = recorded_state(folder) if folder.is_dir() else None
        if state is None:
            msg = f"{folder} holds no activations; make them with interp.capture(model, cells, out=...)"
            raise StoreError(msg)
        if state.get("schema") != SCHEMA:
            msg = f"{folder} has schema {state.get('schema')!r}, this version reads {SCHEMA}; capture again"
            raise StoreError(msg)
        if not state["complete"]:
            begun = sum(1 for _ in (folder / WORK / DONE).glob("*"))
            msg = f"{folder} is not complete: {begun} parts are written; the call that began it continues it"
            raise StoreError(msg)
        with damage(str(folder), "the list of its contents"):
            store = cls(zarr.open_group(folder, mode="r"), where=str(folder))
        store._check_chunks()
        if cells is not None:
            store.check(cells)
        return store

    def __len__(self) -> int:
        """Return the number of cells."""
        return int(self.attrs["n_cells"])

    def __iter__(self) -> Iterator[str]:
        """Go through the sites."""
        return iter(self.sites)

    def __contains__(self, site: object) -> bool:
        """Tell whether a site was captured."""
        return site in self.sites

    def __repr__(self) -> str:
        """Say what is stored."""
        lines = [f"ActivationStore({self._where}: {len(self):,} cells, reduce={self.attrs['reduce']!r})"]
        return "\n".join([*lines, *(f"  {name}: {self[name].shape} {self[name].dtype}" for name in self.sites)])

    def __getitem__(self, site: str) -> StoredActivation:
        """Return one site.

        Raises
        ------
        StoreError
            It was not captured; the message names the nearest.
        """
        if site not in self.sites:
            near = get_close_matches(site, self.sites, n=3, cutoff=0.3) or self.sites[:3]
            msg = f"{self._where} holds no {site!r}; there are {len(self.sites)} sites, such as {', '.join(near)}"
            raise StoreError(msg)
        return StoredActivation(self._array(site), site, self._where)

    @property
    def reduce(self) -> str:
        """What was kept of each cell."""
        return str(self.attrs["reduce"])

    @property
    def genes(self) -> tuple[str, ...]:
        """The chosen genes, for ``reduce="genes"``."""
        return tuple(self.attrs["genes"])

    @cached_property
    def cell_ids(self) -> pd.Index:
        """Names of the cells, in the order of the rows."""
        with damage(self._where, CELL_IDS):
            return pd.Index(np.asarray(self._group[CELL_IDS]).astype(object), name="cell")

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each cell, `<cls>` included, int32 (cell,)."""
        with damage(self._where, LENGTHS):
            return np.asarray(self._group[LENGTHS])

    @property
    def token_genes(self) -> StoredActivation:
        """Token id of every row for ``reduce="full"``, int32 (cell, token); -1 where there is none."""
        if TOKEN_GENES not in self._group:
            msg = f"{self._where} keeps no tokens apart (reduce={self.reduce!r}); capture with reduce='full'"
            raise StoreError(msg)
        return StoredActivation(self._array(TOKEN_GENES), TOKEN_GENES, self._where)

    @cached_property
    def obs(self) -> pd.DataFrame:
        """Labels of the cells, as they were at the capture."""
        from anndata.io import read_elem

        with damage(self._where, OBS):
            stored = self._group[OBS]
            columns = {name: read_elem(stored[name]) for name in stored.attrs["columns"]}
        return pd.DataFrame(columns, index=self.cell_ids)

    def rows(self, cell_ids: Sequence[str]) -> np.ndarray:
        """Return the rows of cells by name, to bring activations into another order.

        Raises
        ------
        StoreError
            A cell is not in the store.
        """
        wanted = pd.Index(cell_ids)
        places = self.cell_ids.get_indexer(wanted)
        absent = np.flatnonzero(places < 0)
        if len(absent):
            msg = f"{len(absent):,} of {len(places):,} cells are not in {self._where}, such as {wanted[absent[0]]!r}"
            raise StoreError(msg)
        return places

    def check(self, cells: Cells) -> None:
        """Refuse cells that the store was not captured from.

        Raises
        ------
        StoreError
            Genes, cell names or counts are not those of the capture.
        """
        identity = survey(open_cells(cells)).identity
        other = [CELLS_WORDS[key] for key, value in self.attrs["cells"].items() if identity[key] != value]
        if other:
            msg = (
                f"{self._where} was captured from another panel: these cells have {'; '.join(other)}. Capture again, "
                "or take rows by name with store.rows(cells.obs_names)"
            )
            raise StoreError(msg)

    def _check_chunks(self) -> None:
        names = [*self.sites, CELL_IDS, LENGTHS, OBS] + ([TOKEN_GENES] if self.reduce == FULL else [])
        with damage(self._where, "the list of its chunks"):
            lost = missing_chunks(self._group, names)
        if lost:
            name, number = next(iter(lost.items()))
            msg = f"{self._where} is damaged: {number} chunks of {name} are gone; remove the store and capture again"
            raise StoreError(msg)

    def _array(self, name: str) -> zarr.Array:
        with damage(self._where, name):
            return self._group[name]
