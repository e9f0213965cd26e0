"""The figures of a run, drawn from its tables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pandas as pd

from interp.evidence import CHOSEN, NULL_FAMILIES, ORDER, controls_table
from interp.runs.files import new_folder

if TYPE_CHECKING:
    from pathlib import Path

    from interp.biology import StageGraph


def draw_figures(run: Path, graph: StageGraph) -> None:
    """Draw heads, manifold (stages, donors, 3-D), learning curve, gates, controls, effects and nulls into `figures/`.

    Parameters
    ----------
    run
        Run folder with the tables of `discover`.
    graph
        Stage graph of the run.
    """
    from interp.figures import (
        controls_forest,
        effects_board,
        gate_board,
        head_heatmap,
        latent_manifold,
        latent_manifold_3d,
        learning_curve,
        null_distribution,
        save,
        style,
    )

    scores = pd.read_csv(run / "scores.csv").drop(columns="n_donors")  # its scores are means over donors and splits
    latents = pd.read_csv(run / "latents.csv", index_col=0)
    obs = latents[["donor", "tissue", "cell_type", "stage", "branch", "depth", "study"]]
    obs = obs.astype(object).where(obs.notna(), None)
    z = latents[[name for name in latents if name.startswith("z")]].to_numpy()
    gates = json.loads((run / "gates.json").read_text())
    controls, nulls = pd.read_csv(run / "controls.csv"), pd.read_csv(run / "nulls.csv")
    verdict = json.loads((run / "verdict.json").read_text())
    judged, effects = verdict["endpoints"], controls_table(verdict)
    with new_folder(run / "figures") as folder, style():
        if scores["value"].notna().any():
            save(
                head_heatmap(scores, metric=ORDER, role="select", label="order within training donors").figure,
                folder / "heads",
            )
        save(latent_manifold(z, obs, graph).figure, folder / "manifold_stages")
        save(latent_manifold(z, obs, graph, colour="donor").figure, folder / "manifold_donors")
        save(latent_manifold_3d(z, obs, graph).figure, folder / "manifold_3d")
        curve = pd.read_csv(run / "learning_curve.csv")
        picture = learning_curve(
            curve, train="loss", validation=None, step="iteration", label="loss of the adaptor", title="Adaptor's fit"
        )
        save(picture.figure, folder / "learning_curve")
        save(gate_board([row for row in gates if row["pairs"] == "all"]).figure, folder / "gates")
        if effects["effect"].notna().any():
            save(effects_board(effects), folder / "effects")
        if ORDER in judged:
            found = judged[ORDER]
            words = f"{found['readable']['status']}, {found['model_specific']['status']}"
            against = found["model_specific"]["against"]
            ceiling = max((c["percentile"] for c in found["readable"]["against"].values()), default=None)
            forest = controls_forest(
                controls, endpoint=ORDER, observed=CHOSEN, null_95=ceiling, verdict=words,
                p={name: c["p"] for name, c in against.items()}, label="order of a left-out stage (Spearman)",
            )  # fmt: skip
            save(forest.figure, folder / "controls")
            draws = nulls[nulls["endpoint"] == ORDER].groupby(["control", "draw"])["value"].mean()
            families = {name: draws.loc[name].to_numpy() for name in NULL_FAMILIES if name in draws.index.levels[0]}
            picture = null_distribution(
                families, found["value"], label="order of a left-out stage (Spearman)", n_donors=found["n_donors"]
            )
            save(picture.figure, folder / "nulls")
