"""All arms of one run, each through the same choice, tuning, fit, splits and endpoints."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from interp.evidence.arms import CHOSEN, Arm, Candidates
from interp.evidence.controls import (
    COEXPRESSION,
    CONTROLS,
    COOCCURRENCE,
    HEAD_NULL,
    MATCHED,
    UNTRAINED,
    coexpression,
    cooccurrence,
    randomised,
)
from interp.evidence.endpoints import secondary_endpoints
from interp.evidence.headroom import oracle
from interp.evidence.holdouts import PAIRS
from interp.evidence.inputs import (
    BAG,
    COMPONENTS,
    NO_OPERATOR,
    PROJECTION,
    VARIABLE,
    bag_of_tokens,
    no_operator,
    principal_components,
    random_projection,
    variable_genes,
)
from interp.evidence.order import donor_values, order_endpoint
from interp.evidence.selection import NO_SCORES, Screening, choose, screen, screening_scores
from interp.runs.progress import progress
from interp.runs.workers import each, processors_for

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from interp.evidence.arms import Family, Settings
    from interp.evidence.fits import Solver
    from interp.evidence.panel import FloatArray, Panel
    from interp.evidence.selection import Choice
    from interp.extraction.crossfit import CrossFit
    from interp.stats import Split


@dataclass(frozen=True, eq=False)
class Settled:
    """What one split chose for one control: the settings, the features of all anchors, and every candidate's scores."""

    name: str
    family: Family
    draw: int
    split: str
    settings: Settings
    features: FloatArray
    scores: pd.DataFrame


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

    def scan(self, splits: Sequence[Split]) -> tuple[dict[str, Choice], pd.DataFrame]:
        """Choose and tune among the model's operators in some splits.

        Parameters
        ----------
        splits
            Splits of the panel, and its ``whole``.

        Returns
        -------
        choices, scores
            Split id to `Choice`; and every candidate's score, selecting and held out, as `screening_scores` tabulates.
        """
        own = self.candidates
        found = each(lambda split: self._choose(own.at(split), split, held_out=True), splits)
        chosen = {split.id: choice for split, (choice, _) in zip(splits, found, strict=True)}
        screened = {split.id: screening for split, (_, screening) in zip(splits, found, strict=True)}
        return chosen, screening_scores(own, screened)

    def controls(
        self,
        *,
        correlation: Callable[[Split], FloatArray],
        tokens: Callable[[Split], FloatArray],
        n_draws: int,
        untrained: Callable[[int], CrossFit],
        n_untrained: int,
        names: Collection[str] = CONTROLS,
    ) -> tuple[list[Arm], pd.DataFrame]:
        """Make controls, chosen and tuned as the model's own operators were.

        Parameters
        ----------
        correlation
            From a split to the correlation of genes over its training cells, (gene, gene).
        tokens
            From a split to the share of each anchor's cells in which a gene was a token, (anchor, gene).
        n_draws
            Draws of each random control.
        untrained
            From a draw to the operators of an untrained model.
        n_untrained
            Number of untrained models.
        names
            Which of `CONTROLS` to make.

        Returns
        -------
        arms, scores
            The controls; and the scores of every candidate of `HEAD_NULL`, which stand in for the heads of equal names
            that know nothing, as `screening_scores` tabulates.
        """
        makers = self._makers(correlation, tokens, n_draws)
        settled = self._settle([make for name, make in makers if name in names], "controls")

        def model(draw: int) -> list[Settled]:
            source = untrained(draw)
            control = Candidates(UNTRAINED, source.operators, source.expression, family="control", draw=draw)
            return [self._settled(control, split) for split in self.panel.splits]

        n_models = n_untrained if UNTRAINED in names else 0
        # An untrained model's sums weigh as much as the model's own.
        with progress(total=n_models, description="untrained models", unit="model") as bar:
            settled += each(model, range(n_models), n_workers=processors_for(self.source.nbytes), bar=bar)
        scores = [found.scores for splits in settled for found in splits if found.name == HEAD_NULL]
        table = pd.concat(scores, ignore_index=True) if scores else NO_SCORES
        return [_arm(found) for found in settled], table

    def oracle(self, loadings: pd.DataFrame) -> pd.DataFrame:
        """Measure the true programs (gene, program) of a simulated panel as if they were an operator."""
        control = oracle(self.candidates, loadings, lambda split: self.source.genes[split.id])
        return self.endpoints([_arm(found) for found in self._settle([lambda: control], "true programs")])[0]

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

    def _makers(
        self, correlation: Callable[[Split], FloatArray], tokens: Callable[[Split], FloatArray], n_draws: int
    ) -> list[tuple[str, Callable[[], Candidates]]]:
        """Name every control but the untrained model, and say how it is made."""
        own, panel, seed = self.candidates, self.panel, self.seed

        def genes(split: Split) -> Sequence[str]:
            return self.source.genes[split.id]

        makers: list[tuple[str, Callable[[], Candidates]]] = [
            (NO_OPERATOR, partial(no_operator, own)),
            (COMPONENTS, partial(principal_components, own, panel)),
            (VARIABLE, partial(variable_genes, own, panel)),
            (BAG, partial(bag_of_tokens, own, tokens)),
            (COEXPRESSION, partial(coexpression, own, correlation, genes)),
            (COOCCURRENCE, partial(cooccurrence, own, self.source.counts, self.source.uniform, genes)),
        ]
        makers += [(PROJECTION, partial(random_projection, own, draw, seed=seed)) for draw in range(n_draws)]
        return makers + [
            (name, partial(randomised, own, name, draw, seed=seed)) for name in MATCHED for draw in range(n_draws)
        ]

    def _choose(self, candidates: Candidates, split: Split, *, held_out: bool) -> tuple[Choice, Screening]:
        how = (candidates, self.panel, split, self.solver)
        names = tuple(candidates.names(split))
        found = Screening(names, (float("nan"),))  # one candidate alone is tuned only
        if len(names) > 1:
            found = screen(*how, seed=self.seed, held_out=held_out)
        return choose(*how, seed=self.seed, screening=found), found

    def _settle(self, makers: Sequence[Callable[[], Candidates]], description: str) -> list[list[Settled]]:
        """Choose for each of several controls, in every split.

        Split by split, so that the model's training sums are added up once; candidates are made when their turn comes,
        as random ones keep a matrix.
        """
        work = [(make, split) for split in self.panel.splits for make in makers]
        with progress(total=len(work), description=description, unit="choice") as bar:
            found = each(lambda item: self._settled(item[0](), item[1]), work, bar=bar)
        return [found[i :: len(makers)] for i in range(len(makers))]

    def _settled(self, candidates: Candidates, split: Split) -> Settled:
        candidates = candidates.at(split)
        choice, screening = self._choose(candidates, split, held_out=candidates.name == HEAD_NULL)
        scores = screening_scores(candidates, {split.id: screening})
        about = (candidates.name, candidates.family, candidates.draw)
        return Settled(*about, split.id, choice.settings, candidates.features(split, choice.index), scores)


def _arm(settled: Sequence[Settled]) -> Arm:
    """Make the arm that has in each split the features and settings chosen there."""
    kept = {found.split: found.features for found in settled}
    settings = {found.split: found.settings for found in settled}
    first = settled[0]
    return Arm(first.name, lambda split: kept[split.id], first.family, first.draw, settings=settings)
