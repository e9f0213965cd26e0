"""Time a head scan's LET fits against plain Adam loops: ``python perf/let_heads.py [heads]``.

96 heads x 10 starts of converged fits on 300 anchors are the aim; some heads are fitted in full (all 10 starts) and
scaled, and Adam (1,500 steps at 5e-3, the budget such loops usually get) runs once for each of two of them. Both
minimise the same loss over the same problems in one process; fits and Adam's tensor library use all processors.
"""

from __future__ import annotations

import os
import sys
import time

import torch
from let_speed import N_LATENT, adam, problem

from interp.extraction.let import fit_let

N_HEADS, N_STARTS, N_ANCHORS, N_ADAM = 96, 10, 300, 2


def main(n_heads: int) -> None:
    """Print seconds per start of both, the losses, the ratio, and the minutes of a whole scan."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    fit_let([problem(24, 0)], n_starts=1)  # compiles
    problems = [problem(N_ANCHORS, seed) for seed in range(n_heads)]
    start = time.perf_counter()
    fits = fit_let(problems, n_latent=N_LATENT, n_starts=N_STARTS)
    ours = (time.perf_counter() - start) / (n_heads * N_STARTS)
    start = time.perf_counter()
    losses = [adam(item) for item in problems[:N_ADAM]]
    theirs = (time.perf_counter() - start) / N_ADAM
    print(f"{N_ANCHORS} anchors, {len(os.sched_getaffinity(0))} processors, {n_heads} heads fitted")
    for item, (fit, loss) in enumerate(zip(fits, losses, strict=False)):
        print(f"head {item}: loss {fit.loss_:.5f} (best of {N_STARTS} starts), Adam {loss:.5f} (one start)")
    converged = sum(fit.converged_ for fit in fits)
    print(f"ours {ours:.3f} s a start ({converged} of {n_heads} converged)")
    print(f"Adam {theirs:.2f} s a start, {theirs / ours:.0f} times as long")
    total = N_HEADS * N_STARTS / 60
    print(f"{N_HEADS} heads x {N_STARTS} starts: {ours * total:.1f} minutes; Adam {theirs * total:.0f} minutes")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8)
