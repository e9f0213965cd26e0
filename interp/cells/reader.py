"""Cells read a range at a time, from memory or from an h5ad or zarr file that stays on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import pandas as pd
from scipy import sparse

from interp.cells.counts import canonical_counts
from interp.cells.names import gene_names
from interp.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData
    from scipy.sparse import csr_matrix

# Entries of a dense matrix that are held at once (16 million float32 are 64 MB).
DENSE_ENTRIES = 2**24
ADVICE = "Name where the raw counts are with layer=, as in interp.cells.open_cells(path, layer='counts')"


_BY_GENE = "{where} is stored as {encoding}, which cannot be read cell by cell; store it as CSR (X.tocsr())"


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
        step = max(1, DENSE_ENTRIES // max(1, len(self.genes)))
        blocks = [
            canonical_counts(self._source.matrix(first, min(first + step, stop)), self.where, hint=ADVICE)
            for first in range(start, max(stop, start + 1), step)  # no cells: an empty block
        ]
        return blocks[0] if len(blocks) == 1 else sparse.vstack(blocks, format="csr")

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
        names = gene_names(source.var(), gene_key, where)
        origin = {"path": str(path.resolve()), "layer": layer, "gene_key": gene_key}
        return CellReader(where, names, origin, source)
    if not hasattr(cells, "obs_names"):
        msg = f"cells are an AnnData, a path, or what interp.cells.open_cells returns; got a {type(cells).__name__}"
        raise InputError(msg)
    memory = _InMemory(cells, layer)
    return CellReader("the AnnData", gene_names(memory.var(), gene_key, "the AnnData"), None, memory)


class _InMemory:
    """An AnnData; of a backed one, or a view of one, only the rows asked for are read."""

    def __init__(self, adata: AnnData, layer: str | None) -> None:
        if layer not in (None, "raw") and layer not in adata.layers:
            msg = f"there is no layer {layer!r}; there are: {', '.join(adata.layers) or 'none'}"
            raise InputError(msg)
        root = adata._adata_ref if adata.is_view else adata  # X of a view would be a copy of its cells
        if layer is None and root.X is None:
            msg = f"X is empty. {ADVICE}"
            raise InputError(msg)
        if adata.isbacked and layer is None and getattr(root.X, "format", "csr") != "csr":
            raise InputError(_BY_GENE.format(where="X", encoding="csc_matrix"))
        self._adata, self._layer = adata, layer
        self._raw = layer == "raw" and "raw" not in adata.layers
        if self._raw and adata.raw is None:
            msg = "the cells have no .raw, which layer='raw' names"
            raise InputError(msg)
        self.n_cells = adata.n_obs
        # anndata refuses a view of a view of a backed AnnData, so ranges are taken from what the view looks at
        self._viewed = root if adata.isbacked and adata.is_view else None
        if self._viewed is not None:
            self._rows, self._columns = np.arange(root.n_obs)[adata._oidx], adata._vidx

    def var(self) -> pd.DataFrame:
        return self._adata.raw.var if self._raw else self._adata.var

    def matrix(self, start: int, stop: int) -> Any:
        if self._viewed is not None:
            rows = self._viewed[self._rows[start:stop], self._columns]
        else:
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
        lost = [name for name in ("obs", self._var) if name not in self._root]
        if lost:
            msg = f"{where} has no {lost[0]}, so it holds no AnnData; write it with adata.write_h5ad or write_zarr"
            raise InputError(msg)
        self._matrix = _rows_of(self._root[place], f"{where}: {place}")
        self._index = str(self._root["obs"].attrs.get("_index", ""))
        if not self._index:
            msg = f"{where}: obs has no index as anndata 0.7 and later write it; read and write the file once"
            raise InputError(msg)
        stored = self._root["obs"][self._index]
        self._names = stored["values"] if "values" in getattr(stored, "keys", tuple)() else stored  # nullable texts
        self.n_cells = int(self._names.shape[0])

    def var(self) -> pd.DataFrame:
        from anndata.io import read_elem

        return read_elem(self._root[self._var])

    def matrix(self, start: int, stop: int) -> Any:
        return self._matrix[start:stop]

    def names(self, start: int, stop: int) -> np.ndarray:
        stored = self._names
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
    # sparse matrices of anndata before 0.7 say so in another attribute
    encoding = element.attrs.get("encoding-type") or f"{element.attrs.get('h5sparse_format', '')}_matrix"
    encoding = encoding if hasattr(element, "keys") else "array"
    if encoding == "csr_matrix":
        from anndata.io import sparse_dataset

        return sparse_dataset(element)
    if encoding == "array":
        return element
    raise InputError(_BY_GENE.format(where=where, encoding=encoding))
