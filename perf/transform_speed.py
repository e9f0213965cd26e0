"""Time the folded transform, validation included, against plain code and the model: ``python perf/transform_speed.py``.

One thread. Counts of 200,000 cells x 1,200 genes, 30 % nonzero, float32; the model is of whole-human size with random
weights and reads cells of the same matrix. Fresh processes load the shipped algorithm and transform 1,000 cells. All
figures are the best of several runs: rates by processor time, which waits for nobody, and by wall time.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import anndata
import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

import interp
from interp.extraction.algorithm import CompactAlgorithm
from interp.extraction.measure import measure
from interp.extraction.runner.algorithm import Typical

SHIPPED = "hematopoiesis-mini"
N_GENES, N_LATENT, N_PROFILES = 1200, 10, 12
DENSITY = 0.3
N_REPEATS = 7
N_MODEL_CELLS = 8
# Cells of the plain code, which is slow.
N_PLAIN = 10_000
N_FRESH = 1000
FRESH = """
import sys, time
start = time.perf_counter()
import interp
algorithm = interp.CompactAlgorithm.load(NAME)
{read}
assert "torch" not in sys.modules
print(time.process_time(), time.perf_counter() - start)
"""
FROM_ARRAYS = """
import numpy as np
given = np.load(sys.argv[1])
z = algorithm.latents(given["counts"], given["genes"])
assert z.shape == (len(given["counts"]), 10)
"""
FROM_FILE = """
cells = algorithm.transform(sys.argv[1])
assert cells.obsm["X_interp"].shape[1] == 10
"""


def counts(n_cells: int, seed: int = 0) -> sparse.csr_matrix:
    """Draw counts: each cell holds three genes of ten, most of them once or twice, as in droplets."""
    rng = np.random.default_rng(seed)
    per_cell = rng.binomial(N_GENES, DENSITY, size=n_cells)
    templates = [rng.permutation(N_GENES) for _ in range(512)]
    columns = [np.sort(templates[i % 512][:n]) for i, n in enumerate(per_cell)]
    starts = np.concatenate([[0], np.cumsum(per_cell)])
    data = rng.geometric(0.5, size=starts[-1]).astype(np.float32)
    tall = rng.random(len(data), dtype=np.float32) < 0.03
    data[tall] = rng.integers(10, 400, size=int(tall.sum()))
    parts = (data, np.concatenate(columns).astype(np.int32), starts.astype(np.int32))
    return sparse.csr_matrix(parts, shape=(n_cells, N_GENES))


def algorithm(*, score: bool) -> CompactAlgorithm:
    """Make an algorithm of random numbers, with or without the out-of-distribution score."""
    rng = np.random.default_rng(1)
    genes = tuple(f"G{i:04d}" for i in range(N_GENES))
    logs = np.log(rng.dirichlet(np.ones(N_GENES), size=N_PROFILES)).T.astype(np.float32)
    typical = Typical(logs, np.zeros(N_PROFILES), np.ones(N_PROFILES), np.linspace(-3, 3, 101))
    return CompactAlgorithm(
        genes=genes,
        M=rng.standard_normal((N_GENES, N_LATENT)).astype(np.float32),
        c=np.zeros(N_LATENT),
        beta=1.0,
        centroid=np.ones(N_LATENT),
        gene_mean=np.ones(N_GENES, np.float32),
        gene_sd=np.ones(N_GENES, np.float32),
        readouts={},
        target_sum=1e4,
        min_coverage=0.5,
        manifest={"name": "random"},
        typical=typical if score else None,
    )


class Seconds(NamedTuple):
    """The fastest of several runs, by processor and by wall."""

    processor: float
    wall: float

    def rates(self, n_cells: int) -> str:
        return f"{n_cells / self.processor:12,.1f} cells/s of processor time, {n_cells / self.wall:12,.1f} of wall time"


def best(work: Callable[[], object], repeats: int = N_REPEATS) -> Seconds:
    """Time several runs."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time(), time.perf_counter()
        work()
        seconds.append((time.process_time() - start[0], time.perf_counter() - start[1]))
    return Seconds(*map(min, zip(*seconds, strict=True)))


