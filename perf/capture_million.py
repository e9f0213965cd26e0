"""Time and peak memory of a capture from a backed file: ``python perf/capture_million.py [mini] [cells ...]``.

A 2-layer, 32-wide model at 64 tokens sees 10,000, 100,000 and 1,000,000 simulated cells; ``mini`` instead runs
scgpt-mini at 192 tokens on 10,000 and 30,000. Every size runs in a process of its own; the peak is that above the
loaded model, and the counter is reset before the capture. Files lie in the temporary folder.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MIB = 2**20
BLOCK = 10_000
N_GENES = 250


def write_cells(path: Path, n_cells: int) -> None:
    """Simulate cells block by block into one h5ad file."""
    import h5py
    import pandas as pd
    from anndata import AnnData
    from anndata.io import sparse_dataset, write_elem

    import interp

    frames = []
    for start in range(0, n_cells, BLOCK):
        # every seed has its own donors, so names are unique
        block = interp.simulate(n_donors=5, n_cells=min(BLOCK, n_cells - start), n_genes=N_GENES, seed=start // BLOCK)
        frames.append(block.obs[["donor", "cell_type"]].astype(str))
        counts = block.X.astype("float32")
        if not start:
            AnnData(counts, obs=pd.DataFrame(index=block.obs_names), var=block.var[[]]).write_h5ad(path)
        else:
            with h5py.File(path, "r+") as file:
                sparse_dataset(file["X"]).append(counts)
    with h5py.File(path, "r+") as file:
        write_elem(file, "obs", pd.concat(frames).astype("category"))


def peak_bytes() -> int:
    """Largest resident size since the counter was reset (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def job(kind: str, path: Path) -> None:
    """Capture one file and print seconds and the peak in MiB."""
    import torch

    import interp
    from interp.cells import open_cells
    from interp.scgpt.config import ScGPTConfig
    from interp.scgpt.vocabulary import Vocabulary

    logging.disable(logging.INFO)
    if kind == "mini":
        model, tokens = interp.load_model("scgpt-mini", device="cpu"), 192
    else:
        vocabulary = Vocabulary([*open_cells(path).genes, "<pad>", "<cls>", "<eoc>"])
        config = ScGPTConfig(n_vocab=len(vocabulary), n_layers=2, n_heads=2, d_model=32, d_hid=32)
        model = interp.HookedScGPT(config, vocabulary).initialize(torch.Generator().manual_seed(0)).eval()
        model.requires_grad_(requires_grad=False)
        tokens = 64
    interp.capture(model, interp.simulate(n_donors=1, n_cells=600, n_genes=N_GENES, seed=1), max_tokens=tokens)
    Path("/proc/self/clear_refs").write_text("5")
    before, start = peak_bytes(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        options = {"reduce": "mean", "max_tokens": tokens, "out": Path(folder) / "store"}
        store = interp.capture(model, path, sites="resid_post", **options)
        seconds, peak = time.perf_counter() - start, peak_bytes() - before
        print(seconds, peak / MIB, store.lengths.mean())


def main(kind: str, sizes: list[int]) -> None:
    """Print one line per size."""
    with tempfile.TemporaryDirectory() as folder:
        for n_cells in sizes:
            path = Path(folder) / f"{n_cells}.h5ad"
            write_cells(path, n_cells)
            done = subprocess.run(
                [sys.executable, __file__, "job", kind, str(path)], check=True, stdout=subprocess.PIPE, text=True
            )
            seconds, peak, tokens = map(float, done.stdout.split())
            rate = f"{n_cells / seconds:8.0f} cells/s, {1e3 * seconds / n_cells:6.2f} ms a cell"
            print(
                f"{n_cells:9,} cells of {tokens:.0f} tokens: {seconds:7.1f} s, {rate}, peak {peak:5.0f} MiB", flush=True
            )
            path.unlink()


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[:1] == ["job"]:
        job(words[1], Path(words[2]))
    else:
        chosen = "mini" if "mini" in words else "small"
        given = [int(word) for word in words if word.isdigit()]
        main(chosen, given or ([10_000, 30_000] if chosen == "mini" else [10_000, 100_000, 1_000_000]))
