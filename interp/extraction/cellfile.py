"""h5ad files whose counts stay on disk: opening one, and writing results into a copy of it."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from interp.errors import InputError
from interp.runs.files import ASIDE_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from anndata import AnnData


@contextmanager
def open_cells_file(path: Path, layer: str | None) -> Iterator[tuple[AnnData, Any]]:
    """Open an h5ad file without reading its counts.

    Parameters
    ----------
    path
        The file.
    layer
        Layer with the raw counts; ``"raw"`` takes ``.raw`` when no layer has that name; None takes X.

    Yields
    ------
    tuple
        The cells without counts (obs, var, varm["measured"], uns["interp"]), and the counts on disk, (cell, gene):
        a dense or sparse data set, by cell or by gene.

    Raises
    ------
    InputError
        There is no such file or layer, or it holds no AnnData.
    """
    import h5py
    from anndata import AnnData
    from anndata.io import read_elem

    if not path.is_file():
        msg = f"There is no file {path}; give an .h5ad file with raw counts."
        raise InputError(msg)
    try:
        file = h5py.File(path, mode="r")
    except OSError as error:
        msg = f"{path} is not an h5ad file ({error})."
        raise InputError(msg) from error
    with file:
        place = _place(file, layer, path)
        try:
            frames = {"obs": read_elem(file["obs"]), "var": read_elem(file["raw/var" if place == "raw/X" else "var"])}
            varm = {"measured": read_elem(file["varm/measured"])} if "varm/measured" in file else {}
            uns = {"interp": read_elem(file["uns/interp"])} if "uns/interp" in file else {}
        except Exception as error:  # anndata and h5py raise all kinds on what no AnnData has written
            msg = f"{path} holds no AnnData that can be read ({type(error).__name__}: {error})."
            raise InputError(msg) from error
        yield AnnData(**frames, varm=varm if place != "raw/X" else {}, uns=uns), _matrix(file[place])


def write_beside(path: Path, out: Path, cells: AnnData, keys: Mapping[str, str | None]) -> Path:
    """Write a copy of an h5ad file with results; whole or not at all.

    Parameters
    ----------
    path
        The file that was read.
    out
        The file to write; it may be `path`.
    cells
        The results, as `interp.extraction.transform.write_results` leaves them.
    keys
        Their names.

    Returns
    -------
    pathlib.Path
        `out`.
    """
    import h5py
    from anndata.io import write_elem

    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f".{out.name}.{uuid4().hex}{ASIDE_SUFFIX}")
    try:
        shutil.copyfile(path, aside)
        with h5py.File(aside, mode="r+") as file:
            for group in ("obsm", "uns"):
                if group not in file:
                    write_elem(file, group, {})
            obs = file["obs"]
            for column in (keys[name] for name in ("pseudotime", "stage", "ood", "geodesic")):
                if column and column in cells.obs:
                    values = cells.obs[column]
                    write_elem(obs, column, values.array if values.dtype == "category" else values.to_numpy())
                    order = [name for name in obs.attrs["column-order"] if name != column]
                    obs.attrs["column-order"] = [*order, column]
            write_elem(file["obsm"], str(keys["latent"]), cells.obsm[keys["latent"]])
            write_elem(file["uns"], "interp", cells.uns["interp"])
        with aside.open("rb") as written:
            os.fsync(written.fileno())
        aside.replace(out)
    finally:
        aside.unlink(missing_ok=True)
    return out


def _place(file: Any, layer: str | None, path: Path) -> str:
    layers = list(file["layers"]) if "layers" in file else []
    place = "X" if layer is None else f"layers/{layer}"
    if layer == "raw" and "raw" not in layers:
        place = "raw/X"
    if place not in file:
        what = "no X" if layer is None else f"no layer {layer!r}"
        msg = f"{path}: there is {what} to read counts from; its layers are: {', '.join(map(repr, layers)) or 'none'}."
        raise InputError(msg)
    return place


def _matrix(element: Any) -> Any:
    """Return what is stored sparse as a data set that gives sparse rows or columns, and dense data as it is."""
    from anndata.io import sparse_dataset

    return sparse_dataset(element) if hasattr(element, "keys") else element
