"""Time the LET solver against a plain Adam loop on the same loss: ``python perf/let_speed.py [problems]``."""

import sys
import time

import numpy as np
import torch

from interp.extraction.let import LetProblem, fit_let
from interp.extraction.let_kernel import BETA_RIDGE, COSINE_MARGIN
from interp.extraction.span import SpanBasis

N_FEATURES, N_LATENT = 750, 10
# The training budget that Adam loops for this adaptor usually get.
ADAM_STEPS, ADAM_RATE = 1500, 5e-3
N_ADAM = 3
SIZES = (40, 72, 110, 150)


def problem(n_anchors: int, seed: int) -> LetProblem:
    """Anchors of a random tree with 12 stages, a program on each edge, and noise."""
    rng = np.random.default_rng(seed)
    paths, programs = [{0}], [np.zeros(N_FEATURES)]
    for stage in range(1, 12):
        parent = int(rng.integers(stage))
        paths.append(paths[parent] | {stage})
        programs.append(programs[parent] + 0.5 * rng.standard_normal(N_FEATURES))
    stages = np.arange(n_anchors) % 12
    features = np.array(programs)[stages] + rng.standard_normal((n_anchors, N_FEATURES))
    hops = np.array([[len(a ^ b) for b in paths] for a in paths], dtype=float)
    return LetProblem(SpanBasis.from_features(features), hops[np.ix_(stages, stages)])


def adam(item: LetProblem) -> float:
    """Minimise the loss over all features, as written in `interp.extraction.let`, and return it."""
    torch.manual_seed(0)
    x = torch.from_numpy(item.basis.train @ item.basis.axes.T)
    ruler = torch.from_numpy(item.ruler)
    first, second = torch.triu_indices(len(x), len(x), 1)
    weight = (torch.randn(N_LATENT, x.shape[1], dtype=torch.float64) / x.shape[1] ** 0.5).requires_grad_()
    offset = torch.zeros(x.shape[1], dtype=torch.float64, requires_grad=True)
    log_beta = torch.zeros((), dtype=torch.float64, requires_grad=True)
    ridge = item.ridge * float(item.basis.variance.mean())
    optimiser = torch.optim.Adam([weight, offset, log_beta], lr=ADAM_RATE)
    loss = torch.zeros(())
    for _ in range(ADAM_STEPS):
        optimiser.zero_grad()
        latents = (x - offset) @ weight.T
        norms = latents.norm(dim=1, keepdim=True)
        unit = latents / norms
        beta = log_beta.exp()
        cosine = (unit[first] * unit[second]).sum(dim=1).clip(-1 + COSINE_MARGIN, 1 - COSINE_MARGIN)
        moved = (weight.square().sum() - (unit @ weight).square().sum(dim=1)) / norms[:, 0] ** 2
        loss = (beta * cosine.arccos() - ruler[first, second]).square().mean()
        loss = loss + item.alpha * (latents @ weight + offset - x).square().mean()
        loss = loss + beta.square() * (ridge * moved.mean() + BETA_RIDGE)
        loss.backward()
        optimiser.step()
    return float(loss.detach())


def main(n_problems: int) -> None:
    """Print the processor time of a fit by size, and the ratio to Adam at 110 anchors."""
    torch.set_num_threads(1)
    fit_let([problem(24, 0)], n_starts=1)  # compiles
    cost = {}
    for n_anchors in SIZES:
        problems = [problem(n_anchors, seed) for seed in range(n_problems)]
        start, wall = time.process_time(), time.perf_counter()
        fits = fit_let(problems, n_latent=N_LATENT, n_starts=1)
        cost[n_anchors] = (time.process_time() - start) / n_problems
        wall = (time.perf_counter() - wall) / n_problems
        iterations = np.mean([fit.n_iter_ for fit in fits])
        figures = f"{cost[n_anchors] * 1e3:6.1f} ms of processor, {wall * 1e3:6.1f} ms of wall time"
        print(f"{n_anchors:4d} anchors: {figures}, {iterations:4.0f} iterations a fit")
    for seed in range(N_ADAM):
        item = problem(110, seed)
        start = time.process_time()
        loss = adam(item)
        spent = time.process_time() - start
        ours = fit_let([item], n_starts=1)[0].loss_
        ratio = spent / cost[110]
        print(f"problem {seed}: Adam {loss:.5f} in {spent:.1f} s; L-BFGS {ours:.5f}, {ratio:.0f} times faster")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
