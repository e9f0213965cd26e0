"""`geometry.md` and its figures: how an embedding lies, every measure beside its null."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interp.geometry import point_distances
from interp.report.tables import markdown, shown
from interp.runs.files import new_folder, write_csv, write_text

if TYPE_CHECKING:
    from pathlib import Path

    from interp.biology import StageGraph
    from interp.evidence import Panel

WARNING = (
    "Nothing is fitted or held out here: an embedding that was fitted to these very stages follows them by "
    "construction, and its null (stages permuted on the finished embedding) is easier than a refit. Whether the "
    "order holds in donors and stages never seen is what `interp discover` measures."
)
RULER, DIFFERENT = "spearman with the ruler", "different-stage"
TABLE_COLUMNS = ("measure", "metric", "pairs", "value", "95 % interval", "null", "null mean", "null 95 %", "p", "n")


def write_geometry(folder: Path, table: pd.DataFrame, gates: list[dict], *, title: str, ruler: str) -> None:
    """Write `geometry.csv`, `gates.csv` and `geometry.md`.

    Parameters
    ----------
    folder
        Where to write.
    table
        From `interp.evidence.manifold.measure_manifold`.
    gates
        From `interp.evidence.frozen_gates`.
    title
        What was measured.
    ruler
        What it is held to.
    """
    write_csv(folder / "geometry.csv", table)
    write_csv(folder / "gates.csv", pd.DataFrame(gates))
    missing = table[table["status"] != "ok"]
    parts = [
        f"# Geometry of {title}",
        f"**{_headline(table, ruler)}**",
        WARNING,
        "## Measures\n\n" + markdown(_readable(table[table["status"] == "ok"])),
        "## Gates\n\nThe paper's gates under the finished embedding: groups are looked at, none is held out.\n\n"
        + markdown(pd.DataFrame(gates)),
    ]
    if len(missing):
        parts.append("## Not computable\n\n" + markdown(missing[["measure", "metric", "pairs", "reason"]]))
    write_text(folder / "geometry.md", "\n\n".join(parts) + "\n")


def draw_geometry(
    folder: Path, panel: Panel, latents: np.ndarray, graph: StageGraph, gates: list[dict], table: pd.DataFrame
) -> None:
    """Draw the manifold in 2-D and 3-D, distances against the ruler, and the gate board into `figures/`."""
    from interp.figures import distance_ruler, gate_board, latent_manifold, latent_manifold_3d, save, style

    rows = panel.exact(np.arange(len(panel)))
    obs = panel.obs.astype(object).where(panel.obs.notna(), None)
    arc = table[(table["measure"] == RULER) & (table["metric"] == "arc")].set_index("pairs")["value"]
    with new_folder(folder / "figures") as aside, style():
        save(latent_manifold(latents, obs, graph).figure, aside / "manifold")
        save(latent_manifold(latents, obs, graph, colour="donor").figure, aside / "manifold_donors")
        if latents.shape[1] >= 3:
            save(latent_manifold_3d(latents, obs, graph).figure, aside / "manifold_3d")
        distances = point_distances(latents[rows], "arc")
        picture = distance_ruler(
            distances, panel.ruler(rows), obs.iloc[rows], rho=arc.dropna().to_dict(), label="angle (radians)"
        )
        save(picture.figure, aside / "distances")
        save(gate_board([row for row in gates if row["pairs"] == "all"]).figure, aside / "gates")


def _headline(table: pd.DataFrame, ruler: str) -> str:
    row = table[(table["measure"] == RULER) & (table["metric"] == "arc") & (table["pairs"] == DIFFERENT)].iloc[0]
    if row["status"] != "ok":
        return f"Agreement with the ruler ({ruler}) is not computable: {row['reason']}."
    beside = f"stages permuted reach {shown(row['null_95'])} in one of twenty draws (p = {shown(row['p'])})"
    return (
        f"Angles between different stages follow the ruler ({ruler}) with a Spearman correlation of "
        f"{shown(row['value'])} ({shown(row['lo'])} to {shown(row['hi'])}); {beside}."
    )


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    bounds = zip(table["lo"], table["hi"], strict=True)
    interval = [f"{shown(lo)} to {shown(hi)}" if np.isfinite(lo) else "-" for lo, hi in bounds]
    named = table.rename(columns={"null_mean": "null mean", "null_95": "null 95 %"})
    return named.assign(**{"95 % interval": interval})[list(TABLE_COLUMNS)]
