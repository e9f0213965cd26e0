"""Planted models: attention whose knowledge is known, through every control and the rules of the verdict.

No network: the logits of each head are planted, and softmax over a cell's tokens and the sums over cells are those of
`interp.capture`. One head of four may know something, so it has to be found first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from interp.biology import StageGraph
from interp.capture import AttentionSums
from interp.cells.anchors import Anchors
from interp.cells.panel import TARGET_SUM
from interp.errors import InputError
from interp.evidence.campaign import Campaign
from interp.evidence.controls import CONTROLS, FIXED, N_DRAWS_QUICK, RANDOM, UNTRAINED, gene_correlation
from interp.evidence.fits import Solver
from interp.evidence.headroom import ORACLE
from interp.evidence.inputs import NO_OPERATOR
from interp.evidence.order import ORDER, donor_values, order_endpoint
from interp.evidence.panel import Panel
from interp.evidence.selection import arm_of
from interp.evidence.verdict import ALPHA, verdict
from interp.extraction.crossfit import CrossFit
from interp.runs.seeds import stream
from interp.simulate.planted import PlantedCells, PlantedSizes, planted_cells
from interp.stats import donor_folds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interp.evidence.arms import Arm
    from interp.evidence.panel import FloatArray
    from interp.stats import Split

Knowledge = Literal["lineage", "nothing", "co-expression"]
KNOWLEDGE: tuple[Knowledge, ...] = ("lineage", "nothing", "co-expression")
LAYERS, HEADS = 2, 2
# The head that knows something, if any does.
KNOWING = (1, 0)
# Sd of the logits that stand for nothing: of every head, and of an untrained model, whose logits are small.
NOISE_SD, UNTRAINED_SD = 0.5, 0.1
# Width of an untrained model's embeddings.
UNTRAINED_WIDTH = 16
# How much more a gene in the highest bin is attended to, in logits, and the counts that reach it.
VALUE_LOGIT, TOP_BIN = 0.3, 5
N_SPLITS = 3


@dataclass(frozen=True, eq=False)
class Planting:
    """A planted model and the cells it is studied on.

    Attributes
    ----------
    cells
        The cells and their truth.
    knows
        What the knowing head carries.
    strength
        Logits per standard deviation, over pairs of genes, of what it carries.
    seed
        Seed of the model, the splits and the random controls.
    solver
        How adaptors are fitted.
    """

    cells: PlantedCells
    knows: Knowledge
    strength: float
    n_splits: int
    seed: int
    solver: Solver

    @cached_property
    def expression(self) -> FloatArray:
        """log1p counts per 10,000, (cell, gene)."""
        counts = self.cells.counts
        return np.log1p(counts * (TARGET_SUM / counts.sum(axis=1, keepdims=True)))

    @cached_property
    def anchors(self) -> Anchors:
        """Mean expression of each donor's cells of a stage."""
        return Anchors(self._means(self.expression), self._groups[1], self.cells.genes)

    @cached_property
    def panel(self) -> Panel:
        """The anchors, with donors in two folds."""
        splits = donor_folds(self.cells.donor, self.n_splits, self.seed)
        return Panel.from_anchors(self.anchors, StageGraph.hematopoiesis(), splits)

    @cached_property
    def campaign(self) -> Campaign:
        """The planted model against everything it is compared with."""
        sums = {split.id: self._sums(split, self._logits(split)) for split in self.panel.splits}
        return Campaign(self.panel, self._crossfit(sums), self.solver, self.seed)

    def tokens(self, split: Split) -> FloatArray:
        """Return the share of each anchor's cells in which a gene was a token, (anchor, gene)."""
        return self._means(self.cells.detected)

    def correlation(self, split: Split) -> FloatArray:
        """Return the correlation of genes over a split's training cells, (gene, gene)."""
        return gene_correlation(self.expression[np.isin(self.cells.donor, split.train_donors)])

    def untrained(self, draw: int) -> CrossFit:
        """Return a model of small random embeddings."""
        rng = stream(self.seed, "evidence.planting untrained", str(draw))
        shape = (LAYERS, HEADS, len(self.cells.genes), UNTRAINED_WIDTH)
        query, key = rng.standard_normal(shape), rng.standard_normal(shape)
        logits = UNTRAINED_SD * query @ key.swapaxes(-1, -2) / np.sqrt(UNTRAINED_WIDTH)
        return self._crossfit({split.id: self._sums(split, logits) for split in self.panel.splits})

    @cached_property
    def _groups(self) -> tuple[np.ndarray, pd.DataFrame]:
        cells = pd.DataFrame({"donor": self.cells.donor, "stage": self.cells.stage})
        group = cells.groupby(["donor", "stage"], sort=True).ngroup().to_numpy()
        obs = cells.iloc[np.unique(group, return_index=True)[1]].reset_index(drop=True)
        graph = StageGraph.hematopoiesis()
        branch = [graph.branch(stage) for stage in obs["stage"]]
        return group, obs.assign(tissue="marrow", study="planted", cell_type=obs["stage"], branch=branch)

    def _means(self, values: np.ndarray) -> FloatArray:
        group, obs = self._groups
        indicator = (group == np.arange(len(obs))[:, None]).astype(np.float64)
        return indicator @ values / indicator.sum(axis=1, keepdims=True)

    def _logits(self, fold: Split) -> FloatArray:
        """Logits of every head in the cells of a fold, (layer, head, gene, gene); none knows the cells of another."""
        n_genes = len(self.cells.genes)
        logits = NOISE_SD * stream(self.seed, "evidence.planting logits").standard_normal(
            (LAYERS, HEADS, n_genes, n_genes)
        )
        if self.knows == "lineage":
            logits[KNOWING] += self.strength * _unit(self.cells.lineage @ self.cells.lineage.T)
        elif self.knows == "co-expression":
            between = gene_correlation(self.expression[np.isin(self.cells.donor, fold.test_donors)])
            # Every gene correlates with itself; kept, that would outdo all else and make the head the identity.
            np.fill_diagonal(between, 0.0)
            logits[KNOWING] += self.strength * _unit(between)
        return logits

    def _sums(self, fold: Split, logits: FloatArray) -> AttentionSums:
        """Sum softmax attention over the cells of a fold's donors; a pattern factors, so no cell needs its own map."""
        rows = np.isin(self.cells.donor, fold.test_donors)
        detected = self.cells.detected[rows].astype(np.float64)
        bins = np.minimum(self.cells.counts[rows], TOP_BIN) / TOP_BIN
        keys = detected * np.exp(VALUE_LOGIT * bins)
        weight = np.exp(logits)
        totals = keys @ weight.swapaxes(-1, -2)  # (layer, head, cell, query)
        sums = weight * ((detected / totals).swapaxes(-1, -2) @ keys)
        uniform = (detected / detected.sum(axis=1, keepdims=True)).T @ detected
        count = (detected.T @ detected).astype(np.int64)
        return AttentionSums(sums, uniform, count, self.cells.genes, len(detected))

    def _crossfit(self, sums: dict[str, AttentionSums]) -> CrossFit:
        genes = {split.id: self.cells.genes for split in self.panel.splits}
        return CrossFit(sums, genes, self.anchors, kinds=("mean",))


