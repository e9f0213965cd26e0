"""The anchors that evidence is taken on: who gave them, which class they are, and what the classes are called."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.errors import InputError
from interp.stats import Split

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from interp.biology import Ruler, StageGraph
    from interp.cells.anchors import Anchors

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]

# Class of an anchor whose stage is not known exactly ("CD4 T cell").
UNKNOWN = -1
# Name of the split that trains on every donor and tests none; the exported algorithm comes from it.
WHOLE = "all"
COLUMNS = ("donor", "tissue", "study", "cell_type", "stage", "branch")


@dataclass(frozen=True, eq=False)
class Labels:
    """What each class of anchors is called, and all that follows from the name.

    Attributes
    ----------
    stages
        Stage name of each class, (class,).
    ruler
        Distance between the stages of two classes, in hops, float64 (class, class).
    branch
        Branch of each class, (class,).
    depth
        Hops from the root, float64 (class,).
    """

    stages: tuple[str, ...]
    ruler: FloatArray
    branch: tuple[str, ...]
    depth: FloatArray

    @classmethod
    def of(cls, graph: StageGraph, stages: Sequence[str], ruler: Ruler | None = None) -> Labels:
        """Look up classes in a stage graph.

        Parameters
        ----------
        graph
            Stage graph.
        stages
            Stage of each class, (class,).
        ruler
            Distances between stages, brought to the unit of hops; hops by default. Branches and depths always come
            from the graph.

        Returns
        -------
        Labels

        Raises
        ------
        InputError
            A name is not a stage of the graph, or the ruler lacks it.
        """
        names = tuple(stages)
        depth = np.array([graph.depth(name) for name in names], dtype=np.float64)
        distances = graph.ruler(names) if ruler is None else ruler.in_hops(graph, names)
        return cls(names, distances, tuple(graph.branch(name) for name in names), depth)

    def __len__(self) -> int:
        """Return the number of classes."""
        return len(self.stages)

    def permuted(self, order: Sequence[int] | IntArray) -> Labels:
        """Give class c the name, and so the place in the ruler, that class ``order[c]`` has here."""
        order = np.asarray(order, dtype=np.int64)
        return Labels(
            tuple(self.stages[c] for c in order),
            self.ruler[np.ix_(order, order)],
            tuple(self.branch[c] for c in order),
            self.depth[order],
        )

    def with_ruler(self, ruler: FloatArray) -> Labels:
        """Return the same names under another ruler (class, class)."""
        return replace(self, ruler=ruler)


@dataclass(frozen=True, eq=False)
class Panel:
    """Anchors, their classes and the splits of their donors.

    Attributes
    ----------
    obs
        One row per anchor: donor, tissue, study, cell_type, stage, branch.
    classes
        Row of ``labels`` that each anchor belongs to, int64 (anchor,); `UNKNOWN` where the stage is not exact.
    labels
        What the classes are called.
    splits
        Donor splits; an anchor is a training anchor when its donor is a training donor.
    name
        ``internal``, ``external`` or ``negative``; stands in the tables.
    """

    obs: pd.DataFrame
    classes: IntArray
    labels: Labels
    splits: tuple[Split, ...]
    name: str = "internal"

    @classmethod
    def from_anchors(
        cls,
        anchors: Anchors,
        graph: StageGraph,
        splits: Sequence[Split],
        name: str = "internal",
        ruler: Ruler | None = None,
    ) -> Panel:
        """Take the anchors of a panel of cells.

        Parameters
        ----------
        anchors
            From `interp.cells.anchors`.
        graph
            Stage graph; gives branches and depths.
        splits
            Donor splits; only their donors are read, so splits of cells will do.
        name
            Name of the panel in tables.
        ruler
            Distances between stages; hops of the graph by default.

        Returns
        -------
        Panel

        Raises
        ------
        InputError
            A column is missing, no anchor has an exact stage, or the ruler lacks a stage.
        """
        missing = [column for column in COLUMNS if column not in anchors.obs]
        if missing:
            msg = f"The anchors have no columns {missing}; make them with interp.cells.anchors."
            raise InputError(msg)
        obs = anchors.obs[list(COLUMNS)].copy()
        known = set(obs["stage"].dropna())
        if not known:
            msg = f"None of the {len(obs)} anchors has an exact stage, so nothing can be compared with the ruler."
            raise InputError(msg)
        stages = tuple(stage for stage in graph.stages if stage in known)
        if strange := sorted(known - set(stages)):
            msg = f"The anchors carry the stages {strange}, which the stage graph does not have."
            raise InputError(msg)
        classes = np.array([stages.index(s) if s in known else UNKNOWN for s in obs["stage"]], dtype=np.int64)
        return cls(obs, classes, Labels.of(graph, stages, ruler), tuple(splits), name)

    def __len__(self) -> int:
        """Return the number of anchors."""
        return len(self.obs)

    @cached_property
    def donors(self) -> np.ndarray:
        """Donor of each anchor, (anchor,)."""
        return self.obs["donor"].to_numpy(dtype=object)

    @cached_property
    def studies(self) -> np.ndarray:
        """Study of each anchor, (anchor,)."""
        return self.obs["study"].to_numpy(dtype=object)

    @property
    def whole(self) -> Split:
        """The split that trains on all donors and tests none."""
        donors = tuple(sorted(set(self.donors)))
        return Split(WHOLE, donors, (), np.arange(len(self)), np.arange(0))

    def train(self, split: Split) -> IntArray:
        """Anchors of a split's training donors, exact or not, ascending."""
        return np.flatnonzero(np.isin(self.donors, split.train_donors))

    def test(self, split: Split) -> IntArray:
        """Anchors of a split's test donors, exact or not, ascending."""
        return np.flatnonzero(np.isin(self.donors, split.test_donors))

    def exact(self, rows: IntArray) -> IntArray:
        """Those of some anchors whose class is known."""
        return rows[self.classes[rows] != UNKNOWN]

    def ruler(self, rows: IntArray, labels: Labels | None = None) -> FloatArray:
        """Ruler between anchors of known class, float64 (anchor, anchor)."""
        classes = self.classes[rows]
        return (labels or self.labels).ruler[np.ix_(classes, classes)]
