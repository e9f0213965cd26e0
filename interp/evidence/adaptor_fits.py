"""Refits of the adaptor's variants, to anchors or cells of a hold-out's training donors and stages and of no other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from interp.errors import InputError
from interp.evidence.arms import Settings
from interp.evidence.order import hold_out_values
from interp.extraction.cell_draw import cell_keys, draw_cells
from interp.extraction.cell_fit import fit_cells
from interp.extraction.cell_problem import CellProblem, CellWeights
from interp.extraction.span import SpanBasis
from interp.runs.workers import each, one_thread_each

if TYPE_CHECKING:
    from interp.evidence.fits import Solver
    from interp.evidence.holdouts import HoldOut
    from interp.evidence.panel import FloatArray, IntArray, Panel
    from interp.extraction.cell_fit import CellFit
    from interp.extraction.let import LetFit
    from interp.runs.workers import Bar
    from interp.stats import Split

Variant = Literal["anchor", "cell", "hybrid"]
VARIANTS: tuple[Variant, ...] = ("anchor", "cell", "hybrid")


@dataclass(frozen=True)
class Entry:
    """One adaptor that is compared.

    Attributes
    ----------
    variant
        ``anchor``, ``cell`` or ``hybrid``.
    n_latent
        Latent dimensions.
    topology
        Weight of the anchors in a hybrid; 0 elsewhere.
    """

    variant: Variant
    n_latent: int
    topology: float = 0.0


# What is fitted, and under which weights of reconstruction (alpha) and ridge.
Target = tuple[Entry, Settings]
# Answers of hold-outs, (question, pairs) each.
Answers = dict[Target, list[tuple["HoldOut", "FloatArray"]]]


@dataclass(frozen=True, eq=False)
class CellSource:
    """The cells behind a panel's anchors.

    Attributes
    ----------
    obs
        One row per cell, by unique name: donor and stage, named as in the panel. Cells without a stage are left alone.
    features
        From a split and rows of ``obs``, int64 (row,), to the features of these cells, (row, feature), made as the
        anchors' are.
    seed
        Seed of the draws.
    """

    obs: pd.DataFrame
    features: Callable[[Split, IntArray], FloatArray]
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the columns."""
        if missing := [column for column in ("donor", "stage") if column not in self.obs]:
            msg = f"The cells have no columns {missing}; give donor and stage of each."
            raise InputError(msg)

    @cached_property
    def keys(self) -> FloatArray:
        """Places of the cells in the draws, (cell,)."""
        return cell_keys([str(name) for name in self.obs.index], self.seed)

    @cached_property
    def donors(self) -> np.ndarray:
        """Donor of each cell, (cell,)."""
        return self.obs["donor"].astype(str).to_numpy(dtype=object)

    def classes(self, panel: Panel) -> IntArray:
        """Class of each cell in a panel, -1 where it has none, (cell,)."""
        return pd.Categorical(self.obs["stage"].astype(object), categories=list(panel.labels.stages)).codes.astype(
            np.int64
        )

    def draw(self, panel: Panel, anchors: IntArray, per_stage: int) -> IntArray:
        """Draw cells of the donors and stages of some anchors, and of none besides.

        Parameters
        ----------
        panel
            The anchors.
        anchors
            Training anchors, (train,).
        per_stage
            Cells of a stage at most.

        Returns
        -------
        numpy.ndarray
            Rows of ``obs``, (drawn,).

        Raises
        ------
        InputError
            There is no such cell.
        """
        classes = self.classes(panel)
        known = np.isin(classes, panel.classes[anchors]) & np.isin(self.donors, panel.donors[anchors])
        rows = np.flatnonzero(known)
        if len(rows) == 0:
            donors = sorted(set(panel.donors[anchors]))
            msg = f"None of the {len(self.obs):,} cells is of a stage and donor of the training anchors ({donors})."
            raise InputError(msg)
        return rows[draw_cells(classes[rows], self.donors[rows], self.keys[rows], per_stage=per_stage)]


def weights_of(target: Target, base: CellWeights) -> CellWeights:
    """Return the weights of a cell or hybrid fit."""
    entry, settings = target
    return replace(base, topology=entry.topology, reconstruction=settings.alpha, ridge=settings.ridge)


