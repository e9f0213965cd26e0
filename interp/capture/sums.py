"""Sums of attention patterns over cells, between the genes of a panel: the result, its parts and its file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.capture.layout import compressors, damage, every_chunk_written, missing_chunks
from interp.errors import InputError, StoreError
from interp.runs.files import new_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jaxtyping import Float, Int

SCHEMA = 4
READABLE = (3, SCHEMA)  # 3 knew no "lifted", and is otherwise the same
ARRAYS = ("sum", "uniform", "count", "weighted", "lifted")


@dataclass(frozen=True)
class AttentionSums:
    """Sums of attention patterns over cells, between the genes of a panel.

    Attributes
    ----------
    sum
        Sum of `pattern[query, key]` over the cells that hold both genes, float64 (layer, head, gene, gene); only for
        chosen heads, (chosen, gene, gene).
    uniform
        The same sum for a pattern that attends evenly to every token of a cell, float64 (gene, gene).
    count
        Cells in which both genes were tokens, int64 (gene, gene).
    genes
        Symbols of the panel.
    n_cells
        Number of cells.
    heads
        Layer and head of the chosen heads, in the order of `sum`; None for all.
    weighted
        The sum of `pattern[query, key]` times the norm of the value that the key's gene moves (after the head's output
        weights; Kobayashi et al. 2020), of the shape of `sum`; None when it was not asked for.
    lifted
        The sum of `pattern[query, key]` times the number of tokens of the cell, ``<cls>`` among them, of the shape of
        `sum`: a head that attends evenly adds 1 for every cell. None when it was not asked for.
    """

    sum: Float[np.ndarray, "*heads gene gene"]
    uniform: Float[np.ndarray, "gene gene"]
    count: Int[np.ndarray, "gene gene"]
    genes: tuple[str, ...]
    n_cells: int
    heads: tuple[tuple[int, int], ...] | None = None
    weighted: Float[np.ndarray, "*heads gene gene"] | None = None
    lifted: Float[np.ndarray, "*heads gene gene"] | None = None

    def __repr__(self) -> str:
        """Say what was summed."""
        n_heads = int(np.prod(self.sum.shape[:-2]))
        words = ", value-weighted too" if self.weighted is not None else ""
        words += ", lifted too" if self.lifted is not None else ""
        return f"AttentionSums({n_heads} heads, {len(self.genes):,} genes, {self.n_cells:,} cells{words})"

    def __add__(self, other: AttentionSums) -> AttentionSums:
        """Return the sums over the cells of both."""
        alike = self.genes == other.genes and self.sum.shape == other.sum.shape and self.heads == other.heads
        if not alike or set(self._arrays()) != set(other._arrays()):
            msg = (
                f"sums over {len(self.genes)} and {len(other.genes)} genes, of different heads, or with different "
                f"parts ({', '.join(self._arrays())}; {', '.join(other._arrays())}), cannot be added"
            )
            raise InputError(msg)
        added: dict[str, Any] = {name: array + getattr(other, name) for name, array in self._arrays().items()}
        return replace(self, n_cells=self.n_cells + other.n_cells, **added)

    def head(self, layer: int, head: int) -> Float[np.ndarray, "gene gene"]:
        """Return the sum of one head.

        Raises
        ------
        InputError
            It was not summed.
        """
        if self.heads is None:
            n_layers, n_heads = self.sum.shape[:2]
            if 0 <= layer < n_layers and 0 <= head < n_heads:
                return self.sum[layer, head]
        elif (layer, head) in self.heads:
            return self.sum[self.heads.index((layer, head))]
        there = f"{self.sum.shape[:2]} layers x heads" if self.heads is None else str(self.heads)
        msg = f"L{layer}H{head} is not among these sums ({there})"
        raise InputError(msg)

    def subset(self, genes: Sequence[str]) -> AttentionSums:
        """Return the sums between some of the genes, in the given order."""
        at = {gene: i for i, gene in enumerate(self.genes)}
        missing = [gene for gene in genes if gene not in at]
        if missing:
            msg = f"{len(missing)} genes are not in these sums, such as {missing[:3]}; sum over a panel that holds them"
            raise InputError(msg)
        keep = np.array([at[gene] for gene in genes])
        picked: dict[str, Any] = {name: _between(array, keep) for name, array in self._arrays().items()}
        return replace(self, genes=tuple(genes), **picked)

    @property
    def nbytes(self) -> int:
        """Bytes that the arrays take."""
        return sum(array.nbytes for array in self._arrays().values())

    def _arrays(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name) for name in ARRAYS if getattr(self, name) is not None}

    def save(self, folder: str | Path) -> None:
        """Write the sums as a zarr group, checksummed, in place of a folder that may be there.

        Raises
        ------
        StoreError
            The folder cannot be written; what was there is untouched.
        """
        try:
            with new_folder(folder) as aside, every_chunk_written():
                self._write(aside)
        except OSError as error:
            msg = f"{folder} cannot be written ({error.strerror or error}); make room, or give another folder"
            raise StoreError(msg) from error

    def _write(self, folder: Path) -> None:
        import zarr

        group = zarr.open_group(folder, mode="w")
        for name, array in self._arrays().items():
            chunks = (*([1] * (array.ndim - 2)), *array.shape[-2:])
            group.create_array(name, data=array, chunks=chunks, compressors=compressors())
        group.attrs.update(
            {
                "schema": SCHEMA,
                "arrays": list(self._arrays()),
                "genes": list(self.genes),
                "n_cells": self.n_cells,
                "heads": self.heads,
            }
        )

    @classmethod
    def load(cls, folder: str | Path) -> AttentionSums:
        """Read sums written by `save`.

        Raises
        ------
        StoreError
            The folder holds none, of another schema version, or damaged ones.
        """
        import zarr

        try:
            group = zarr.open_group(folder, mode="r")
            attrs: dict[str, Any] = dict(group.attrs)
        except (OSError, ValueError) as error:
            msg = f"{folder} holds no attention sums ({error}); make them with interp.attention_sums"
            raise StoreError(msg) from error
        if "n_cells" not in attrs or "sites" in attrs:
            msg = f"{folder} holds something else than attention sums; make them with interp.attention_sums"
            raise StoreError(msg)
        if attrs.get("schema") not in READABLE:
            known = " and ".join(map(str, READABLE))
            msg = f"{folder} has schema {attrs.get('schema')!r}, this version reads {known}; make the sums again"
            raise StoreError(msg)
        with damage(str(folder), "a piece of the sums"):
            if missing_chunks(group, attrs["arrays"]):
                raise KeyError(*missing_chunks(group, attrs["arrays"]))
            arrays = {name: np.asarray(group[name]) for name in attrs["arrays"]}
            heads = attrs["heads"]
            chosen = None if heads is None else tuple((int(layer), int(head)) for layer, head in heads)
            return cls(**arrays, genes=tuple(attrs["genes"]), n_cells=int(attrs["n_cells"]), heads=chosen)


def _between(array: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Cut every matrix (..., gene, gene) to some genes; one index for all would leave the heads innermost in memory."""
    cut = np.empty((*array.shape[:-2], len(keep), len(keep)), dtype=array.dtype)
    for place in np.ndindex(array.shape[:-2]):
        np.take(array[place].take(keep, axis=0), keep, axis=1, out=cut[place], mode="clip")
    return cut
