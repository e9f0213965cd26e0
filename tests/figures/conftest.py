"""Small made-up tables in the contract's form, and a look at what a figure holds."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.text import Text

from interp.biology import StageGraph


@pytest.fixture(autouse=True)
def _closed_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(scope="session")
def graph() -> StageGraph:
    return StageGraph.hematopoiesis()


def words(ax: Axes) -> str:
    """All text of the figure on one line."""
    texts = ax.get_figure(root=True).findobj(Text)
    return " ".join(" ".join(text.get_text() for text in texts if text.get_visible()).split())


def outside(ax: Axes) -> list[str]:
    """Texts that stand out of the figure by more than a pixel."""
    figure = ax.get_figure(root=True)
    figure.draw_without_rendering()
    frame = figure.bbox.padded(1)
    out = []
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip() and text.axes is not None:
            box = text.get_window_extent()
            if box.x0 < frame.x0 or box.x1 > frame.x1 or box.y0 < frame.y0 or box.y1 > frame.y1:
                out.append(text.get_text())
    return out


def scores(n_layers: int = 3, n_heads: int = 4) -> pd.DataFrame:
    """A score 0.00, 0.01, ... per head, the last two tied; two operators a head; drift without a head."""
    rows = []
    for k in range(n_layers * n_heads):
        for name, less in (("mean out", 0.0), ("sum in", 0.3)):
            rows.append({"layer": k // n_heads, "head": k % n_heads, "name": name, "value": 0.01 * k - less})
    rows.append({"layer": np.nan, "head": np.nan, "name": "drift", "value": 0.9})
    table = pd.DataFrame(rows)
    best = 0.01 * (n_layers * n_heads - 1)
    return table.assign(
        metric="order",
        target="stage",
        role="score",
        n_donors=15,
        null_mean=0.02,
        floor=0.015,
        tied=(table["value"] > best - 0.015) & (table["value"] < 0.9),
    )


def anchors(graph: StageGraph, stages: tuple[str, ...], donors: dict[str, str]) -> tuple[np.ndarray, pd.DataFrame]:
    """Latents that walk down the tree with noise, one anchor per donor and stage; donors maps donor to study."""
    rng = np.random.default_rng(0)
    place: dict[str | None, np.ndarray] = {None: np.full(10, 1.0)}
    for stage in graph.stages:
        place[stage] = place[graph.parent(stage)] + rng.normal(size=10)
    rows = [
        {"donor": donor, "study": study, "stage": stage, "branch": graph.branch(stage), "depth": graph.depth(stage)}
        for donor, study in donors.items()
        for stage in stages
    ]
    latents = np.array([place[row["stage"]] + 0.3 * rng.normal(size=10) for row in rows]).reshape(len(rows), 10)
    return latents, pd.DataFrame(rows, columns=["donor", "study", "stage", "branch", "depth"])


def gates() -> list[dict]:
    def row(gate: str, panel: str, **rest: object) -> dict:
        return {"gate": gate, "panel": panel, "reason": None, "n": 15, "p": None, "at_floor": False, **rest}

    return [
        row("trustworthiness", "internal", value=0.9, threshold=0.8, status="pass", null_pass_rate=0.93),
        row("donor_holdout", "internal", value=0.1, threshold=0.2, status="fail", null_pass_rate=0.04),
        row(
            "trustworthiness",
            "external",
            value=None,
            threshold=0.8,
            status="not computable",
            null_pass_rate=None,
            **{"reason": "24 anchors are not more than 2k = 30"},
        ),
        row(
            "permutation_p",
            "internal",
            value=1e-4,
            threshold=1e-3,
            status="pass",
            null_pass_rate=0.1,
            **{"at_floor": True},
        ),
    ]


def controls(n_donors: int = 6, n_draws: int = 5) -> pd.DataFrame:
    """Chosen 0.5, three controls below, donors 0.01 apart; `hvg` holds no number."""
    rows = []
    for control, mean, draws in (
        ("chosen", 0.5, 1),
        ("no operator", 0.3, 1),
        ("gaussian", 0.2, n_draws),
        ("hvg", np.nan, 1),
    ):
        for draw in range(draws):
            for donor in range(n_donors):
                value = mean + 0.01 * donor + 0.02 * (draw - (draws - 1) / 2)
                rows.append(
                    {"endpoint": "order", "control": control, "draw": draw, "donor": f"d{donor}", "value": value}
                )
    return pd.DataFrame(rows)


def chain() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Five steps, one of them not measured; one loses the order."""
    names = ("pooled drift", "top head", "rank 8", "folded map")
    values, sizes = (0.79, 0.8, 0.6, 0.8), (11_600_000, 5_800_000, 90_000, 48_000)
    rows = [
        {"step": step, "endpoint": "order", "value": v, "lo": v - 0.05, "hi": v + 0.05, "n_donors": 6, "size_bytes": s}
        for step, v, s in zip(names, values, sizes, strict=True)
    ]
    rows.append({"step": "rank 64", "endpoint": "order", "value": np.nan, "n_donors": 0, "size_bytes": 700_000})
    status = ("kept", "lost", "the same")
    losses = pd.DataFrame({"step": ("pooled drift", "rank 8", "folded map"), "endpoint": "order", "status": status})
    return pd.DataFrame(rows), losses


def impact(n: int = 8) -> pd.DataFrame:
    """Impacts 0.08, 0.07, ...; two with an interval above 0."""
    value = 0.01 * np.arange(n, 0, -1)
    half = np.where(np.arange(n) < 2, 0.01, 0.1)
    table = pd.DataFrame({"factor": np.arange(n), "impact": value, "lo": value - half, "hi": value + half})
    about = {"surrogate": f"rank {n}", "endpoint": "mean over endpoints", "n_donors": 6}
    return table.assign(rank=np.arange(1, n + 1), **about)


