"""Map the cell type labels of studies to stages, and say which labels are too coarse for one or unknown."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from importlib.resources import files

import pandas as pd

from interp.biology.stages import StageGraph
from interp.errors import InputError

_SEPARATORS = re.compile(r"[\s_,]+|-(?=\w)")  # a hyphen before a gap means "negative", as in "CD16- monocyte"


def label_key(label: str) -> str:
    """Return a label without what does not change its meaning: case, separators, plurals, a closing "cell" or "human".

    Examples
    --------
    >>> label_key("CD14+_Monocytes"), label_key("pro-B cell"), label_key("CL:0000037")
    ('cd14+ monocyte', 'pro b', 'cl:0000037')
    """
    words = _SEPARATORS.sub(" ", label.casefold()).split()
    words = [w[:-1] if len(w) > 3 and w.endswith("s") and not w.endswith("ss") else w for w in words]
    while len(words) > 1 and words[-1] in ("cell", "human"):
        words.pop()
    return " ".join(words)


def map_labels(labels: Iterable[str], graph: StageGraph, table: pd.DataFrame | None = None) -> pd.DataFrame:
    """Map labels to the stages of a graph.

    Stage names, Cell Ontology ids and Cell Ontology names of the graph are always known.

    Parameters
    ----------
    labels
        Cell type labels as the study wrote them, repeats allowed; missing values are left out.
    graph
        The stage graph.
    table
        Rows that go before the shipped synonyms: columns ``label`` and ``stages`` (names separated by ``;``).

    Returns
    -------
    pd.DataFrame
        One row per distinct label, which is the index. ``stage``: the stage or None. ``candidates``: tuple of the
        stages the label may mean. ``branch``: their branch if they share one, else None. ``status``: ``"exact"`` (one
        stage), ``"coarse"`` (several) or ``"unmapped"``.

    Raises
    ------
    InputError
        When `table` lacks a column or names a stage that the graph does not have.

    Examples
    --------
    >>> found = map_labels(["CD14+ Monocytes", "CD4 T cell", "beta"], StageGraph.hematopoiesis())
    >>> found["status"].tolist(), found["branch"].tolist()[:2]
    (['exact', 'coarse', 'unmapped'], ['monocyte and dendritic', 'T'])
    """
    known = dict(_shipped())
    for node in graph.nodes:
        for name in (node.cell_ontology_name, node.cell_ontology, node.name):
            if name:
                known[label_key(name)] = (node.name,)
    known.update(_own_rows(table, graph))
    distinct = pd.unique(pd.Series(list(labels), dtype=object).dropna().astype(str))
    rows = [_row(known.get(label_key(label), ()), graph) for label in distinct]
    columns = ["stage", "candidates", "branch", "status"]
    return pd.DataFrame(rows, columns=columns, index=pd.Index(distinct, name="label", dtype=object), dtype=object)


def _row(meant: tuple[str, ...], graph: StageGraph) -> tuple[str | None, tuple[str, ...], str | None, str]:
    candidates = tuple(stage for stage in meant if stage in graph)
    branches = {graph.branch(stage) for stage in candidates}
    branch = branches.pop() if len(branches) == 1 else None
    if not candidates:
        return None, (), None, "unmapped"
    # A label that means several stages stays coarse even if the graph has only one of them.
    return (candidates[0], candidates, branch, "exact") if len(meant) == 1 else (None, candidates, branch, "coarse")


@lru_cache(maxsize=1)
def _shipped() -> dict[str, tuple[str, ...]]:
    with (files("interp.biology") / "synonyms.csv").open(encoding="utf-8") as handle:
        table = pd.read_csv(handle, dtype=str, keep_default_na=False)
    return _parse(table)


def _parse(table: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    return {
        label_key(str(label)): tuple(stage.strip() for stage in str(stages).split(";") if stage.strip())
        for label, stages in zip(table["label"], table["stages"], strict=True)
    }


def _own_rows(table: pd.DataFrame | None, graph: StageGraph) -> dict[str, tuple[str, ...]]:
    if table is None:
        return {}
    missing = [column for column in ("label", "stages") if column not in table]
    if missing:
        msg = f"A synonym table needs the columns label and stages; it lacks {missing}, it has {list(table.columns)}."
        raise InputError(msg)
    rows = _parse(table)
    strangers = sorted({stage for stages in rows.values() for stage in stages if stage not in graph})
    if strangers:
        msg = f"The synonym table names {strangers}, not stages of the graph: {', '.join(graph.stages)}."
        raise InputError(msg)
    return rows
