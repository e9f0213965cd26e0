"""Time a capture by two workers against one: ``python perf/capture_workers.py [cells] [workers]``.

Whole-human size with random weights, one thread a worker, all on this machine: give it as many idle cores as workers.
Cells are real where INTERP_CELLS names their folder, else random. Set-up is the hash and the copy of the model, and its
loading in every worker.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from scipy import sparse
from whole_human import real_cells, whole_human

import interp
from interp.capture.workers import connect

# Genes that a cell expresses, and genes in all, where cells are random.
EXPRESSED, N_GENES = (200, 1200), 20_000
# Cells of a capture that only starts things: a part for every worker, short cells.
WARM_CELLS, WARM_EXPRESSED = 32, (5, 10)


def random_cells(n_cells: int, expressed: tuple[int, int], genes: list[str]) -> anndata.AnnData:
    """Cells of mixed lengths."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(*expressed, n_cells)
    columns = np.concatenate([np.sort(rng.choice(len(genes), n, replace=False)) for n in lengths])
    counts = rng.geometric(0.4, len(columns)).astype(np.float32)
    matrix = sparse.csr_matrix((counts, columns, np.concatenate([[0], np.cumsum(lengths)])), (n_cells, len(genes)))
    obs = pd.DataFrame(index=[f"cell{i}" for i in range(n_cells)])
    return anndata.AnnData(matrix, obs=obs, var=pd.DataFrame(index=genes))


def some_cells(n_cells: int) -> anndata.AnnData:
    """Real cells where INTERP_CELLS names their folder, else random ones."""
    if not os.environ.get("INTERP_CELLS"):
        return random_cells(n_cells, EXPRESSED, [f"GENE{i}" for i in range(N_GENES)])
    cells = real_cells()
    return cells[np.linspace(0, cells.n_obs - 1, n_cells).astype(int)].copy()


def timed(client: Any, model: interp.HookedScGPT, cells: Path, out: Path) -> tuple[interp.ActivationStore, float]:
    """Capture, and return the store and the seconds."""
    start = time.perf_counter()
    store = interp.capture(model, cells, sites=["resid_post", "z"], reduce="mean", out=out, client=client)
    return store, time.perf_counter() - start


def run(n_workers: int, model: interp.HookedScGPT, folder: Path) -> tuple[interp.ActivationStore, float, float]:
    """Capture on a fresh cluster; returns the store, the seconds of the whole call, and those of its set-up alone."""
    with connect(workers=n_workers) as client:
        client.wait_for_workers(n_workers)
        for i in range(2):  # the first one imports, the second one tells what a call costs before its work
            _, set_up = timed(client, model, folder / "few.h5ad", folder / f"warm-{n_workers}-{i}")
        store, seconds = timed(client, model, folder / "cells.h5ad", folder / f"store-{n_workers}")
    return store, seconds, set_up


def main(n_cells: int, n_workers: int) -> None:
    """Print cells/s of both, the ratio, and how far the stores are apart."""
    logging.disable(logging.INFO)
    cells = some_cells(n_cells)
    genes = list(cells.var_names)
    model = whole_human(genes)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cells.write_h5ad(folder / "cells.h5ad")
        random_cells(WARM_CELLS * n_workers, WARM_EXPRESSED, genes).write_h5ad(folder / "few.h5ad")
        (one, one_all, one_set_up), (many, many_all, many_set_up) = (run(n, model, folder) for n in (1, n_workers))
        lengths = one.lengths
        print(f"{n_cells} cells, {lengths.min()} to {lengths.max()} tokens, mean {lengths.mean():.0f}, one thread each")
        for n, whole, set_up in ((1, one_all, one_set_up), (n_workers, many_all, many_set_up)):
            rate = n_cells / (whole - set_up)
            print(f"{n} workers: {rate:6.2f} cells/s; {n_cells / whole:6.2f} with the {set_up:.1f} s of set-up")
        print(f"ratio {(one_all - one_set_up) / (many_all - many_set_up):.2f}; {one_all / many_all:.2f} with set-up")
        apart = max(float(np.abs(one[site][:] - many[site][:]).max()) for site in one)
        print(f"largest difference between the stores: {apart:.2g}")


if __name__ == "__main__":
    main(*(int(word) for word in (*sys.argv[1:], *("192", "2")[len(sys.argv) - 1 :])))
