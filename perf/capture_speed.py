"""Time `capture(cls)` against scgpt's `embed_data` on the same real cells: ``python perf/capture_speed.py [cells]``.

Whole-human size with random weights; Zheng's sorted cells, spread over the file, so lengths are mixed.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from whole_human import real_cells, scgpt_embed, whole_human, write_published

import interp


def main(n_cells: int) -> None:
    """Print cells/s of both and the ratio."""
    logging.disable(logging.INFO)
    cells = real_cells()
    cells = cells[np.linspace(0, cells.n_obs - 1, n_cells).astype(int)].copy()
    cells.X = cells.X.astype(np.float32)
    model = whole_human(list(cells.var_names))
    embed = scgpt_embed()
    interp.capture(model, cells[:2], sites="resid_post", layers=11)  # first use
    with tempfile.TemporaryDirectory() as folder:
        write_published(model, Path(folder))
        start = time.perf_counter()
        theirs = embed(cells.copy(), folder, gene_col="index", device="cpu", use_fast_transformer=False)
        theirs = theirs.obsm["X_scGPT"]
        their_seconds = time.perf_counter() - start
    start = time.perf_counter()
    store = interp.capture(model, cells, sites="resid_post", layers=11)
    our_seconds = time.perf_counter() - start
    ours = store["blocks.11.hook_resid_post"][:]
    ours /= np.linalg.norm(ours, axis=1, keepdims=True)
    cosine = (ours * theirs).sum(1)
    lengths = store.lengths
    tokens = f"{lengths.min()} to {lengths.max()} tokens, mean {lengths.mean():.0f}"
    print(f"{n_cells} cells, {tokens}, {torch.get_num_threads()} threads")
    print(f"embed_data     {n_cells / their_seconds:6.2f} cells/s")
    print(f"capture(cls)   {n_cells / our_seconds:6.2f} cells/s, {their_seconds / our_seconds:.2f} times")
    print(f"cosine of the two, ties broken differently: median {np.median(cosine):.6f}, least {cosine.min():.6f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 192)
