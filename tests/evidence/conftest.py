"""Small panels with a planted truth."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from interp.biology import StageGraph
from interp.evidence import Panel, Solver
from interp.stats import donor_folds

STAGES = ("HSC", "CMP", "GMP", "neutrophil", "MEP", "erythroblast", "CLP", "NK")


@pytest.fixture(scope="session")
def graph():
    return StageGraph.hematopoiesis()


@pytest.fixture(scope="session")
def solver():
    """Few iterations: what is tested here are the rules around the fit."""
    return Solver(max_iter=40)


def stage_means(graph, stages, n_genes, *, ordered, seed):
    """Ordered: every edge of the tree adds a step, so distances follow hops. Else: no stage knows of another."""
    rng = np.random.default_rng(seed)
    programs = np.linalg.qr(rng.normal(size=(n_genes, len(graph.stages))))[0].T
    if not ordered:
        return 2.0 * programs[: len(stages)], programs[: len(stages)].T
    step = dict(zip(graph.stages, programs, strict=True))
    means = np.array([2.0 * sum(step[s] for s in graph.path(stage)) for stage in stages])
    used = sorted({s for stage in stages for s in graph.path(stage)})
    return means, np.array([step[s] for s in used]).T


@pytest.fixture(scope="session")
def planted(graph):
    """Make a panel with one anchor per donor and stage; returns panel, features (anchor, gene), loadings."""

    def make(*, stages=STAGES, n_donors=6, n_genes=60, noise=0.3, ordered=True, seed=0, n_folds=3, n_studies=1):
        rng = np.random.default_rng(seed + 1000)
        means, loadings = stage_means(graph, stages, n_genes, ordered=ordered, seed=seed)
        rows = [
            (f"donor{d}", "marrow", f"study{d % n_studies}", stage, stage, graph.branch(stage))
            for d in range(n_donors)
            for stage in stages
        ]
        obs = pd.DataFrame(rows, columns=["donor", "tissue", "study", "cell_type", "stage", "branch"])
        features = np.tile(means, (n_donors, 1)) + noise * rng.normal(size=(len(obs), n_genes))
        splits = donor_folds(obs["donor"], n_folds, 0) if n_donors > 1 else []
        return Panel.from_anchors(SimpleNamespace(obs=obs), graph, splits), features, loadings

    return make
