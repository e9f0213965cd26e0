"""Time and memory of operators at whole-human size: ``python perf/operators_speed.py [genes]``.

A 12 x 512 x 8 model with random weights. Per kind of weights: listing, making the factors, applying them to 300
anchors, the matrices of one after the other, and the files of all; then the table with its spectra.
"""

from __future__ import annotations

import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
from whole_human import whole_human

from interp.extraction.operators import ModelWeights, Operator, operator_table, weight_operators

N_ANCHORS = 300


def main(n_genes: int) -> None:
    """Print a row per step."""
    genes = [f"GENE{i}" for i in range(n_genes)]
    model = whole_human(genes)
    weights = measured("read the weights", lambda: ModelWeights.of(model, genes))
    print(f"  they take {weights.nbytes / 2**20:,.0f} MiB, of which the model's own views are no copies")
    x = np.random.default_rng(0).random((N_ANCHORS, n_genes))
    for kind in ("qk", "ov"):
        operators = measured(f"list {kind}", lambda kind=kind: weight_operators(weights, kinds=[kind]))[::2]
        print(f"  {len(operators)} heads")
        measured("  make the factors", lambda ops=operators: [op.parts for op in ops])
        measured("  one matrix after the other", lambda ops=operators: [op.matrix.shape for op in ops])
        measured(f"  apply to {N_ANCHORS} anchors", lambda ops=operators: [op.apply(x).shape for op in ops])
        measured("  apply their matrices", lambda ops=operators: [(x @ op.matrix).shape for op in ops])
        measured("  table with spectra", lambda ops=operators: operator_table(ops))
        with tempfile.TemporaryDirectory() as folder:
            measured("  save in float32", lambda ops=operators, folder=folder: save(ops, Path(folder)))
            n_bytes = sum(path.stat().st_size for path in Path(folder).iterdir())
            print(f"  {n_bytes / len(operators) / 1e6:.2f} MB a file, {n_genes**2 * 4 / 1e6:.2f} MB as a matrix")
    for operator in weight_operators(weights, kinds=["gram", "mvc_gram"]):
        measured(f"{operator.name}: matrix", lambda op=operator: op.matrix)
    dense = Operator("dense", "mean", "out", np.random.default_rng(0).random((n_genes, n_genes)), genes)
    measured("table of one operator without factors", lambda: operator_table([dense]))


def measured(name: str, work: Callable[[], object]) -> object:
    """Run once for the time and once for the peak of what Python allocates, and print both."""
    start = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - start
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(f"{name:40} {seconds:8.2f} s {peak / 2**20:8,.0f} MiB")
    return result


def save(operators: list[Operator], folder: Path) -> None:
    for operator in operators:
        operator.astype(np.float32).save(folder / operator.name)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1200)
