"""Rulers: distances between stages that latents are held to, made of the stage graph or given by the user."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interp.errors import InputError
from interp.runs.hashes import sha256_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from interp.biology.stages import StageGraph

HOPS, DEPTH, BRANCH = "hops", "depth only", "branch only"
# Distances that differ by less are equal (rounding in a file of six digits).
TOLERANCE = 1e-6
SHOWN = 5


@dataclass(frozen=True, eq=False)
class Ruler:
    """Distances between stages, known without the model.

    Attributes
    ----------
    name
        What it is called in tables.
    stages
        Names, (stage,).
    matrix
        Distances, float64 (stage, stage): complete, symmetric, not negative, zero on the diagonal.
    source
        Where the distances come from.

    Raises
    ------
    InputError
        The matrix is not such a one, or a name stands twice.
    """

    name: str
    stages: tuple[str, ...]
    matrix: np.ndarray
    source: str

    def __post_init__(self) -> None:
        """Refuse what is no ruler; take off what rounding in a file left of asymmetry and below zero."""
        _check(self.name, self.stages, self.matrix)
        clean = np.maximum((self.matrix + self.matrix.T) / 2, 0.0)
        np.fill_diagonal(clean, 0.0)
        object.__setattr__(self, "matrix", clean)

    def __contains__(self, stage: object) -> bool:
        """Whether the ruler has distances of this stage."""
        return stage in self.stages

    @property
    def identity(self) -> dict[str, str]:
        """Name, source and hash of the distances; what a run records of its ruler."""
        digest = sha256_json({"stages": self.stages, "distances": self.matrix.tolist()})
        return {"name": self.name, "source": self.source, "sha256": digest}

    def __repr__(self) -> str:
        """Say what it measures."""
        return f"Ruler({self.name!r}, {len(self.stages)} stages, {self.source})"

    def of(self, stages: Iterable[str]) -> np.ndarray:
        """Return the distances between stages, float64 (stage, stage); repeats are allowed, one per anchor, say.

        Raises
        ------
        InputError
            The ruler does not know a stage: it is incomplete for this panel.
        """
        at = {stage: i for i, stage in enumerate(self.stages)}
        names = list(stages)
        missing = sorted({stage for stage in names if stage not in at})
        if missing:
            msg = (
                f"the ruler {self.name!r} is incomplete for this panel: it lacks {', '.join(missing[:SHOWN])} "
                f"({len(missing)} stages); add their distances, or leave these cells out"
            )
            raise InputError(msg)
        places = np.array([at[stage] for stage in names], dtype=np.int64)
        return self.matrix[np.ix_(places, places)]

    def in_hops(self, graph: StageGraph, stages: Iterable[str]) -> np.ndarray:
        """Return the distances between stages in a unit that makes them as long as hops are, in the mean square.

        A ruler in days or in hours says the same, and the weights of the adaptor's loss mean the same under both.

        Parameters
        ----------
        graph
            Stage graph that gives the hops.
        stages
            Stage names, repeats allowed; the unit depends on which there are, not on how often.

        Returns
        -------
        numpy.ndarray
            float64 (stage, stage); hops themselves come back as they are.

        Raises
        ------
        InputError
            The ruler or the graph does not know a stage.

        Examples
        --------
        >>> from interp.biology import StageGraph
        >>> table = pd.DataFrame([[0, 5], [5, 0]], index=["HSC", "NK"], columns=["HSC", "NK"])
        >>> days = Ruler.from_matrix(table, source="sampling day", independent_of_model=True)
        >>> days.in_hops(StageGraph.hematopoiesis(), ["HSC", "NK"]).tolist()
        [[0.0, 3.0], [3.0, 0.0]]
        """
        names = list(stages)
        distinct = list(dict.fromkeys(names))
        own, hops = np.linalg.norm(self.of(distinct)), np.linalg.norm(graph.ruler(distinct))
        return self.of(names) * (hops / own if own > 0 else 1.0)

    @classmethod
    def hops(cls, graph: StageGraph, name: str = HOPS) -> Ruler:
        """Hops between stages in the stage graph."""
        return cls(name, graph.stages, graph.ruler(), "hops in the stage graph")

    @classmethod
    def depth_only(cls, graph: StageGraph) -> Ruler:
        """Difference of depths: what is left of the ruler when branches are forgotten."""
        depth = np.array([graph.depth(stage) for stage in graph.stages], dtype=np.float64)
        return cls(DEPTH, graph.stages, np.abs(depth[:, None] - depth), "difference of depth in the stage graph")

    @classmethod
    def branch_only(cls, graph: StageGraph) -> Ruler:
        """0 inside a branch and 1 between branches: what is left of the ruler when order is forgotten."""
        branch = np.array([graph.branch(stage) for stage in graph.stages])
        return cls(BRANCH, graph.stages, (branch[:, None] != branch).astype(np.float64), "branches of the stage graph")

    @classmethod
    def from_matrix(
        cls, distances: pd.DataFrame, *, source: str, independent_of_model: bool, name: str = "given"
    ) -> Ruler:
        """Take a user's distance matrix.

        Parameters
        ----------
        distances
            Stage names as index and as columns.
        source
            Where the distances come from; stands in the tables.
        independent_of_model
            The user's word that no activation, embedding or weight of the model under study went into them.
        name
            What it is called in tables.

        Raises
        ------
        InputError
            Rows and columns differ, the matrix is incomplete, asymmetric or negative, or the source or the model's
            independence is not stated.

        Examples
        --------
        >>> table = pd.DataFrame([[0, 2], [2, 0]], index=["HSC", "NK"], columns=["HSC", "NK"])
        >>> Ruler.from_matrix(table, source="sampling day", independent_of_model=True).of(["NK", "HSC"]).tolist()
        [[0.0, 2.0], [2.0, 0.0]]
        """
        _check_word(source, independent_of_model)
        rows, columns = (tuple(map(str, axis)) for axis in (distances.index, distances.columns))
        if sorted(rows) != sorted(columns):
            odd = sorted(set(rows) ^ set(columns)) or ["a repeated name"]
            msg = f"rows and columns of a ruler name the same stages; here they differ in {', '.join(odd[:SHOWN])}"
            raise InputError(msg)
        table = distances.set_axis(rows, axis=0).set_axis(columns, axis=1)
        if len(set(rows)) == len(rows):
            table = table.loc[:, list(rows)]
        values = table.apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
        return cls(name, rows, values, source)

    @classmethod
    def from_edges(cls, edges: pd.DataFrame, *, source: str, independent_of_model: bool, name: str = "given") -> Ruler:
        """Take a user's edge list; a distance is the length of the shortest path.

        Parameters
        ----------
        edges
            Columns ``a``, ``b`` and, if edges are not all of length 1, ``length``.
        source, independent_of_model, name
            As for `from_matrix`.

        Raises
        ------
        InputError
            A column is missing, a length is not positive, stages are not connected, or as for `from_matrix`.

        Examples
        --------
        >>> edges = pd.DataFrame({"a": ["HSC", "CLP"], "b": ["CLP", "NK"]})
        >>> Ruler.from_edges(edges, source="textbook", independent_of_model=True).of(["HSC", "NK"]).tolist()
        [[0.0, 2.0], [2.0, 0.0]]
        """
        from scipy.sparse.csgraph import shortest_path

        _check_word(source, independent_of_model)
        if not {"a", "b"} <= set(edges):
            msg = f"an edge list needs the columns 'a' and 'b' (and may have 'length'); it has {list(edges.columns)}"
            raise InputError(msg)
        ends = edges[["a", "b"]].astype(str)
        stages = tuple(dict.fromkeys(ends.to_numpy().ravel()))
        given = edges["length"] if "length" in edges else pd.Series(1.0, index=edges.index)
        lengths = pd.to_numeric(given, errors="coerce").to_numpy(np.float64)
        if not (lengths > 0).all():
            row = int(np.flatnonzero(~(lengths > 0))[0])
            msg = f"the edge {ends.iloc[row, 0]} to {ends.iloc[row, 1]} has the length {given.iloc[row]}; give > 0"
            raise InputError(msg)
        at = {stage: i for i, stage in enumerate(stages)}
        weights = np.full((len(stages), len(stages)), np.inf)
        for a, b, length in zip(ends["a"], ends["b"], lengths, strict=True):
            i, j = at[a], at[b]
            weights[i, j] = weights[j, i] = min(weights[i, j], length)
        return cls(name, stages, shortest_path(weights, directed=False), source)


def sensitivity_rulers(graph: StageGraph) -> list[Ruler]:
    """Return hops, depth only, branch only, and hops with each debated edge, and all of them, moved."""
    moved = [Ruler.hops(other, f"hops, {words}") for words, other in graph.sensitivity().items()]
    return [Ruler.hops(graph), Ruler.depth_only(graph), Ruler.branch_only(graph), *moved]


def read_ruler(path: str | Path, *, source: str, independent_of_model: bool) -> Ruler:
    """Read a CSV file: a matrix with stage names in the first column and row, or an edge list (columns a, b, length).

    Raises
    ------
    InputError
        There is no such file, or as for `Ruler.from_matrix` and `Ruler.from_edges`.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"there is no file {path}; give a CSV with a distance matrix or an edge list of stages"
        raise InputError(msg)
    word = {"source": source, "independent_of_model": independent_of_model, "name": path.stem}
    table = pd.read_csv(path)
    if {"a", "b"} <= set(table):
        return Ruler.from_edges(table, **word)  # type: ignore[arg-type]
    return Ruler.from_matrix(table.set_index(table.columns[0]), **word)  # type: ignore[arg-type]


