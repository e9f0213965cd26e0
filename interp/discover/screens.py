"""Screens of every layer and head on cells of the internal panel: what a probe reads there, and what is missed without.

Both go by donors that nothing was fitted to, and by the stage alone: the label that comes from the graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interp.ablation import ablate_heads, head_set_null, judge_used
from interp.ablation.bench import MEAN, RESAMPLE
from interp.ablation.used import UNDECIDED
from interp.capture import capture
from interp.heads import COLUMNS
from interp.probing import ProbeSettings, probe
from interp.runs.files import new_folder, write_csv, write_json
from interp.runs.seeds import stream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

    from interp.ablation import AblationResult
    from interp.discover.settings import DiscoverSettings
    from interp.scgpt.model import HookedScGPT

    Heads = Sequence[tuple[int, int]]

TARGET = "stage"
# What each head moves to the `<cls>` row, and the residual stream of that row.
SITES = ("z", "resid_post")


@dataclass(frozen=True, eq=False)
class HeadScreens:
    """Probes and ablation of a model's heads, as tables in a run folder.

    Attributes
    ----------
    model
        The model.
    cells
        The internal panel.
    settings
        Sizes and seed.
    path
        The run folder.
    """

    model: HookedScGPT
    cells: AnnData
    settings: DiscoverSettings
    path: Path

    def probe(self) -> None:
        """Write `probes.csv` (in the form of scores.csv) and `probe_baselines.csv`, activations beside them."""
        settings = self.settings
        cells = staged_cells(self.cells, settings.probe_cells, settings.seed)
        with new_folder(self.path / "activations.zarr") as folder:
            activations = capture(self.model, cells, sites=SITES, seed=settings.seed, out=folder)
            found = probe(
                activations, TARGET, cells=cells, model=self.model, settings=ProbeSettings(draws=settings.probe_draws),
                seed=settings.seed,
            )  # fmt: skip
        write_csv(self.path / "probes.csv", found.table)
        write_csv(self.path / "probe_baselines.csv", found.baselines)

    def ablate(self, named: Mapping[str, Heads]) -> None:
        """Write `ablation.csv` (in the form of scores.csv) and `used.json`.

        Parameters
        ----------
        named
            Donor to the heads that were chosen without it.
        """
        settings = self.settings
        result = ablate_heads(
            self.model, self.cells, TARGET, replacement=MEAN, n_cells=settings.ablation_cells, seed=settings.seed
        )
        write_csv(self.path / "ablation.csv", result.table)
        if reason := _unjudged(result, named):
            report: dict[str, Any] = {"status": UNDECIDED, "reason": reason}
        else:
            nulls = {way: head_set_null(result, named, replacement=way, target=TARGET) for way in (MEAN, RESAMPLE)}
            report = judge_used(nulls).report()
        write_json(self.path / "used.json", report)

    def scores(self) -> pd.DataFrame:
        """Return what both wrote, heads and layers alone, in the columns of scores.csv."""
        files = [self.path / name for name in ("probes.csv", "ablation.csv")]
        tables = [pd.read_csv(file, float_precision="round_trip") for file in files]
        found = pd.concat([table[table["layer"].notna()] for table in tables], ignore_index=True)
        return found.astype({"layer": "Int64", "head": "Int64"})[list(COLUMNS)]


def _unjudged(result: AblationResult, named: Mapping[str, Heads]) -> str:
    """Why whether heads are used cannot be asked; empty where it can."""
    if reason := result.bench.reasons.get(TARGET):
        return reason
    if not named:
        return "no donor can be held out"
    return "" if all(named.values()) else "the chosen operator is made of no head"


def staged_cells(cells: AnnData, n_cells: int, seed: int) -> AnnData:
    """Draw cells with a stage, an even share of each donor.

    Parameters
    ----------
    cells
        A panel.
    n_cells
        Cells to draw, about; fewer where donors have fewer.
    seed
        Of the draw.

    Returns
    -------
    AnnData
        In the order of the panel.
    """
    donor = cells.obs["donor"].astype(str).to_numpy()
    staged = cells.obs["stage"].notna().to_numpy()
    names = sorted(set(donor[staged]))
    share = -(-n_cells // max(1, len(names)))
    drawn: list[NDArray] = [
        stream(seed, "discover probes", name).permutation(np.flatnonzero(staged & (donor == name)))[:share]
        for name in names
    ]
    return cells[np.sort(np.concatenate([np.zeros(0, np.int64), *drawn]))].copy()