def planted_run(
    knows: Knowledge,
    *,
    strength: float,
    sizes: PlantedSizes | None = None,
    n_splits: int = N_SPLITS,
    seed: int = 0,
    n_draws: int = N_DRAWS_QUICK,
    solver: Solver | None = None,
    stop_early: bool = True,
) -> dict[str, Any]:
    """Judge a planted model on the order endpoint.

    Parameters
    ----------
    knows
        What the model carries.
    strength
        As in `Planting`.
    sizes
        How large and how strong the cells' programs are.
    seed
        Seed of everything.
    n_draws
        Draws of each random control.
    solver
        How adaptors are fitted.
    stop_early
        Measure the random controls only when no fixed one has failed: a claim needs all of them, so nothing that could
        be claimed is lost.

    Returns
    -------
    dict
        knows, seed, status, reason, stopped (no random control was measured), value, no_operator, oracle, headroom,
        hardest, effect, lo, hi, p, floor, chosen (the operators), and the effect and p of every control that was
        measured.

    Raises
    ------
    InputError
        There is no such knowledge.
    """
    if knows not in KNOWLEDGE:
        msg = f"A planted model knows one of {', '.join(KNOWLEDGE)}, not {knows!r}."
        raise InputError(msg)
    planting = Planting(planted_cells(sizes, seed=seed), knows, strength, n_splits, seed, solver or Solver(seed=seed))
    campaign = planting.campaign
    choices, _ = campaign.scan(campaign.panel.splits)
    table = _order(campaign, [arm_of(campaign.candidates, choices)])
    oracle = campaign.oracle(pd.DataFrame(planting.cells.lineage, index=list(planting.cells.genes)))
    oracle = oracle[oracle["endpoint"] == ORDER]
    found: dict[str, Any] = {}
    for names in (FIXED, (*RANDOM, UNTRAINED)):
        made, _ = campaign.controls(
            correlation=planting.correlation, tokens=planting.tokens, n_draws=n_draws, untrained=planting.untrained,
            n_untrained=n_draws, names=names,
        )  # fmt: skip
        table = pd.concat([table, _order(campaign, made)], ignore_index=True)
        means = table.groupby("control")["value"].mean()
        reached = float(oracle["value"].mean())
        room = {ORDER: reached - means[NO_OPERATOR]}
        found = verdict(table, nulls=(), expected=CONTROLS, headroom=room, seed=seed)["endpoints"][ORDER]
        if stop_early and found["model_specific"]["p"] >= ALPHA:
            break
    about = {"knows": knows, "seed": seed, "no_operator": means[NO_OPERATOR], ORACLE: reached}
    return about | _row(found, [choice.name for choice in choices.values()])


def _row(found: dict[str, Any], chosen: Sequence[str]) -> dict[str, Any]:
    specific = found["model_specific"]
    row = {"status": specific["status"], "reason": specific["reason"], "stopped": bool(specific["missing"])}
    row |= {name: found[name] for name in ("value", "headroom")}
    row |= {name: specific[name] for name in ("hardest", "effect", "lo", "hi", "p", "floor")}
    row |= {"chosen": " ".join(chosen)}
    for name, against in specific["against"].items():
        row |= {f"{name}: effect": against["effect"], f"{name}: p": against["p"]}
    return row


def _order(campaign: Campaign, arms: list[Arm]) -> pd.DataFrame:
    return donor_values(order_endpoint(campaign.panel, arms, campaign.solver))


def _unit(matrix: FloatArray) -> FloatArray:
    """Scale a similarity of genes (gene, gene) to a standard deviation of one over the pairs that have any."""
    pairs = ~np.eye(len(matrix), dtype=bool) & (matrix != 0)
    return matrix / matrix[pairs].std()