def _check_word(source: str, independent_of_model: bool) -> None:  # noqa: FBT001
    if not source.strip():
        msg = "say where the ruler's distances come from with source=; it stands beside every result"
        raise InputError(msg)
    if independent_of_model is not True:
        msg = (
            "a ruler must not be made from the model under study, or the model is compared with itself; give "
            "independent_of_model=True if no activation, embedding or weight of it went into the distances"
        )
        raise InputError(msg)


def _check(name: str, stages: Sequence[str], matrix: np.ndarray) -> None:
    n = len(stages)
    if n < 2 or matrix.shape != (n, n) or len(set(stages)) != n:
        twice = sorted({stage for stage in stages if list(stages).count(stage) > 1})
        what = f"{', '.join(twice)} stand twice" if twice else f"{n} stages with a matrix of shape {matrix.shape}"
        msg = f"the ruler {name!r} has {what}; give at least two stages, once each, and one distance per pair"
        raise InputError(msg)
    with np.errstate(invalid="ignore"):  # infinite on both sides, which is said anyway
        asymmetric = np.abs(matrix - matrix.T) > TOLERANCE
    faults = {
        "is incomplete or not connected": ~np.isfinite(matrix),
        "is negative": matrix < -TOLERANCE,
        "is not zero on the diagonal": np.eye(n, dtype=bool) & (np.abs(matrix) > TOLERANCE),
        "is asymmetric": asymmetric,
    }
    for words, where in faults.items():
        if where.any():
            i, j = np.argwhere(where)[0]
            msg = (
                f"the ruler {name!r} {words}: {stages[i]} to {stages[j]} is {matrix[i, j]:g} and back "
                f"{matrix[j, i]:g} ({int(where.sum())} such entries); give one finite distance per pair"
            )
            raise InputError(msg)
