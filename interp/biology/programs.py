"""Marker genes of stages and branches, modules that have nothing to do with stage, signatures, and gene symbols."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

import pandas as pd

from interp.biology.stages import StageGraph


@lru_cache(maxsize=1)
def _table() -> pd.DataFrame:
    with (files("interp.biology") / "programs.csv").open(encoding="utf-8") as handle:
        return pd.read_csv(handle, dtype=str, keep_default_na=False)


def program_table() -> pd.DataFrame:
    """Return all programs as shipped: columns program, kind (stage, branch or module), gene and source."""
    return _table().copy()


def gene_programs(graph: StageGraph) -> dict[str, tuple[str, ...]]:
    """Return the marker genes of the branches and stages of a graph.

    Parameters
    ----------
    graph
        Only branches and stages of this graph are returned; one without known markers has no entry.

    Returns
    -------
    dict of str to tuple of str
        Gene symbols (HGNC) per branch or stage name.

    Examples
    --------
    >>> gene_programs(StageGraph.hematopoiesis())["B and plasma"][:3]
    ('CD79A', 'CD79B', 'EBF1')
    """
    known = set(graph.stages) | set(graph.branches)
    rows = _table()
    rows = rows[rows["kind"].isin(["branch", "stage"]) & rows["program"].isin(known)]
    return {str(name): tuple(group["gene"]) for name, group in rows.groupby("program", sort=False)}


def gene_modules() -> dict[str, tuple[str, ...]]:
    """Return the genes of the processes any cell may run: cycle, stress, interferon response, glycolysis."""
    rows = _table()
    rows = rows[rows["kind"] == "module"]
    return {str(name): tuple(group["gene"]) for name, group in rows.groupby("program", sort=False)}


@lru_cache(maxsize=1)
def _signatures() -> pd.DataFrame:
    with (files("interp.biology") / "signatures.csv").open(encoding="utf-8") as handle:
        return pd.read_csv(handle, dtype=str, keep_default_na=False)


def signature_table() -> pd.DataFrame:
    """Return the signatures of lineages and processes as shipped: columns program, gene and source."""
    return _signatures().copy()


def marker_programs(graph: StageGraph | None = None) -> dict[str, tuple[str, ...]]:
    """Return programs to name gene lists by: signatures of lineages and processes, and the modules.

    Parameters
    ----------
    graph
        Adds the short marker lists of this graph's branches and stages.

    Returns
    -------
    dict of str to tuple of str
        Gene symbols (HGNC) per program; wider than those that simulated worlds are made of, which they leave alone.

    Examples
    --------
    >>> "CD3E" in marker_programs()["T / lymphoid"], "naive B" in marker_programs(StageGraph.hematopoiesis())
    (True, True)
    """
    signatures = {str(name): tuple(group["gene"]) for name, group in _signatures().groupby("program", sort=False)}
    return signatures | gene_modules() | (gene_programs(graph) if graph else {})


@lru_cache(maxsize=1)
def gene_pool() -> tuple[str, ...]:
    """Return 1,500 gene symbols.

    The first 1,000 hold every marker and module gene and 60 ribosomal genes, mixed evenly, so that any first n are a
    fair panel; the rest mark nothing.
    """
    with (files("interp.biology") / "genes.csv").open(encoding="utf-8") as handle:
        return tuple(pd.read_csv(handle, dtype=str, keep_default_na=False)["gene"])
