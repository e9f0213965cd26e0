"""What holds for every figure: the given Axes are used, nothing is cut off, the look does not leak."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from interp import figures
from interp.biology import StageGraph

from . import conftest as made

GRAPH = StageGraph.hematopoiesis()
STAGES = (
    "HSC",
    "MPP",
    "CMP",
    "GMP",
    "MEP",
    "CLP",
    "classical monocyte",
    "non-classical monocyte",
    "naive B",
    "memory CD8 T",
    "NK",
)
LATENTS, OBS = made.anchors(GRAPH, STAGES, {f"sim:{i}": "sim" for i in range(8)} | {"kang:1": "kang"})
DISTANCES = np.linalg.norm(LATENTS[:, None] - LATENTS[None], axis=2)
HISTORY = pd.DataFrame({"step": [0, 10, 20, 30], "train_masked": [2, 1, 0.8, 0.7], "masked": [2.0, 1.1, 0.9, 1.0]})
GENES = ["<cls>", *(f"HLA-DRB{i}" for i in range(40))]
PATTERN = np.random.default_rng(0).dirichlet(np.full(41, 0.3), size=41)

FIGURES: dict[str, Callable[..., Axes]] = {
    "heads": lambda **k: figures.head_heatmap(made.scores(), metric="order", **k),
    "heads 12 x 8": lambda **k: figures.head_heatmap(made.scores(12, 8), metric="order", label="order (Spearman)", **k),
    "heads 12 x 16": lambda **k: figures.head_heatmap(made.scores(12, 16), metric="order", **k),
    "heads, significance": lambda **k: figures.head_heatmap(made.probes()[0], metric="auroc", alpha=0.05, **k),
    "ablation": lambda **k: figures.ablation_bars(made.ablated(), made.set_draws(), metric="drop", **k),
    "gradients": lambda **k: figures.gradient_scatter(
        pd.DataFrame({"name": list("abc"), "gradient": [0.1, 0.2, 0.4], "exact": [0.1, 0.3, 0.2]}).assign(
            metric="log_odds", target="stage"
        ),
        metric="log_odds",
        **k,
    ),
    "redundancy": lambda **k: figures.redundancy_matrix(made.head_pairs(), label="joint minus sum", **k),
    "layers": lambda **k: figures.layer_curve(*made.probes(), metric="auroc", **k),
    "manifold": lambda **k: figures.latent_manifold(LATENTS, OBS, GRAPH, note="order 0.4, p = 0.005", **k),
    "manifold by donor": lambda **k: figures.latent_manifold(LATENTS, OBS, GRAPH, colour="donor", **k),
    "gates": lambda **k: figures.gate_board(made.gates(), **k),
    "gates, three panels": lambda **k: figures.gate_board(
        [*made.gates(), {**made.gates()[0], "panel": "lung cells"}], **k
    ),
    "controls": lambda **k: figures.controls_forest(
        made.controls(),
        endpoint="order",
        null_95=0.25,
        p={"gaussian": 0.031},
        verdict="readable, not model-specific",
        **k,
    ),
    "effects": lambda **k: figures.effects_forest(made.effects(), endpoint="order", **k),
    "power": lambda **k: figures.power_curve(0.1, {"simulated atlas": 0.06, "real cells": 0.3}, **k),
    "null": lambda **k: figures.null_distribution(np.linspace(-0.2, 0.2, 199), 0.5, label="order (Spearman)", **k),
    "null families": lambda **k: figures.null_distribution(
        {"cell-type look-up code": np.linspace(0, 1, 99), "shuffled ruler": np.linspace(-1, 0, 99)},
        0.5,
        n_donors=7,
        **k,
    ),
    "distance": lambda **k: figures.distance_ruler(DISTANCES, GRAPH.ruler(list(OBS["stage"])), OBS, **k),
    "learning": lambda **k: figures.learning_curve(
        HISTORY, baselines={"gene mean": 1.5, "gene mean of the study + cell mean": 1.48, "ceiling": 0.5}, **k
    ),
    "attention": lambda **k: figures.attention_pattern(PATTERN, GENES, head="L2H5", cell="kang:AAACATACAATGCC", **k),
    "chain": lambda **k: figures.compaction_chain(made.chain()[0], endpoint="order", losses=made.chain()[1], **k),
    "impact": lambda **k: figures.factor_impact(made.impact(), surrogate="rank 8", **k),
    "concentration": lambda **k: figures.impact_concentration(made.curves(), **k),
    "loadings": lambda **k: figures.factor_loadings(made.factor_genes(), **k),
    "attribution": lambda **k: figures.attribution_forest(made.attribution(), contrast="depth", **k),
    "tokens": lambda **k: figures.cell_tokens(GENES, np.arange(41.0), cell="kang:AAACATACAATGCC", n_bins=51, **k),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_new_figure_is_of_paper_width_and_cuts_nothing_off(name: str) -> None:
    ax = FIGURES[name]()
    assert ax.get_figure().get_figwidth() in (3.5, 7.2)
    assert made.outside(ax) == []
    assert figures.look.text_of(ax, "title")
    assert min(text.get_size() for text in ax.findobj(mpl.text.Text) if text.get_text()) >= 4.9
    box = ax.get_window_extent()
    assert box.width > 0.35 * ax.get_figure().bbox.width
    assert box.height > 0.25 * ax.get_figure().bbox.height


@pytest.mark.parametrize("name", [name for name in FIGURES if " " not in name])
def test_given_axes_are_drawn_on_and_settings_return(name: str) -> None:
    before = dict(mpl.rcParams)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    assert FIGURES[name](ax=left) is left
    assert left.has_data() or left.patches
    assert not right.has_data()
    assert plt.get_fignums() == [figure.number]
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("name", ["null", "gates", "tokens"])
def test_a_title_is_replaced_or_left_out(name: str) -> None:
    assert figures.look.text_of(FIGURES[name](title="Mine"), "title") == "Mine"
    assert figures.look.text_of(FIGURES[name](title=""), "title") == ""
