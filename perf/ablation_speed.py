"""Time ablation of all 96 heads against one full forward pass for each.

``python perf/ablation_speed.py [cells] [every]``. Whole-human size with random weights; cells of 1,150 to 1,200 tokens
(3 by default). One thread on every side, and processor time, which other work on the machine disturbs least. The side
of full passes runs every so many heads (8 by default, one of each layer) and is scaled up; it stops at the final
residual stream, without the decoders. Gradients are compared with one forward pass of the same cells.
"""

import logging
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from whole_human import whole_human

from interp.ablation import Mean, ReplaceHeads, Resample, Zero, exact_readings, gradient_readings
from interp.ablation.passes import batches, watch
from interp.runs.workers import WORKERS
from interp.scgpt.model import HookedScGPT
from interp.scgpt.tokens import GeneTokens

LONGEST, SHORTEST = 1200, 1150
N_GENES = 20_000


def random_tokens(model: HookedScGPT, n_cells: int, seed: int = 0) -> GeneTokens:
    """Cells of random genes and bins."""
    rng = np.random.default_rng(seed)
    lengths = np.linspace(SHORTEST, LONGEST, n_cells).astype(int) if n_cells > 1 else np.array([LONGEST])
    padding = np.arange(LONGEST) >= lengths[:, None]
    ids = np.array([np.sort(rng.permutation(N_GENES)[:LONGEST]) for _ in lengths])
    ids[:, 0] = model.vocabulary.cls_id
    values = rng.integers(1, model.config.n_bins, ids.shape).astype(np.float32)
    values[:, 0] = model.config.pad_value
    return GeneTokens(
        gene_ids=torch.from_numpy(np.where(padding, model.vocabulary.pad_id, ids)),
        values=torch.from_numpy(np.where(padding, np.float32(model.config.pad_value), values)),
        padding=torch.from_numpy(padding),
        cell_ids=tuple(f"cell{i}" for i in range(n_cells)),
        vocab_sha256=model.vocabulary.sha256,
        seed=seed,
        truncated=np.zeros(n_cells, bool),
    )


def read_all(resid: torch.Tensor, tokens: GeneTokens) -> dict[str, torch.Tensor]:
    inside = (~tokens.padding).to(resid)
    return {"mean": torch.einsum("ct,ctd->cd", inside, resid) / inside.sum(1, keepdim=True)}


def read_cls(resid: torch.Tensor, tokens: GeneTokens) -> dict[str, torch.Tensor]:
    return {"cls": resid[:, 0]}


def objective_all(resid: torch.Tensor, tokens: GeneTokens) -> torch.Tensor:
    return read_all(resid, tokens)["mean"][:, :8].square().sum(1)


def objective_cls(resid: torch.Tensor, tokens: GeneTokens) -> torch.Tensor:
    return resid[:, 0, :8].square().sum(1)


read_cls.rows = objective_cls.rows = "cls"


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor time of some work, and what it returned."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def passes(model: HookedScGPT, tokens: GeneTokens, sets: list, replacement: Any, read: Callable) -> dict:
    """One full forward pass for each set, by name (set, cell, ...)."""
    last = f"blocks.{model.config.n_layers - 1}.hook_resid_post"
    found: dict[str, np.ndarray] = {}
    for place, heads in enumerate(sets):
        for rows in batches(model, tokens):
            batch, seen = tokens[rows], []
            with model.hooks(ReplaceHeads(heads, replacement).hooks(model, batch)):
                watch(model, batch, {last: seen.append})
            for name, value in read(seen[0], batch).items():
                found.setdefault(name, np.zeros((len(sets), len(tokens), *value.shape[1:]), np.float32))
                found[name][place, rows] = value.numpy()
    return found


def exact(model: HookedScGPT, tokens: GeneTokens, heads: list, every: int) -> None:
    """Print the times and ratios of exact ablation."""
    sets = [(head,) for head in heads]
    chosen = list(range(0, len(sets), every))
    chosen = [place + i % every for i, place in enumerate(chosen) if place + i % every < len(sets)]
    mean = Mean.of(model, tokens)
    for read in (read_all, read_cls):
        ours, found = seconds(lambda read=read: exact_readings(model, tokens, sets, mean, read).ablated)
        full, expected = seconds(lambda read=read: passes(model, tokens, [sets[i] for i in chosen], mean, read))
        full *= len(sets) / len(chosen)
        worst = max(
            np.abs(values - found[name][chosen]).max() / np.abs(values).max() for name, values in expected.items()
        )
        rows = getattr(read, "rows", "all")
        print(
            f"exact, {rows:3} rows: {ours:6.1f} s; a full pass for each of {len(sets)} heads {full:6.1f} s (measured "
            f"on {len(chosen)}); {full / ours:.2f} times faster; largest difference {worst:.0e} of the largest reading",
            flush=True,
        )


def gradients(model: HookedScGPT, tokens: GeneTokens, repeats: int = 3) -> None:
    """Print what gradients cost in forward passes; the sides take turns, and the fastest turn of each counts."""
    donors = [str(i % 2) for i in range(len(tokens))]
    kinds = {"zero": Zero(), "mean": Mean.of(model, tokens)}
    if len(tokens) > 1:
        kinds["resample"] = Resample.of(model, tokens, donors=donors)
    sides: dict[str, Callable[[], Any]] = {"one forward pass": lambda: passes(model, tokens, [()], Zero(), read_all)}
    for rows, objective in (("all", objective_all), ("cls", objective_cls)):
        for kind, replacement in kinds.items():
            sides[f"gradient, {rows} rows, {kind}"] = lambda o=objective, r=replacement: gradient_readings(
                model, tokens, r, o
            )
    best = dict.fromkeys(sides, np.inf)
    for _ in range(repeats):
        for name, side in sides.items():
            best[name] = min(best[name], seconds(side)[0])
    for name, spent in best.items():
        print(f"{name:30} {spent:6.2f} s, {spent / best['one forward pass']:.2f} forward passes", flush=True)


def main(n_cells: int, every: int) -> None:
    logging.disable(logging.INFO)
    torch.set_num_threads(1)
    os.environ[WORKERS] = "1"
    model = whole_human([f"G{i}" for i in range(N_GENES)])
    tokens = random_tokens(model, n_cells)
    config = model.config
    heads = [(layer, head) for layer in range(config.n_layers) for head in range(config.n_heads)]
    print(f"{n_cells} cells, {tokens.lengths.mean():.0f} tokens on average, one thread, processor time", flush=True)
    gradients(model, tokens)
    exact(model, tokens, heads, every)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3, int(sys.argv[2]) if len(sys.argv) > 2 else 8)
