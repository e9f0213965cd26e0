"""The rooted tree of hematopoietic stages and the ruler it gives: hops between stages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.resources import files

import numpy as np
import pandas as pd

from interp.errors import InputError

_REQUIRED = ("stage", "parent", "branch")
_OPTIONAL = ("cell_ontology", "cell_ontology_name", "debated_parents", "source")


@dataclass(frozen=True)
class Stage:
    """One stage: its place in the tree, its Cell Ontology term and where the edge above it comes from.

    ``debated_parents`` holds the other parents that the literature argues for; empty when the edge is settled.
    """

    name: str
    parent: str | None
    branch: str
    cell_ontology: str = ""
    cell_ontology_name: str = ""
    debated_parents: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True)
class StageGraph:
    """A rooted tree of stages; every stage belongs to one branch.

    Parameters
    ----------
    nodes
        The stages, in the order in which every matrix and list of the graph comes.

    Raises
    ------
    InputError
        When names repeat, a parent is unknown, there is not exactly one root, or a cycle exists.

    Examples
    --------
    >>> graph = StageGraph.hematopoiesis()
    >>> graph.depth("naive B"), graph.parent("naive B"), graph.branch("naive B")
    (5, 'pre-B', 'B and plasma')
    >>> graph.ruler(["HSC", "NK"]).tolist()
    [[0.0, 3.0], [3.0, 0.0]]
    """

    nodes: tuple[Stage, ...]

    def __post_init__(self) -> None:
        """Refuse anything that is not a rooted tree."""
        _check_tree(self.nodes)

    @classmethod
    def hematopoiesis(cls) -> StageGraph:
        """Return the shipped graph: 34 stages in 7 branches, from HSC down."""
        with (files("interp.biology") / "stages.csv").open(encoding="utf-8") as handle:
            return cls.from_edges(pd.read_csv(handle, dtype=str, keep_default_na=False))

    @classmethod
    def from_edges(cls, edges: pd.DataFrame) -> StageGraph:
        """Build a graph from a table with one row per stage.

        Parameters
        ----------
        edges
            Columns ``stage``, ``parent`` (empty or NaN for the root) and ``branch``; optional ``cell_ontology``,
            ``cell_ontology_name``, ``debated_parents`` (separated by ``;``) and ``source``.

        Returns
        -------
        StageGraph
            Stages in the order of the rows.

        Raises
        ------
        InputError
            When a column is missing or the rows are not a rooted tree.
        """
        missing = [column for column in _REQUIRED if column not in edges]
        if missing:
            msg = (
                f"A stage table needs the columns {list(_REQUIRED)}; it lacks {missing}, it has {list(edges.columns)}."
            )
            raise InputError(msg)
        columns = [column for column in (*_REQUIRED, *_OPTIONAL) if column in edges]
        rows = edges[columns].astype(object).where(edges[columns].notna(), "").astype(str).to_dict("records")
        return cls(tuple(_stage(row) for row in rows))

    @cached_property
    def _by_name(self) -> dict[str, Stage]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def _paths(self) -> dict[str, tuple[str, ...]]:
        return {node.name: tuple(self._climb(node.name))[::-1] for node in self.nodes}

    def _climb(self, stage: str | None) -> Iterator[str]:
        while stage is not None:
            yield stage
            stage = self._by_name[stage].parent

    def _get(self, stage: str) -> Stage:
        if stage not in self._by_name:
            msg = f"{stage!r} is not a stage of this graph; its stages are {', '.join(self.stages)}."
            raise InputError(msg)
        return self._by_name[stage]

    def __len__(self) -> int:
        """Number of stages."""
        return len(self.nodes)

    def __contains__(self, stage: object) -> bool:
        """Whether a stage of this name is in the graph."""
        return stage in self._by_name

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of all stages."""
        return tuple(node.name for node in self.nodes)

    @property
    def branches(self) -> tuple[str, ...]:
        """Names of the branches, in order of first appearance."""
        return tuple(dict.fromkeys(node.branch for node in self.nodes))

    @property
    def root(self) -> str:
        """The stage without a parent."""
        return next(node.name for node in self.nodes if node.parent is None)

    @property
    def debated(self) -> tuple[tuple[str, str, str], ...]:
        """Edges under debate: (stage, parent here, other parent)."""
        return tuple((n.name, str(n.parent), other) for n in self.nodes for other in n.debated_parents)

    def parent(self, stage: str) -> str | None:
        """Return the parent of a stage, None for the root."""
        return self._get(stage).parent

    def children(self, stage: str) -> tuple[str, ...]:
        """Return the stages whose parent is this one."""
        self._get(stage)
        return tuple(node.name for node in self.nodes if node.parent == stage)

    def branch(self, stage: str) -> str:
        """Return the branch of a stage."""
        return self._get(stage).branch

    def cell_ontology(self, stage: str) -> str:
        """Return the Cell Ontology id of a stage, e.g. ``CL:0000037``."""
        return self._get(stage).cell_ontology

    def path(self, stage: str) -> tuple[str, ...]:
        """Return the stages from the root down to this one, both included."""
        self._get(stage)
        return self._paths[stage]

    def depth(self, stage: str) -> int:
        """Return the number of hops from the root."""
        return len(self.path(stage)) - 1

    def hops(self, a: str, b: str) -> int:
        """Return the number of edges between two stages."""
        shared = 0
        for x, y in zip(self.path(a), self.path(b), strict=False):
            if x != y:
                break
            shared += 1
        return len(self.path(a)) + len(self.path(b)) - 2 * shared

    def ruler(self, stages: Iterable[str] | None = None) -> np.ndarray:
        """Return hop distances.

        Parameters
        ----------
        stages
            Stage names, repeats allowed (one per anchor, say); all stages of the graph by default.

        Returns
        -------
        np.ndarray
            float64 (stage, stage), symmetric, zero on the diagonal.

        Raises
        ------
        InputError
            When a name is not a stage of the graph.
        """
        names = self.stages if stages is None else tuple(stages)
        distinct = list(dict.fromkeys(names))
        table = np.array([[self.hops(a, b) for b in distinct] for a in distinct], dtype=np.float64)
        table = table.reshape(len(distinct), len(distinct))
        index = np.array([distinct.index(name) for name in names], dtype=np.int64)
        return table[np.ix_(index, index)]

    def moved(self, stage: str, new_parent: str) -> StageGraph:
        """Return a copy in which a stage hangs under another parent; its branch stays.

        Raises
        ------
        InputError
            When either is no stage of the graph or the move makes a cycle.
        """
        self._get(new_parent)
        node = self._get(stage)
        return StageGraph(tuple(replace(n, parent=new_parent) if n is node else n for n in self.nodes))

    def sensitivity(self) -> dict[str, StageGraph]:
        """Return one graph per debated edge moved, and one with every debated edge moved.

        Returns
        -------
        dict of str to StageGraph
            Keys read ``"pDC under CLP"``; the last key is ``"all debated edges"``. Empty when nothing is debated.
        """
        graphs = {f"{stage} under {other}": self.moved(stage, other) for stage, _, other in self.debated}
        if graphs:
            everything = self
            for node in self.nodes:
                if node.debated_parents:
                    everything = everything.moved(node.name, node.debated_parents[0])
            graphs["all debated edges"] = everything
        return graphs

    def to_frame(self) -> pd.DataFrame:
        """Return one row per stage: stage, parent, branch, depth, Cell Ontology term, debated parents, source."""
        rows = [
            {
                "stage": n.name,
                "parent": n.parent or "",
                "branch": n.branch,
                "depth": self.depth(n.name),
                "cell_ontology": n.cell_ontology,
                "cell_ontology_name": n.cell_ontology_name,
                "debated_parents": ";".join(n.debated_parents),
                "source": n.source,
            }
            for n in self.nodes
        ]
        return pd.DataFrame(rows)


