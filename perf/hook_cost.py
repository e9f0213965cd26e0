"""Time hooks against the hook-free fused forward on the same batches: ``python perf/hook_cost.py [repeats]``.

Whole-human size with random weights, real cells. Columns: no hooks; 12 `z` hooks; plain PyTorch hooks on the same
modules; attention sums of all 96 heads over 1,200 genes. The sides take turns, and the fastest turn of each counts.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from whole_human import real_cells, whole_human

from interp.capture.accumulator import Accumulator
from interp.capture.attention import add_batch, check_heads
from interp.capture.forward import forward
from interp.capture.plan import pass_plan

N_CELLS, N_GENES = 4, 1200


def main(repeats: int) -> None:
    """Print seconds per cell and ratios."""
    logging.disable(logging.INFO)
    cells = real_cells()
    model = whole_human(list(cells.var_names))
    tokens = model.tokenize(cells[np.linspace(0, cells.n_obs - 1, N_CELLS).astype(int)].copy())
    expressed = np.unique(tokens.gene_ids.numpy())
    panel = [model.vocabulary.symbols[i] for i in expressed if model.vocabulary.symbols[i] in model.vocabulary]
    sums = Accumulator(model, panel[:N_GENES], check_heads(model, None), value_weighted=False)
    plan = pass_plan(model.config, "cpu", patterns=True)
    last = f"blocks.{model.config.n_layers - 1}.hook_resid_post"
    sites = [f"blocks.{layer}.attn.hook_z" for layer in range(model.config.n_layers)]
    kept: dict[str, torch.Tensor] = {}

    def keep(name: str, z: torch.Tensor) -> None:
        kept[name] = z.mean(1)

    def bare() -> None:
        forward(model, tokens, {last: lambda x: None}, stop_at=last)

    def with_z() -> None:
        readers = {name: lambda z, name=name: keep(name, z) for name in sites}
        forward(model, tokens, {**readers, last: lambda x: None}, stop_at=last)

    def with_plain() -> None:
        handles = [
            model.hook_dict[name].register_forward_hook(lambda module, args, z, name=name: keep(name, z))
            for name in sites
        ]
        bare()
        for handle in handles:
            handle.remove()

    def with_sums() -> None:
        for rows in plan.batches(tokens.lengths):
            add_batch(model, tokens[rows], sums)

    sides: dict[str, Callable[[], None]] = {
        "no hooks": bare, "12 z hooks": with_z, "plain PyTorch hooks": with_plain, "sums of 96 heads": with_sums
    }  # fmt: skip
    best = dict.fromkeys(sides, np.inf)
    for side in sides.values():
        side()
    for _ in range(repeats):
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            best[name] = min(best[name], time.perf_counter() - start)
    print(f"{N_CELLS} cells, {tokens.lengths.mean():.0f} tokens on average, {torch.get_num_threads()} threads")
    for name, seconds in best.items():
        print(f"{name:20} {seconds / N_CELLS:6.3f} s a cell, {seconds / best['no hooks']:.3f} times")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
