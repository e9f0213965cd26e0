"""How a store of activations lies on disk: one zarr array per site, chunked by cell, compressed and checksummed."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import zarr

    from interp.capture.plan import BatchPlan

SCHEMA = 1
# What every store holds beside its sites.
CELL_IDS, LENGTHS, TOKEN_GENES, OBS = "cell_ids", "lengths", "token_genes", "obs"
# zstd level 1 compresses float activations as well as higher levels do, and fastest.
ZSTD_LEVEL = 1
DTYPES = {"float16": np.float16, "float32": np.float32}


def create_arrays(
    group: zarr.Group, shapes: Mapping[str, tuple[int, ...]], n_cells: int, dtype: str, plan: BatchPlan
) -> None:
    """Create the arrays of a store, all missing.

    Parameters
    ----------
    group
        The store.
    shapes
        Shape of one cell by site; `TOKEN_GENES` among them where tokens are kept apart.
    n_cells
        Number of cells.
    dtype
        One of `DTYPES`.
    plan
        The batch plan, whose parts share no chunk.
    """
    for name, shape in shapes.items():
        kind = "int32" if name == TOKEN_GENES else dtype
        _create(group, name, (n_cells, *shape), kind, plan)
    _create(group, LENGTHS, (n_cells,), "int32", plan)
    _create(group, CELL_IDS, (n_cells,), str, plan)


def _create(group: zarr.Group, name: str, shape: tuple[int, ...], dtype: Any, plan: BatchPlan) -> None:
    from interp.capture.plan import chunk_cells

    itemsize = 32 if dtype is str else np.dtype(dtype).itemsize
    cells = chunk_cells(plan, int(np.prod(shape[1:], dtype=np.int64)) * itemsize)
    fill = "" if dtype is str else -1 if np.dtype(dtype).kind == "i" else np.nan
    group.create_array(
        name,
        shape=shape,
        chunks=(cells, *(max(1, size) for size in shape[1:])),
        dtype=dtype,
        fill_value=fill,
        compressors=compressors(),
        overwrite=True,
    )


def compressors() -> list[Any]:
    """Return the codecs of every chunk: compression, and a checksum that is compared whenever a chunk is read."""
    from zarr.codecs import Crc32cCodec, ZstdCodec

    return [ZstdCodec(level=ZSTD_LEVEL), Crc32cCodec()]


def write_obs(group: zarr.Group, columns: Iterable[tuple[str, Any]]) -> list[str]:
    """Write columns of obs one at a time, so that no frame of all cells is held; returns their names."""
    import anndata
    from anndata.io import write_elem

    obs, written = group.create_group(OBS, overwrite=True), []
    with anndata.settings.override(auto_shard_zarr_v3=False), every_chunk_written():
        for name, values in columns:
            write_elem(obs, name, _storable(values), dataset_kwargs={"compressors": compressors()})
            written.append(name)
    obs.attrs["columns"] = written
    return written


@contextmanager
def every_chunk_written() -> Iterator[None]:
    """Write chunks that hold nothing but the fill value too: one that is not there is then a damage."""
    import zarr

    with zarr.config.set({"array.write_empty_chunks": True}):
        yield


def _storable(values: Any) -> Any:
    import pandas as pd

    if isinstance(values, pd.Categorical):
        return values
    if isinstance(values, pd.arrays.IntegerArray | pd.arrays.BooleanArray):
        return values if values.isna().any() else values.to_numpy(values.dtype.numpy_dtype)
    array = np.asarray(values)
    if array.dtype.kind in "biuf":
        return array
    return pd.Categorical(pd.Series(array).astype("string").astype(object))


def missing_chunks(group: zarr.Group, names: Iterable[str]) -> dict[str, int]:
    """Return how many chunks are not there, by array; a group stands for all arrays below it.

    Raises
    ------
    KeyError
        An array is not there at all.
    """
    arrays = {name: group[name] for name in names}
    for name in [name for name, item in arrays.items() if not hasattr(item, "nchunks")]:
        below = arrays.pop(name).members(max_depth=None)
        arrays |= {f"{name}/{path}": item for path, item in below if hasattr(item, "nchunks")}
    lost = {name: int(array.nchunks - array.nchunks_initialized) for name, array in arrays.items()}
    return {name: number for name, number in lost.items() if number}


@contextmanager
def damage(where: str, what: str) -> Iterator[None]:
    """Turn what zarr raises at damaged or missing pieces into a `StoreError`.

    Parameters
    ----------
    where
        The store.
    what
        What is read in the block, for the message.
    """
    try:
        yield
    except (ValueError, RuntimeError, OSError, KeyError, TypeError) as error:
        msg = (
            f"{where}: {what} is damaged or gone ({type(error).__name__}: {error}); remove the store and make it "
            "again, or restore it from a copy"
        )
        raise StoreError(msg) from error