def _stage(row: dict[str, str]) -> Stage:
    return Stage(
        name=row["stage"].strip(),
        parent=row["parent"].strip() or None,
        branch=row["branch"].strip(),
        cell_ontology=row.get("cell_ontology", ""),
        cell_ontology_name=row.get("cell_ontology_name", ""),
        debated_parents=tuple(p.strip() for p in row.get("debated_parents", "").split(";") if p.strip()),
        source=row.get("source", ""),
    )


def _check_tree(nodes: tuple[Stage, ...]) -> None:
    repeated = sorted(name for name, n in Counter(node.name for node in nodes).items() if n > 1)
    if repeated:
        msg = f"Stage names must be unique; repeated: {repeated}."
        raise InputError(msg)
    parents = {node.name: node.parent for node in nodes}
    strangers = {p for n in nodes for p in (n.parent, *n.debated_parents) if p is not None and p not in parents}
    if strangers:
        msg = f"These parents have no row of their own: {sorted(strangers)}. Add a row for each of them."
        raise InputError(msg)
    roots = [name for name, parent in parents.items() if parent is None]
    if len(roots) != 1:
        msg = f"A stage graph has exactly one root (a row without a parent); found {len(roots)}: {roots}."
        raise InputError(msg)
    for name in parents:
        seen: set[str] = set()
        at: str | None = name
        while at is not None:
            if at in seen:
                msg = f"The stage graph has a cycle through {sorted(seen)}; every stage must lead up to {roots[0]!r}."
                raise InputError(msg)
            seen.add(at)
            at = parents[at]
