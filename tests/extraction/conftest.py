"""A small algorithm with everything in it, made of random sums and a real fit."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from interp.biology import StageGraph
from interp.extraction.algorithm import CompactAlgorithm
from interp.extraction.folds import held_out_rows
from interp.extraction.let import LetFit, LetProblem, fit_let
from interp.extraction.operators import Operator, operators_from_sums
from interp.extraction.readout import fit_readouts, root_centroid
from interp.extraction.span import SpanBasis
from interp.extraction.typical import fit_typical

STAGES = {"HSC": (0, "stem and progenitor"), "GMP": (3, "stem and progenitor"), "naive CD4 T": (5, "T")}
STAGES |= {"naive CD8 T": (5, "T"), "classical monocyte": (4, "monocyte and dendritic")}


@dataclass(frozen=True)
class World:
    """Counts with programs, their operators, and what was fitted on them."""

    genes: tuple[str, ...]
    counts: np.ndarray  # (cell, gene)
    obs: pd.DataFrame
    expression: np.ndarray  # (cell, gene)
    operators: list[Operator]
    operator: Operator
    fit: LetFit
    algorithm: CompactAlgorithm


@pytest.fixture(scope="session")
def world() -> World:
    return make_world()


@pytest.fixture(scope="session")
def build_world():
    return make_world


def make_world(n_genes: int = 40, n_cells: int = 300) -> World:
    rng = np.random.default_rng(5)
    genes = tuple(f"GENE{i}" for i in range(n_genes))
    stages = list(STAGES)
    programs = rng.gamma(1.0, 1.0, size=(len(stages), n_genes))
    label = rng.integers(len(stages), size=n_cells)
    counts = rng.poisson(programs[label] * rng.uniform(1, 4, size=(n_cells, 1))).astype(np.int64)
    counts[counts.sum(axis=1) == 0, 0] = 1
    names = np.array(stages)[label]
    obs = pd.DataFrame({"stage": names, "cell_type": names, "branch": [STAGES[name][1] for name in names]})
    obs["depth"] = [float(STAGES[name][0]) for name in names]
    obs["donor"] = [f"donor{i % 4}" for i in range(n_cells)]
    expression = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)
    sums = rng.gamma(0.5, 1.0, size=(3, 2, n_genes, n_genes))
    count = rng.integers(0, 4, size=(n_genes, n_genes))
    operators = operators_from_sums(sums * (count > 0), count, genes, n_cells=30, provenance={"model": "made up"})
    operator = next(item for item in operators if item.name == "L1H1.mean.out")
    fit = fitted(operator, expression, obs)
    z = fit.transform(operator.apply(expression))
    algorithm = CompactAlgorithm.build(
        "made-up",
        operator,
        fit,
        expression=sparse.csr_matrix(expression),
        readouts=fit_readouts(z, obs),
        root=root_centroid(z, obs),
        typical=fit_typical(sparse.csr_matrix(counts), obs, held_out_rows(obs)),
        provenance={"panel": {"studies": ["one"], "n_cells": n_cells}, "seed": 0},
        metrics={"order": {"value": 0.5, "lo": 0.4, "hi": float("nan")}},
        verdict={"status": "readable, not model-specific", "order": {"readable": True, "p": 0.03}},
    )
    return World(genes, counts, obs, expression, operators, operator, fit, algorithm)


def fitted(operator: Operator, expression: np.ndarray, obs: pd.DataFrame) -> LetFit:
    """Fit an adaptor on groups of cells of one stage, standing in for anchors."""
    groups = np.arange(len(obs)) % 6
    keys = obs["stage"] + "|" + groups.astype(str)
    anchors = np.array([expression[keys == key].mean(axis=0) for key in sorted(set(keys))])
    at = [list(STAGES).index(key.split("|")[0]) for key in sorted(set(keys))]
    ruler = StageGraph.hematopoiesis().ruler(list(STAGES))[np.ix_(at, at)]
    basis = SpanBasis.from_features(operator.apply(anchors))
    return fit_let([LetProblem(basis, ruler)], n_latent=10, n_starts=1, max_iter=200)[0]


@pytest.fixture(scope="session")
def small_model():
    """3 layers x 2 heads of width 4 on 30 genes, every weight and bias off its trivial value."""
    import torch

    from interp.scgpt.config import ScGPTConfig
    from interp.scgpt.model import HookedScGPT
    from interp.scgpt.vocabulary import Vocabulary

    vocabulary = Vocabulary([*(f"G{i}" for i in range(30)), "<pad>", "<cls>", "<eoc>"])
    config = ScGPTConfig(n_vocab=len(vocabulary), n_layers=3, n_heads=2, d_model=8, d_hid=8, dropout=0.0)
    generator = torch.Generator().manual_seed(0)
    model = HookedScGPT(config, vocabulary).initialize(generator).eval().requires_grad_(requires_grad=False)
    for parameter in model.parameters():
        parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model
