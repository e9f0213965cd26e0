"""Screens of every layer and head on cells of the internal panel: what a probe reads there, and what is missed without.

Both go by donors that nothing was fitted to, and by the stage alone: the label that comes from the graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interp.ablation import MEAN, RESAMPLE, ablate_heads, head_set_null, used
from interp.ablation.used import UNDECIDED
from interp.capture import capture
from interp.probing import ProbeSettings, probe
from interp.runs.files import write_csv, write_json
from interp.runs.seeds import stream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

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
        activations = capture(self.model, cells, sites=SITES, seed=settings.seed, out=self.path / "activations.zarr")
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
        if TARGET in result.bench.reasons or not named:
            reason = result.bench.reasons.get(TARGET, "no donor can be held out")
            report: dict[str, Any] = {"status": UNDECIDED, "reason": reason}
        else:
            nulls = {way: head_set_null(result, named, replacement=way, target=TARGET) for way in (MEAN, RESAMPLE)}
            report = used(nulls).report()
        write_json(self.path / "used.json", report)

    def scores(self) -> pd.DataFrame:
        """Return what both wrote, heads and layers alone, in the columns of scores.csv."""
        from interp.heads import COLUMNS

        tables = [pd.read_csv(self.path / name, float_precision="round_trip") for name in ("probes.csv", "ablation.csv")]
        found = pd.concat([table[table["layer"].notna()] for table in tables], ignore_index=True)
        return found.astype({"layer": "Int64", "head": "Int64"})[list(COLUMNS)]


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
