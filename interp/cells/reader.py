"""Cells read a range at a time, from memory or from an h5ad or zarr file that stays on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import pandas as pd

from interp.cells.counts import canonical_counts
from interp.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData
    from scipy.sparse import csr_matrix

ADVICE = "Name where the raw counts are with layer=, as in interp.cells.open_cells(path, layer='counts')"


class _Source(Protocol):
    """Where a reader takes rows and labels from."""

    n_cells: int

    def var(self) -> pd.DataFrame: ...
    def matrix(self, start: int, stop: int) -> Any: ...
    def names(self, start: int, stop: int) -> np.ndarray: ...
    def columns(self) -> Iterator[tuple[str, Any]]: ...


@dataclass(frozen=True, eq=False)
class CellReader:
    """Raw counts and names of cells, a range of rows at a time; made by `open_cells`.

    Attributes
    ----------
    where
        Name of the cells in messages.
    genes
        Names of the genes, (gene,).
    origin
        File, layer and gene key, from which `open_cells` opens the same cells again; None for cells in memory.
    """

    where: str
    genes: pd.Index
    origin: dict[str, str | None] | None
    _source: _Source

    def __len__(self) -> int:
        """Return the number of cells."""
        return self._source.n_cells

    def __repr__(self) -> str:
        """Say what is read."""
        return f"CellReader({self.where}: {len(self):,} cells x {len(self.genes):,} genes)"

    def counts(self, start: int, stop: int) -> csr_matrix:
        """Return the raw counts of a range of cells, float32 (cell, gene), sorted, without stored zeros.

        Raises
        ------
        InputError
            The values are not finite non-negative whole numbers.
        """
        return canonical_counts(self._source.matrix(start, stop), self.where, hint=ADVICE)

    def names(self, start: int, stop: int) -> np.ndarray:
        """Return the names of a range of cells, texts (cell,)."""
        return self._source.names(start, stop)

    def ranges(self, size: int) -> Iterator[tuple[int, int]]:
        """Cut the cells into ranges of a size, the last one shorter."""
        for start in range(0, len(self), size):
            yield start, min(start + size, len(self))

    def columns(self) -> Iterator[tuple[str, Any]]:
        """Go through the columns of obs, one array (cell,) at a time."""
        return self._source.columns()


Cells: TypeAlias = "AnnData | str | Path | CellReader"


def open_cells(cells: Cells, *, layer: str | None = None, gene_key: str | None = None) -> CellReader:
    """Open cells for reading in ranges; a file's counts stay on disk.

    Parameters
    ----------
    cells
        AnnData, in memory or backed; the path of an ``.h5ad`` file or of a zarr folder; or a reader, returned as it is.
    layer
        Layer with the raw counts; "raw" takes ``.raw``; None takes X.
    gene_key
        Column of var with gene symbols, when the index holds ids.

    Returns
    -------
    CellReader

    Raises
    ------
    InputError
        There is no such file, layer or column, or the counts are stored by gene.

    Examples
    --------
    >>> from interp.simulate import simulate
    >>> reader = open_cells(simulate(n_donors=2, n_cells=60, n_genes=80, seed=1))
    >>> reader.counts(10, 30).shape
    (20, 80)
    """
    if isinstance(cells, CellReader):
        return cells
    if isinstance(cells, str | Path):
        path = Path(cells)
        where, source = str(path), _OnDisk(path, layer)
        origin = {"path": str(path.resolve()), "layer": layer, "gene_key": gene_key}
        return CellReader(where, _symbols(source.var(), gene_key, where), origin, source)
    memory = _InMemory(cells, layer)
    return CellReader("the AnnData", _symbols(memory.var(), gene_key, "the AnnData"), None, memory)


def _symbols(var: pd.DataFrame, gene_key: str | None, where: str) -> pd.Index:
    if gene_key is None:
        return pd.Index(var.index.astype(str), dtype=object)
    if gene_key not in var:
        there = ", ".join(map(repr, var.columns)) or "none"
        msg = f"{where}: var has no column {gene_key!r}, which gene_key= names; there are: {there}"
        raise InputError(msg)
    return pd.Index(var[gene_key].astype(str).to_numpy(dtype=object), dtype=object)


class _InMemory:
    """An AnnData; of a backed one only the rows asked for are read."""

    def __init__(self, adata: AnnData, layer: str | None) -> None:
        if layer not in (None, "raw") and layer not in adata.layers:
            msg = f"there is no layer {layer!r}; there are: {', '.join(adata.layers) or 'none'}"
            raise InputError(msg)
        if layer is None and adata.X is None:
            msg = f"X is empty. {ADVICE}"
            raise InputError(msg)
        self._adata, self._layer = adata, layer
        self._raw = layer == "raw" and "raw" not in adata.layers
        if self._raw and adata.raw is None:
            msg = "the cells have no .raw, which layer='raw' names"
            raise InputError(msg)
        self.n_cells = adata.n_obs

    def var(self) -> pd.DataFrame:
        return self._adata.raw.var if self._raw else self._adata.var

    def matrix(self, start: int, stop: int) -> Any:
        rows = self._adata[start:stop]
        if self._raw:
            return rows.raw.X
        return rows.X if self._layer is None else rows.layers[self._layer]

    def names(self, start: int, stop: int) -> np.ndarray:
        return self._adata.obs_names[start:stop].astype(str).to_numpy(dtype=object)

    def columns(self) -> Iterator[tuple[str, Any]]:
        for name in self._adata.obs:
            yield str(name), self._adata.obs[name].array


class _OnDisk:
    """An h5ad file or a zarr folder, read through anndata's own elements."""

    def __init__(self, path: Path, layer: str | None) -> None:
        self._root, where = _open(path), str(path)
        raw = layer == "raw" and "layers/raw" not in self._root
        place = "raw/X" if raw else "X" if layer is None else f"layers/{layer}"
        if place not in self._root:
            there = ", ".join(self._root["layers"]) if "layers" in self._root else ""
            msg = f"{where} has no {place}; its layers are: {there or 'none'}. {ADVICE}"
            raise InputError(msg)
        self._place, self._var = place, "raw/var" if raw else "var"
        self._matrix = _rows_of(self._root[place], f"{where}: {place}")
        self._index = str(self._root["obs"].attrs.get("_index", ""))
        if not self._index:
            msg = f"{where}: obs has no index as anndata 0.7 and later write it; read and write the file once"
            raise InputError(msg)
        self.n_cells = int(self._root["obs"][self._index].shape[0])

    def var(self) -> pd.DataFrame:
        from anndata.io import read_elem

        return read_elem(self._root[self._var])

    def matrix(self, start: int, stop: int) -> Any:
        return self._matrix[start:stop]

    def names(self, start: int, stop: int) -> np.ndarray:
        stored = self._root["obs"][self._index]
        rows = stored.asstr()[start:stop] if hasattr(stored, "asstr") else stored[start:stop]
        return np.array([str(name) for name in rows], dtype=object)

    def columns(self) -> Iterator[tuple[str, Any]]:
        from anndata.io import read_elem

        obs = self._root["obs"]
        for name in obs.attrs.get("column-order", ()):
            yield str(name), read_elem(obs[str(name)])


def _open(path: Path) -> Any:
    if path.is_dir():
        import zarr

        try:
            return zarr.open_group(path, mode="r")
        except (OSError, ValueError) as error:
            msg = f"{path} is no zarr folder of an AnnData ({error})"
            raise InputError(msg) from error
    if not path.is_file():
        msg = f"there is no file {path}; give an .h5ad file or a zarr folder"
        raise InputError(msg)
    import h5py

    try:
        return h5py.File(path, mode="r")
    except OSError as error:
        msg = f"{path} is not an h5ad file ({error})"
        raise InputError(msg) from error


def _rows_of(element: Any, where: str) -> Any:
    """Return something that gives rows by slice."""
    encoding = element.attrs.get("encoding-type", "array")
    if encoding == "csr_matrix":
        from anndata.io import sparse_dataset

        return sparse_dataset(element)
    if encoding == "array" and hasattr(element, "shape"):
        return element
    msg = f"{where} is stored as {encoding}, which cannot be read cell by cell; store it as CSR (X.tocsr())"
    raise InputError(msg)
