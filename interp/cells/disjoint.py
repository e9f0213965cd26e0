"""Whether two panels share donors or cells, by name and by content."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from interp.cells.names import some
from interp.cells.panel import measured_genes
from interp.errors import InputError
from interp.runs.seeds import stream

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData
    from numpy.typing import NDArray

# A cell is compared by content when it expresses at least this many of the genes both studies measured; two different
# cells with fewer could hold the same counts by chance.
MIN_EXPRESSED = 20


class _Row(NamedTuple):
    check: str
    status: str
    n_shared: int
    n_compared_a: int
    n_compared_b: int
    ok: bool
    examples: str


def check_disjoint(a: AnnData, b: AnnData, *, raise_if_shared: bool = False) -> pd.DataFrame:
    """Compare the donors and cells of two panels.

    Content is compared on the genes that both studies of a pair measured, so a copy that was cut to fewer genes is
    found too.

    Parameters
    ----------
    a, b
        Panels from `read_cells`.
    raise_if_shared
        Whether shared donors or cells are an error.

    Returns
    -------
    pandas.DataFrame
        One row per check: "donors", "cells" and "cell contents" are "disjoint" or "shared"; "donor ids" and "cell ids",
        names without the study's prefix, are "disjoint" or "suspect", for studies often number their donors alike.
        Columns check, status, n_shared, n_compared_a, n_compared_b, ok (False when shared), examples.

    Raises
    ------
    InputError
        Something is shared, and `raise_if_shared`.
    """
    rows = [
        _names("donors", a.obs["donor"], b.obs["donor"], "shared"),
        _names("donor ids", _bare(a.obs["donor"], a), _bare(b.obs["donor"], b), "suspect"),
        _names("cells", a.obs_names, b.obs_names, "shared"),
        _names("cell ids", _bare(a.obs_names, a), _bare(b.obs_names, b), "suspect"),
        _contents(a, b),
    ]
    report = pd.DataFrame(rows, columns=list(_Row._fields))
    shared = report[~report["ok"]]
    if raise_if_shared and len(shared):
        found = "; ".join(f"{row.n_shared:,} {row.check} ({row.examples})" for row in shared.itertuples())
        msg = f"the two panels share {found}; an external panel has other donors and cells: leave these out of one"
        raise InputError(msg)
    return report


def _names(check: str, a: Iterable[str], b: Iterable[str], when_shared: str) -> _Row:
    left, right = set(map(str, a)), set(map(str, b))
    both = sorted(left & right)
    status = when_shared if both else "disjoint"
    return _Row(check, status, len(both), len(left), len(right), status != "shared", some(both))


def _bare(names: Iterable[str], cells: AnnData) -> list[str]:
    """Take the study's prefix off names."""
    studies = cells.obs["study"].astype(str) if "study" in cells.obs else [""] * cells.n_obs
    return [str(name).removeprefix(f"{study}:") for name, study in zip(names, studies, strict=True)]


def _contents(a: AnnData, b: AnnData) -> _Row:
    found_a, found_b = np.zeros(a.n_obs, bool), np.zeros(b.n_obs, bool)
    seen_a, seen_b = found_a.copy(), found_b.copy()
    for rows_a, genes_a in _studies(a):
        for rows_b, genes_b in _studies(b):
            common = genes_a.intersection(genes_b).sort_values()
            keys = stream(0, "cells.disjoint").integers(1, 2**64, size=len(common), dtype=np.uint64, endpoint=False)
            hash_a, rich_a = _hashes(a, rows_a, common, keys)
            hash_b, rich_b = _hashes(b, rows_b, common, keys)
            seen_a[rows_a[rich_a]] = True
            seen_b[rows_b[rich_b]] = True
            found_a[rows_a[rich_a]] |= np.isin(hash_a[rich_a], hash_b[rich_b])
            found_b[rows_b[rich_b]] |= np.isin(hash_b[rich_b], hash_a[rich_a])
    n = int(max(found_a.sum(), found_b.sum()))
    status = "shared" if n else ("disjoint" if seen_a.any() and seen_b.any() else "not computable")
    return _Row("cell contents", status, n, int(seen_a.sum()), int(seen_b.sum()), n == 0, some(a.obs_names[found_a]))


def _studies(cells: AnnData) -> list[tuple[NDArray[np.intp], pd.Index]]:
    measured = measured_genes(cells)
    if list(measured.columns) == ["all"]:
        return [(np.arange(cells.n_obs), measured.index)]
    studies = cells.obs["study"].astype(str).to_numpy()
    return [(np.flatnonzero(studies == name), measured.index[measured[name].to_numpy()]) for name in measured.columns]


def _hashes(
    cells: AnnData, rows: NDArray[np.intp], genes: pd.Index, keys: NDArray[np.uint64]
) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Return a 64-bit hash of each cell's counts, and whether it expresses enough genes to be told by it.

    The hash is the sum over genes of count x random key, modulo 2**64; two different cells agree with a chance of
    about 2**-64.
    """
    counts = sparse.csr_matrix(cells.X)[rows][:, cells.var_names.get_indexer(genes)].astype(np.uint64)
    return counts @ keys, np.diff(counts.indptr) >= MIN_EXPRESSED