@dataclass(frozen=True, eq=False)
class SplitFits:
    """Everything that is fitted in one split.

    Attributes
    ----------
    panel, split
        The anchors and which of them train.
    features
        Features of all anchors, (anchor, feature).
    cells
        The cells.
    weights
        Weights of the cell loss; topology, reconstruction and ridge come from what is fitted.
    solver
        How adaptors are fitted; its latent dimensions are replaced.
    """

    panel: Panel
    split: Split
    features: FloatArray
    cells: CellSource
    weights: CellWeights
    solver: Solver

    def answers(
        self, hold_outs: Sequence[HoldOut], targets: Sequence[Target], per_stage: int, bar: Bar | None = None
    ) -> Answers:
        """Refit each target for each hold-out and ask it; see `HoldOut.order`."""
        return self.answers_at(hold_outs, targets, per_stage, (), bar)[0]

    def answers_at(
        self,
        hold_outs: Sequence[HoldOut],
        targets: Sequence[Target],
        per_stage: int,
        checkpoints: Collection[int],
        bar: Bar | None = None,
    ) -> tuple[Answers, dict[int, Answers]]:
        """Refit and ask, at the end and as the fits stood after some iterations.

        A fit that had stopped before a checkpoint answers there as at its end.
        """
        final: Answers = {}
        early: dict[int, Answers] = {at: {} for at in checkpoints}
        anchors = [target for target in targets if target[0].variant == "anchor"]
        self._ask_anchors(hold_outs, anchors, self.solver, final)
        for at in checkpoints:
            self._ask_anchors(hold_outs, anchors, self.solver.stopped_after(at), early[at])
        over_cells = [target for target in targets if target[0].variant != "anchor"]

        def ask(hold_out: HoldOut) -> list[tuple[FloatArray, dict[int, FloatArray]]]:
            if not over_cells:
                return []
            fits = self._fit_cells(hold_out.train, over_cells, per_stage, checkpoints)
            trained, asked = (fits[0].basis.coords(self.features[rows]) for rows in (hold_out.train, hold_out.asked))

            def order(fit: LetFit) -> FloatArray:
                return hold_out.order(self.panel.labels, fit.from_coords(trained), fit.from_coords(asked))

            return [(order(fit), {at: order(fit.snapshots_.get(at, fit)) for at in checkpoints}) for fit in fits]

        for hold_out, found in zip(hold_outs, each(ask, hold_outs, bar=bar), strict=True):
            for target, (at_end, before) in zip(over_cells, found, strict=False):
                final.setdefault(target, []).append((hold_out, at_end))
                for at, values in before.items():
                    early[at].setdefault(target, []).append((hold_out, values))
        return final, early

    def fit_cells(self, targets: Sequence[Target], per_stage: int) -> list[CellFit]:
        """Fit cell and hybrid targets to all training donors, several at a time."""
        if not targets:
            return []
        return self._fit_cells(self.panel.exact(self.panel.train(self.split)), targets, per_stage, ())

    def _ask_anchors(
        self, hold_outs: Sequence[HoldOut], targets: Sequence[Target], solver: Solver, answers: Answers
    ) -> None:
        for n_latent in dict.fromkeys(entry.n_latent for entry, _ in targets):
            asked = [(self.panel.labels, target[1], target) for target in targets if target[0].n_latent == n_latent]
            work = [(self.features, hold_outs, asked)]
            for target, hold_out, values in hold_out_values(self.panel, work, replace(solver, n_latent=n_latent)):
                answers.setdefault(target, []).append((hold_out, values))

    def _fit_cells(
        self, train: IntArray, targets: Sequence[Target], per_stage: int, checkpoints: Collection[int]
    ) -> list[CellFit]:
        """Fit targets to the cells of the donors and stages of some anchors; the span is made once."""
        rows = self.cells.draw(self.panel, train, per_stage)
        with one_thread_each():
            basis = SpanBasis.from_features(self.cells.features(self.split, rows))
        base = CellProblem(
            basis,
            self.cells.classes(self.panel)[rows],
            self.panel.labels.ruler,
            replace(self.weights, topology=1.0),
            basis.coords(self.features[train]),
            self.panel.classes[train],
        )
        fits: dict[Target, CellFit] = {}
        for n_latent in dict.fromkeys(entry.n_latent for entry, _ in targets):
            mine = [target for target in targets if target[0].n_latent == n_latent]
            if self.weights.local:
                _ = base.neighbours  # found once, before the problems are copied
            problems = [base.reweighted(weights_of(target, self.weights)) for target in mine]
            options = {"seed": self.solver.seed, "n_starts": self.solver.n_starts, "max_iter": self.solver.max_iter}
            found = fit_cells(problems, n_latent=n_latent, snapshots=checkpoints, **options)
            fits |= dict(zip(mine, found, strict=True))
        return [fits[target] for target in targets]
