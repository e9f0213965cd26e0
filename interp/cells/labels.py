"""Labels of cells to stages, branches and depths, with the list of what did not map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interp.cells.names import some
from interp.errors import InputError

if TYPE_CHECKING:
    from interp.biology import StageGraph

SHOWN = 20
# Columns of the report in uns["interp"]["labels"].
REPORT = ("label", "study", "n_cells", "stage", "branch", "candidates", "status")


def stage_columns(
    labels: pd.Series, studies: pd.Series, graph: StageGraph | None, *, required: bool
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Map the label of each cell to a stage.

    Parameters
    ----------
    labels
        Category of labels, one per cell; NaN maps to nothing.
    studies
        Study of each cell, for the report.
    graph
        Stage graph; None takes hematopoiesis.
    required
        Whether it is an error that no label maps.

    Returns
    -------
    columns
        stage and branch (category), depth (float32, hops), one entry per cell; NaN where unknown.
    report
        One row per label and study: cells, stage, branch, candidates, status (exact, coarse, unmapped).

    Raises
    ------
    InputError
        No label has a stage or a set of candidate stages, and `required`.
    """
    from interp.biology import StageGraph, map_labels

    graph = StageGraph.hematopoiesis() if graph is None else graph
    names = [str(name) for name in labels.cat.remove_unused_categories().cat.categories]
    mapped = map_labels(names, graph).reindex(names)
    if required and not mapped["status"].isin(["exact", "coarse"]).any():
        raise InputError(_nothing(names))
    codes = pd.Categorical(labels.astype(object), categories=names).codes
    stage_of = _or_none(mapped["stage"])
    depth_of = np.array([np.nan if stage is None else graph.depth(stage) for stage in stage_of], dtype=np.float32)
    columns = {
        "stage": _spread(stage_of, codes),
        "branch": _spread(_or_none(mapped["branch"]), codes),
        "depth": np.append(depth_of, np.float32(np.nan))[codes],
    }
    return columns, _report(labels, studies, mapped)


def no_stages(n_cells: int) -> dict[str, Any]:
    """Return empty stage columns, for cells without labels.

    Parameters
    ----------
    n_cells
        Number of cells.

    Returns
    -------
    dict
        stage, branch (category) and depth (float32), all NaN.
    """
    codes = np.full(n_cells, -1, np.int8)
    return {
        "stage": _spread([], codes),
        "branch": _spread([], codes),
        "depth": np.full(n_cells, np.nan, np.float32),
    }


def empty_report() -> pd.DataFrame:
    """Return a mapping report without rows."""
    return pd.DataFrame({name: pd.Series(dtype=np.int64 if name == "n_cells" else object) for name in REPORT})


def _or_none(values: pd.Series) -> list[str | None]:
    return [None if pd.isna(value) else str(value) for value in values]


def _spread(per_label: list[str | None], codes: np.ndarray) -> pd.Categorical:
    names = sorted({name for name in per_label if name is not None})
    position = {name: index for index, name in enumerate(names)}
    lookup = np.array([-1 if name is None else position[name] for name in per_label] + [-1], dtype=np.int64)
    return pd.Categorical.from_codes(lookup[codes], categories=pd.Index(names, dtype=object))


def _report(labels: pd.Series, studies: pd.Series, mapped: pd.DataFrame) -> pd.DataFrame:
    counts = pd.crosstab(labels.astype(object).to_numpy(), studies.astype(object).to_numpy()).stack()
    counts = counts[counts > 0]
    label, study = counts.index.get_level_values(0), counts.index.get_level_values(1)
    rows = mapped.loc[label]
    return pd.DataFrame(
        {
            "label": np.asarray(label, dtype=object),
            "study": np.asarray(study, dtype=object),
            "n_cells": counts.to_numpy(np.int64),
            "stage": rows["stage"].astype(object).where(rows["stage"].notna(), "").to_numpy(dtype=object),
            "branch": rows["branch"].astype(object).where(rows["branch"].notna(), "").to_numpy(dtype=object),
            "candidates": np.array(["; ".join(names) for names in rows["candidates"]], dtype=object),
            "status": rows["status"].to_numpy(dtype=object),
        },
        index=pd.Index([str(i) for i in range(len(rows))], dtype=object),
    )


def _nothing(names: list[str]) -> str:
    return (
        f"none of the {len(names)} labels is a stage of the stage graph: {some(names, SHOWN)}. Name the "
        "column of cell types with cell_type= (or of stages with stage=), rename the labels to stages, or pass "
        "require_stages=False for cells that have none"
    )
