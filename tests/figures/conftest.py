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