def plain(X: sparse.csr_matrix, matrix: np.ndarray) -> np.ndarray:
    """Normalise, log and multiply as a tutorial would."""
    import scanpy as sc

    cells = anndata.AnnData(X.copy())
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    return cells.X @ matrix


def model_seconds(X: sparse.csr_matrix, genes: tuple[str, ...]) -> Seconds:
    """Time a forward pass of the whole-human-size model over some cells."""
    import torch
    from whole_human import whole_human

    torch.set_num_threads(1)
    model = whole_human(list(genes))
    cells = anndata.AnnData(X[:N_MODEL_CELLS])
    cells.var_names = list(genes)
    interp.capture(model, cells[:1].copy(), sites="resid_post", layers=11)  # first use
    return best(lambda: interp.capture(model, cells, sites="resid_post", layers=11), 3)


def fresh(read: str, path: Path) -> Seconds:
    """Time a fresh process that imports, loads and transforms."""
    program = FRESH.format(read=read).replace("NAME", repr(SHIPPED))
    seconds = []
    for _ in range(N_REPEATS):
        done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
        seconds.append(tuple(map(float, done.stdout.split())))
    return Seconds(*map(min, zip(*seconds, strict=True)))


def time_transform(X: sparse.csr_matrix) -> None:
    """Print the rates of the folded transform, of plain code and of the model."""
    n_cells, folded, scored = X.shape[0], algorithm(score=False), algorithm(score=True)
    measure(folded, X[:20_000], folded.genes)  # compiles, or loads what was compiled
    ours = best(lambda: measure(folded, X, folded.genes))
    print(f"folded transform     {ours.rates(n_cells)}")
    print(f"  and the score      {best(lambda: measure(scored, X, scored.genes)).rates(n_cells)}")
    part = X[:N_PLAIN]
    slow = best(lambda: plain(part, folded.M))
    error = np.abs(plain(part, folded.M) - measure(folded, part, folded.genes).z).max()
    print(f"scanpy, then product {slow.rates(N_PLAIN)}; in float32, unchecked, differs by {error:.0e}")
    forward = model_seconds(X, folded.genes)
    print(f"whole-human size     {forward.rates(N_MODEL_CELLS)}")
    ratios = [theirs / N_MODEL_CELLS * n_cells / mine for theirs, mine in zip(forward, ours, strict=True)]
    print(f"the transform is {ratios[0]:,.0f} times as fast by processor time, {ratios[1]:,.0f} times by wall time")


def time_processes(X: sparse.csr_matrix) -> None:
    """Print the seconds of fresh processes."""
    genes = np.array(CompactAlgorithm.load(SHIPPED).genes)
    few = X[:N_FRESH, : len(genes)].toarray()
    with tempfile.TemporaryDirectory() as folder:
        arrays, file = Path(folder) / "cells.npz", Path(folder) / "cells.h5ad"
        np.savez(arrays, counts=few, genes=genes)
        cells = anndata.AnnData(sparse.csr_matrix(few))
        cells.var_names = list(genes)
        cells.write_h5ad(file)
        for what, read, path in (("arrays", FROM_ARRAYS, arrays), ("an h5ad file", FROM_FILE, file)):
            spent = fresh(read, path)
            seconds = f"{spent.wall:.2f} s of wall time, {spent.processor:.2f} s of processor time"
            print(f"fresh process, {N_FRESH:,} cells from {what}: {seconds}, without torch")


def main(n_cells: int) -> None:
    """Print all figures."""
    logging.disable(logging.WARNING)
    X = counts(n_cells)
    shape = f"{n_cells:,} cells x {N_GENES:,} genes, {X.nnz / n_cells:.0f} nonzero a cell"
    print(f"{shape}, one thread, best of {N_REPEATS}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    with threadpool_limits(1):
        time_transform(X)
    time_processes(X)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
