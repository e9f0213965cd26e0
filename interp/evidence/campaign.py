"""All arms of one run, each through the same choice, tuning, fit, splits and endpoints."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pandas as pd

from interp.evidence.arms import CHOSEN, Arm, Candidates
from interp.evidence.controls import RANDOM, UNTRAINED, coexpression, cooccurrence, no_operator, randomised
from interp.evidence.endpoints import secondary_endpoints
from interp.evidence.headroom import oracle
from interp.evidence.holdouts import PAIRS
from interp.evidence.order import donor_values, order_endpoint
from interp.evidence.selection import arm_of, choices
from interp.runs.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from interp.evidence.fits import Solver
    from interp.evidence.panel import FloatArray, Panel
    from interp.evidence.selection import Choice
    from interp.extraction.crossfit import CrossFit
    from interp.stats import Split


@dataclass(frozen=True, eq=False)
class Campaign:
    """The model's operators and everything they are compared with.

    Attributes
    ----------
    panel
        The anchors.
    source
        The model's operators, per split.
    solver
        How adaptors are fitted.
    seed
        Seed of the inner hold-outs and of the random controls.
    """

    panel: Panel
    source: CrossFit
    solver: Solver
    seed: int = 0

    @property
    def candidates(self) -> Candidates:
        """The model's operators, among which each split chooses."""
        return Candidates(CHOSEN, self.source.operators, self.source.expression)

    def choose(self, candidates: Candidates, splits: Sequence[Split] | None = None) -> dict[str, Choice]:
        """Choose and tune among candidates in every split."""
        splits = self.panel.splits if splits is None else splits
        return choices(candidates, self.panel, splits, self.solver, seed=self.seed)

    def controls(
        self,
        *,
        correlation: Callable[[Split], FloatArray],
        n_draws: int,
        untrained: Callable[[int], CrossFit],
        n_untrained: int,
    ) -> list[Arm]:
        """Make every control, chosen and tuned as the model's own operators were.

        Parameters
        ----------
        correlation
            From a split to the correlation of genes over its training cells, (gene, gene).
        n_draws
            Draws of each random control.
        untrained
            From a draw to the operators of an untrained model.
        n_untrained
            Number of untrained models.

        Returns
        -------
        list of Arm
        """

        def genes(split: Split) -> Sequence[str]:
            return self.source.genes[split.id]

        own = self.candidates
        fixed = (
            no_operator(own),
            coexpression(own, correlation, genes),
            cooccurrence(own, self.source.counts, genes),
        )
        arms = [self._settled(control) for control in fixed]
        drawn = [(name, draw) for name in RANDOM for draw in range(n_draws)]
        for name, draw in progress(drawn, description="random controls", unit="draw"):
            arms.append(self._settled(randomised(own, name, draw, seed=self.seed)))
        for draw in progress(range(n_untrained), description="untrained models", unit="model"):
            source = untrained(draw)
            control = Candidates(UNTRAINED, source.operators, source.expression, family="control", draw=draw)
            arms.append(self._settled(control))
        return arms

    def oracle(self, loadings: pd.DataFrame) -> pd.DataFrame:
        """Measure the true programs (gene, program) of a simulated panel as if they were an operator."""
        arm = self._settled(oracle(self.candidates, loadings, lambda split: self.source.genes[split.id]))
        return self.endpoints([arm])[0]

    def endpoints(self, arms: Sequence[Arm]) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Measure arms.

        Parameters
        ----------
        arms
            What to measure.

        Returns
        -------
        values, order
            One number per endpoint, arm, draw and donor (columns of `controls.csv`); and the order endpoint in full.
        """
        order = order_endpoint(self.panel, arms, self.solver)
        # With one study the pairs within a study are all pairs, and would count as a second endpoint.
        kinds = PAIRS if len(set(self.panel.studies)) > 1 else PAIRS[:1]
        tables = [donor_values(order, pairs) for pairs in kinds]
        return pd.concat([*tables, secondary_endpoints(self.panel, arms, self.solver)], ignore_index=True), order

    def _settled(self, candidates: Candidates) -> Arm:
        """Choose in every split and keep only the features of what was chosen."""
        arm = arm_of(candidates, self.choose(candidates))
        kept = {split.id: features for split, features in self._features(arm)}
        return replace(arm, features=lambda split: kept[split.id])

    def _features(self, arm: Arm) -> Iterator[tuple[Split, FloatArray]]:
        for split in self.panel.splits:
            yield split, arm.features(split)