def curves(n: int = 8, n_rotated: int = 20) -> pd.DataFrame:
    """The factors' first two carry 75 %, those of rotated bases 35 %."""
    own = np.array([0.5, 0.75, *np.linspace(0.8, 1.0, n - 2)])
    rotated = np.array([0.2, 0.35, *np.linspace(0.5, 1.0, n - 2)])
    sizes = np.arange(1, n + 1)
    tables = [pd.DataFrame({"basis": "factors", "draw": 0, "n_top": sizes, "share": own})]
    tables += [
        pd.DataFrame({"basis": "rotated", "draw": d, "n_top": sizes, "share": rotated}) for d in range(n_rotated)
    ]
    return pd.concat(tables, ignore_index=True)


def factor_genes(n_factors: int = 3, n_genes: int = 5) -> pd.DataFrame:
    """Each factor loads on genes of its own, 0.6, -0.5, ..."""
    return pd.DataFrame(
        [
            {"factor": k, "side": side, "rank": i + 1, "gene": f"{side}{k}_{i}", "weight": (0.6 - 0.1 * i) * (-1) ** i}
            for k in range(n_factors)
            for side in ("read", "write")
            for i in range(n_genes)
        ]
    )


def attribution() -> pd.DataFrame:
    """Weights 0.5, -0.4, 0.3, -0.2, ...; the first two with an interval without 0."""
    weight = np.array([0.5, -0.4, 0.3, -0.2, 0.1])
    half = np.array([0.1, 0.1, 0.9, 0.9, 0.9])
    table = pd.DataFrame({"gene": [f"GENE{i}" for i in range(5)], "weight": weight})
    about = {"contrast": "depth", "negative": "shallow", "positive": "deep", "n_boot": 200, "n_donors": 6}
    return table.assign(rank=np.arange(1, 6), lo=weight - half, hi=weight + half, **about)


def effects() -> pd.DataFrame:
    """The table of controls of a verdict: two endpoints, three controls."""
    controls = ("no operator", "untrained model", "genes permuted")
    rows = [
        {
            "endpoint": endpoint, "control": name, "draws": draws, "effect": effect, "lo": effect - 0.1,
            "hi": effect + 0.1, "p": p, "q": 0.19, "floor": 0.08, "minimum": 0.1, "status": "undecided", "donors": 9,
        }
        for endpoint, values in (("order", (0.05, 0.2, 0.3)), ("branch balanced accuracy", (0.4, 0.3, 0.1)))
        for name, effect, draws, p in zip(controls, values, (1, 20, 20), (0.2, 0.048, 0.048), strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def probes() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Three layers and two heads each of a probe, and four baselines of which one is untrained."""
    rows = []
    for layer in range(3):
        value = 0.6 + 0.05 * layer
        place = {"layer": layer, "head": None, "name": f"L{layer}.resid_post", "site": "resid_post", "value": value}
        rows.append(place)
        for head in range(2):
            name = f"L{layer}H{head}.z"
            rows.append({"layer": layer, "head": head, "name": name, "site": "z", "value": value + 0.04 * head})
    table = pd.DataFrame(rows).assign(metric="auroc", target="branch", role="score", n_donors=5, null_mean=0.52)
    table = table.assign(lo=table["value"] - 0.05, hi=table["value"] + 0.05, q=np.linspace(0.2, 0.001, 9), floor=0.02)
    named = {"raw log1p": (None, 0.9), "PCA-10": (None, 0.8), "untrained L0.resid_post": (0, 0.55)}
    named["untrained L1.resid_post"] = (1, 0.55)
    baselines = pd.DataFrame(
        [{"name": name, "layer": layer, "head": None, "value": value} for name, (layer, value) in named.items()]
    )
    return table.astype({"layer": "Int64", "head": "Int64"}), baselines.assign(metric="auroc", target="branch")


def ablated() -> pd.DataFrame:
    """Three layers of two heads that are missed by 0.00, 0.01, ...; the last two are sure."""
    rows = [{"layer": k // 2, "head": k % 2, "name": f"L{k // 2}H{k % 2}", "value": 0.01 * k} for k in range(6)]
    table = pd.DataFrame(rows).assign(metric="drop", target="stage", role="score", n_donors=7)
    return table.assign(lo=table["value"] - 0.01, hi=table["value"] + 0.01, q=[0.9, 0.8, 0.5, 0.2, 0.01, 0.01])


def set_draws(n: int = 39) -> pd.DataFrame:
    """Two named heads above all random sets under mean ablation, and below them under resample ablation."""
    parts = []
    for name, named in (("mean", 0.2), ("resample", -0.2)):
        drop = np.append(named, np.linspace(0, 0.1, n))
        part = pd.DataFrame({"replacement": name, "draw": range(n + 1), "drop": drop, "statistic": drop})
        part["heads"] = ["L0H1 + L1H0", *["L0H0 + L1H1"] * n]
        parts.append(part.assign(lo=np.append(named - 0.05, [np.nan] * n), hi=np.append(named + 0.05, [np.nan] * n)))
    return pd.concat(parts, ignore_index=True)


def head_pairs() -> pd.DataFrame:
    """Three pairs: one redundant, one open, one in series."""
    rows = [("L0H1", "L0H2", 0.2, 0.1, 0.3), ("L0H1", "L1H0", 0.05, -0.05, 0.15), ("L0H2", "L1H0", -0.1, -0.2, -0.05)]
    table = pd.DataFrame(rows, columns=["first", "second", "redundancy", "lo", "hi"])
    return table.assign(drop_first=0.1, drop_second=0.02, n_donors=6)
