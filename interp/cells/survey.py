"""One pass over cells before long work: are they counts, how long are they, and what are they, as hashes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interp.errors import InputError
from interp.runs.hashes import sha256_arrays
from interp.runs.progress import progress

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from interp.cells.reader import CellReader

# Cells read at a time; a cell of 5,000 expressed genes has 40 kB, so a block stays near 40 MB.
BLOCK = 1024


@dataclass(frozen=True)
class Survey:
    """What one pass over cells tells.

    Attributes
    ----------
    n_cells
        Number of cells.
    counts_per_gene
        Total counts, float64 (gene,).
    longest
        Most genes that one cell expresses, among those that count.
    identity
        SHA-256 of the genes' names, the cells' names and the counts, by ``genes``, ``cells`` and ``counts``; the same
        for cells in memory and on disk, whatever else they carry.
    """

    n_cells: int
    counts_per_gene: np.ndarray
    longest: int
    identity: dict[str, str]


def survey(reader: CellReader, known: np.ndarray | None = None) -> Survey:
    """Go through all cells once.

    Parameters
    ----------
    reader
        The cells.
    known
        Genes that count for `Survey.longest`, bool (gene,); None counts all.

    Returns
    -------
    Survey

    Raises
    ------
    InputError
        The values are no raw counts, there are no cells, or two cells have one name.
    """
    if not len(reader):
        msg = f"{reader.where} holds no cells; at least one is needed"
        raise InputError(msg)
    parts = {name: hashlib.sha256() for name in ("names", "lengths", "indices", "data")}
    per_gene, longest = np.zeros(len(reader.genes)), 0
    fingerprints = np.empty(len(reader), np.uint64)
    with progress(total=len(reader), description="looking through the cells", unit="cell") as bar:
        for start, stop in reader.ranges(BLOCK):
            counts, names = reader.counts(start, stop), reader.names(start, stop)
            lengths = np.diff(counts.indptr).astype("<i8")
            per_gene += np.bincount(counts.indices, weights=counts.data, minlength=len(per_gene))
            longest = max(longest, int(_expressed(counts, known).max()))
            parts["names"].update("".join(f"{len(name)}:{name}" for name in names).encode())
            parts["lengths"].update(lengths.tobytes())
            parts["indices"].update(counts.indices.astype("<i4", copy=False).tobytes())
            parts["data"].update(counts.data.astype("<f4", copy=False).tobytes())
            fingerprints[start:stop] = [_fingerprint(name) for name in names]
            bar.update(stop - start)
    _refuse_twins(reader, fingerprints)
    counts_of = hashlib.sha256("".join(parts[name].hexdigest() for name in ("lengths", "indices", "data")).encode())
    identity = {
        "genes": sha256_arrays(genes=reader.genes.to_numpy(dtype=object)),
        "cells": parts["names"].hexdigest(),
        "counts": counts_of.hexdigest(),
    }
    return Survey(len(reader), per_gene, longest, identity)


def _expressed(counts: csr_matrix, known: np.ndarray | None) -> np.ndarray:
    """Number of genes that each cell expresses, among those that count."""
    if known is None:
        return np.diff(counts.indptr)
    before = np.concatenate([[0], np.cumsum(known[counts.indices])])
    return np.diff(before[counts.indptr])


def _fingerprint(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def _refuse_twins(reader: CellReader, fingerprints: np.ndarray) -> None:
    """Refuse names that stand twice, found by 64-bit hashes so that a million names need 8 MB."""
    order = np.argsort(fingerprints, kind="stable")
    same = np.flatnonzero(fingerprints[order][1:] == fingerprints[order][:-1])
    if len(same):
        first = int(order[same[0]])
        name = reader.names(first, first + 1)[0]
        msg = (
            f"{reader.where}: {len(same):,} cells have a name that another cell has, such as {name!r}; "
            "make them unique, as adata.obs_names_make_unique() does"
        )
        raise InputError(msg)
