"""The folded map under test: operator and adaptor as one matrix, as it is saved, in place of the two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from interp.evidence.arms import as_float
from interp.evidence.fixed_probes import FixedProbes, endpoint_names
from interp.extraction.folding import FoldedMap, fold
from interp.extraction.surrogates import folded_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from interp.evidence.arms import Settings
    from interp.evidence.campaign import Campaign
    from interp.evidence.fixed_probes import Probe
    from interp.evidence.panel import FloatArray
    from interp.extraction.operator import Operator

# Operators and maps are saved in float32.
FLOAT_BYTES = 4


class Fitted(Protocol):
    """An operator as it is saved, its features of all anchors, and the settings of its adaptors."""

    @property
    def operator(self) -> Operator:
        """The operator."""
        ...

    @property
    def features(self) -> FloatArray:
        """Features of all anchors, (anchor, feature)."""
        ...

    @property
    def settings(self) -> Settings:
        """Weights of the adaptor's loss."""
        ...


def folded_values(campaign: Campaign, chosen: Mapping[str, Fitted]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Measure every endpoint through folded maps alone: one is made of the operator and each adaptor fitted on it.

    Parameters
    ----------
    campaign
        The panel, expression per split, and how adaptors are fitted.
    chosen
        Split id to the operator of that split.

    Returns
    -------
    values, saved
        endpoint, donor, value (mean over splits); and size_bytes (a file of the map with its gene names), n_parameters,
        chain_bytes (its numbers alone) and latent_difference (from operator and adaptor in turn, over all maps and test
        anchors, relative to the largest latent).
    """
    panel, names = campaign.panel, endpoint_names(campaign.panel)
    tables, differences = [], []
    saved: dict[str, Any] = {}
    for split in panel.splits:
        own, x = chosen[split.id], as_float(campaign.source.expression(split))
        probes = FixedProbes.fit(panel, split, own.features, own.settings, campaign.solver)
        maps = {probe: saved_map(fold(own.operator, probe.fit), x[probe.train]) for probe in probes.probes}

        def asked(probe: Probe, maps: Mapping[Probe, FoldedMap] = maps, x: FloatArray = x) -> FloatArray:
            return maps[probe].latents(x[probe.asked])

        def trained(probe: Probe, maps: Mapping[Probe, FoldedMap] = maps, x: FloatArray = x) -> FloatArray:
            return maps[probe].latents(x[probe.train])

        frame = pd.DataFrame(probes.values(asked, trained), names, split.test_donors)
        tables.append(frame.rename_axis("endpoint").reset_index().melt("endpoint", var_name="donor"))
        for probe, folded in maps.items():
            chained = probe.fit.transform(own.features[probe.asked])
            differences.append(np.abs(asked(probe) - chained).max() / np.abs(chained).max())
            saved = {"size_bytes": folded_size(folded, own.operator.genes), "n_parameters": _numbers(folded)}
    table = pd.concat(tables).groupby(["endpoint", "donor"], sort=True)["value"].mean().reset_index()
    if saved:
        saved |= {"chain_bytes": FLOAT_BYTES * saved["n_parameters"], "latent_difference": float(max(differences))}
    return table, saved


def saved_map(folded: FoldedMap, x: FloatArray) -> FoldedMap:
    """Round M to float32 as it is saved; c takes up what that does to the mean of x (row, gene)."""
    M = folded.M.astype(np.float32)
    return FoldedMap(M, folded.c + x.mean(axis=0) @ (folded.M - M))


def _numbers(folded: FoldedMap) -> int:
    return int(folded.M.size + folded.c.size)
