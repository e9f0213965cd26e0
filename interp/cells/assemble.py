"""From checked files to the panel: one AnnData with stages, measured genes and a report."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData

from interp.cells.combine import combine
from interp.cells.files import panel_sha256
from interp.cells.labels import empty_report, no_stages, stage_columns
from interp.cells.names import some
from interp.cells.obs import STAGE_LABEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interp.biology import StageGraph
    from interp.cells.source import Source

log = logging.getLogger(__name__)

# Order of the panel's own columns; the files' other columns follow.
FRONT = ("donor", "tissue", "cell_type")
BACK = ("study", "total_counts", "replicate")


def assemble(sources: Sequence[Source], graph: StageGraph | None, *, require_stages: bool) -> AnnData:
    """Make the panel of checked files.

    Parameters
    ----------
    sources
        The files.
    graph
        Stage graph; None takes hematopoiesis.
    require_stages
        Whether it is an error that no label maps to the stage graph.

    Returns
    -------
    AnnData
        As `interp.read_cells` describes it.

    Raises
    ------
    InputError
        Files that do not fit together, or labels of which none maps.
    """
    counts, obs, measured = combine(sources)
    labels = obs.pop(STAGE_LABEL)
    if labels.notna().any():
        stages, report = stage_columns(labels, obs["study"], graph, required=require_stages)
    else:
        stages, report = no_stages(len(obs)), empty_report()
    blocks = [
        obs[list(FRONT)],
        pd.DataFrame(stages, index=obs.index),
        obs[list(BACK)],
        obs.drop(columns=[*FRONT, *BACK]),
    ]
    panel = AnnData(X=counts, obs=pd.concat(blocks, axis=1), var=pd.DataFrame(index=measured.index))
    if len(sources) == 1:
        _carry_over(panel, sources[0])
    panel.varm["measured"] = measured
    panel.uns["interp"] = {"labels": report, "panel": _facts(sources, panel)}
    _tell(panel, report)
    return panel


def _carry_over(panel: AnnData, source: Source) -> None:
    """Keep what a single file has beside its counts, such as a simulation's truth."""
    original = source.original
    panel.uns.update({key: value for key, value in original.uns.items() if key != "interp"})
    for name, value in original.obsm.items():
        rows = _rows(value, source)
        panel.obsm[name] = rows.set_axis(panel.obs_names, axis=0) if isinstance(rows, pd.DataFrame) else rows
    if original.n_vars == panel.n_vars:
        for name in original.var.columns:
            panel.var[name] = original.var[name].array
        for name in set(original.layers) - {source.layer}:
            panel.layers[name] = _rows(original.layers[name], source)


def _rows(value: Any, source: Source) -> Any:
    if source.n_empty == 0:
        return value
    return value.iloc[source.kept] if isinstance(value, pd.DataFrame) else value[source.kept]


def _facts(sources: Sequence[Source], panel: AnnData) -> dict[str, Any]:
    measured = panel.varm["measured"]
    studies = list(measured.columns)
    cells = panel.obs["study"].value_counts()
    return {
        "sha256": panel_sha256(panel),
        "studies": np.array(studies, dtype=object),
        "n_cells": panel.n_obs,
        "n_genes": panel.n_vars,
        "n_common_genes": int(measured.all(axis=1).sum()),
        "n_donors": int(panel.obs["donor"].nunique()),
        "n_empty_cells_left_out": sum(source.n_empty for source in sources),
        "genes_per_study": measured.sum(axis=0).to_numpy(np.int64),
        "cells_per_study": cells.reindex(studies).to_numpy(np.int64),
    }


def _tell(panel: AnnData, report: pd.DataFrame) -> None:
    facts = panel.uns["interp"]["panel"]
    sizes = (panel.n_obs, facts["n_donors"], len(facts["studies"]), panel.n_vars, facts["n_common_genes"])
    log.info("%d cells, %d donors, %d studies, %d genes (%d measured by every study)", *sizes)
    unmapped = report[report["status"] == "unmapped"].groupby("label")["n_cells"].sum()
    if len(unmapped):
        shown = some(f"{label} ({n} cells)" for label, n in unmapped.sort_values(ascending=False).items())
        log.warning("%d labels map to no stage: %s", len(unmapped), shown)
