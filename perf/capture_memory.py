"""Peak memory above the model, whole-human size with random weights: ``python perf/capture_memory.py [cells]``.

Each job runs in a process of its own; the peak counter is reset after the model and the cells are loaded.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
from pathlib import Path

MIB = 2**20


def peak_bytes() -> int:
    """Largest resident size since the counter was reset (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    msg = "there is no VmHWM in /proc/self/status"
    raise RuntimeError(msg)


def job(name: str, n_cells: int) -> None:
    """Run one job and print its peak above the model, in MiB."""
    import numpy as np
    from whole_human import real_cells, whole_human

    import interp

    logging.disable(logging.INFO)
    cells = real_cells()
    cells = cells[np.linspace(0, cells.n_obs - 1, n_cells).astype(int)].copy()
    model = whole_human(list(cells.var_names))
    panel = list(cells.var_names[np.argsort(-np.asarray(cells.X.sum(0)).ravel())[:1200]])
    interp.capture(model, cells[:1], sites="resid_post", layers=0)  # imports and first allocations
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_bytes()
    if name == "mean":
        with tempfile.TemporaryDirectory() as folder:
            interp.capture(model, cells, sites=["resid_post", "z"], reduce="mean", out=Path(folder) / "store")
    else:
        interp.attention_sums(model, cells, panel)
    print((peak_bytes() - before) // MIB)


def main(n_cells: int) -> None:
    """Print the peaks beside their limits."""
    jobs = [
        ("mean", n_cells, "mean capture of 24 sites", 1024),
        ("mean", 3 * n_cells, "the same, three times the cells", 1024),
        ("sums", max(4, n_cells // 4), "attention sums, 96 heads x 1,200 genes", 1638),
    ]
    for name, cells, words, limit in jobs:
        done = subprocess.run(
            [sys.executable, __file__, name, str(cells)], check=True, stdout=subprocess.PIPE, text=True
        )
        print(f"{words:42} {cells:4} cells: {int(done.stdout):5} MiB (limit {limit})", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        job(sys.argv[1], int(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 24)
