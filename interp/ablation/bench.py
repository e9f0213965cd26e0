"""What one ablation works on: cells drawn evenly, their tokens, the effects that judge, and measuring sets of heads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from interp.ablation.exact import exact_readings
from interp.ablation.head_sets import check_heads
from interp.ablation.readings import ALL_ROWS, CLS_ROWS
from interp.ablation.replacements import Mean, Replacement, Zero
from interp.ablation.resample import Resample
from interp.ablation.table import ROUNDING
from interp.errors import InputError
from interp.probing.metrics import AUROC, SPEARMAN
from interp.runs.progress import progress
from interp.stats import sign_flip

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor

    from interp.ablation.effects import Effect
    from interp.ablation.head_sets import HeadSet
    from interp.ablation.settings import AblationSettings
    from interp.scgpt.model import HookedScGPT
    from interp.scgpt.tokens import GeneTokens

MEAN, TYPE_MEAN, ZERO = "mean", "type mean", "zero"
RESAMPLE, RESAMPLE_SAME, RESAMPLE_OTHER = "resample", "resample same type", "resample other type"
# Which metric says whether a readout reads anything at all, and what it is when it reads nothing.
CHANCE = {AUROC: 0.5, SPEARMAN: 0.0}
# What z of a head can become; a type is a cell type.
REPLACEMENTS = (MEAN, TYPE_MEAN, ZERO, RESAMPLE, RESAMPLE_SAME, RESAMPLE_OTHER)


@dataclass(frozen=True, eq=False)
class Drops:
    """By how much sets of heads are missed, under one metric of one effect.

    Attributes
    ----------
    metric, target
        What is scored.
    donors
        Names.
    fold
        Fold of each donor, (donor,); all 0 where nothing is chosen.
    base
        Score of the intact model, (donor,).
    drop
        Base minus score without the heads, (set, donor).
    select
        The same for choosing heads for a fold by donors outside it, (set, fold, donor); NaN inside it. No folds where
        that was not asked for or nothing is fitted.
    base_p
        p that the intact model's readout reads its target at all, by `CHANCE` over donors; 0 where nothing is fitted.
    """

    metric: str
    target: str
    donors: tuple[str, ...]
    fold: NDArray[np.int64]
    base: NDArray[np.float64]
    drop: NDArray[np.float64]
    select: NDArray[np.float64]
    base_p: float = 0.0


@dataclass(frozen=True, eq=False, repr=False)
class Bench:
    """Model, cells and effects of one ablation.

    Attributes
    ----------
    model
        The model, which is never changed.
    obs
        Labels of the cells that are run.
    tokens, masked
        Their tokens, and the same with masked values (None where no effect looks at these).
    effects
        What judges.
    left_out
        Of each target: target, what, reason, n_cells.
    reasons
        Target to why it cannot be read, for those that cannot.
    donor
        Column of obs with the donor.
    settings, seed
        As in `interp.ablate_heads`.
    """

    model: HookedScGPT
    obs: pd.DataFrame
    tokens: GeneTokens
    masked: GeneTokens | None
    effects: tuple[Effect, ...]
    left_out: pd.DataFrame
    reasons: Mapping[str, str]
    donor: str
    settings: AblationSettings
    seed: int
    _replacements: dict[tuple[str, bool], Replacement] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Say how much is judged by what."""
        words = ", ".join(f"{effect.target or 'any target'}: {effect.metrics[0]}" for effect in self.effects)
        return f"Bench({len(self.tokens):,} cells, {self.obs[self.donor].nunique()} donors; {words})"

    @property
    def heads(self) -> list[HeadSet]:
        """Every head alone, in the order of the model."""
        config = self.model.config
        return [((layer, head),) for layer in range(config.n_layers) for head in range(config.n_heads)]

    def effect(self, metric: str | None, target: str | None) -> Effect:
        """Return the effect that has a metric, or that decides where none is named: the first readout, else the first.

        Raises
        ------
        InputError
            There is none.
        """
        found = [
            effect
            for effect in self.effects
            if (metric is None or metric in effect.metrics) and (target is None or effect.target == target)
        ]
        if not found:
            there = "; ".join(f"{effect.target or '(none)'}: {', '.join(effect.metrics)}" for effect in self.effects)
            msg = f"nothing is judged by metric {metric!r} of target {target!r}; there are {there or 'no effects'}"
            raise InputError(msg)
        return next((effect for effect in found if effect.target), found[0])

    def given(self, replacement: str | Replacement, *, masked: bool) -> Replacement:
        """Return a replacement for the one or the other kind of tokens; those named are made once."""
        if not isinstance(replacement, str):
            return replacement
        key = replacement, masked
        if key not in self._replacements:
            self._replacements[key] = self._made(replacement, self.cells(masked=masked))
        return self._replacements[key]

    def _made(self, name: str, tokens: GeneTokens) -> Replacement:
        check_replacement(name)
        column = self.settings.probes.cell_type
        if name in (TYPE_MEAN, RESAMPLE_SAME, RESAMPLE_OTHER) and column not in self.obs:
            msg = f"{name!r} goes by cell types, and the cells have no column {column!r}; name it, or take 'mean'"
            raise InputError(msg)
        if name == ZERO:
            return Zero()
        groups = self.obs[column].astype(str).to_numpy() if column in self.obs else None
        if name in (MEAN, TYPE_MEAN):
            return Mean.of(self.model, tokens, groups if name == TYPE_MEAN else None)
        groups = None if name == RESAMPLE else groups
        donors = self.obs[self.donor].astype(str).to_numpy()
        same = name != RESAMPLE_OTHER
        return Resample.of(self.model, tokens, donors=donors, groups=groups, same=same, seed=self.seed)

    def measure(
        self,
        sets: Sequence[Iterable[tuple[int, int]]],
        replacement: str | Replacement = MEAN,
        *,
        effects: Sequence[Effect] | None = None,
        choose: bool = False,
        description: str = "ablate",
    ) -> list[Drops]:
        """Measure by how much sets of heads are missed, exactly.

        Parameters
        ----------
        sets
            Sets of (layer, head).
        replacement
            One of `REPLACEMENTS`, or an object of `interp.ablation`.
        effects
            Which of the bench's effects; all when None.
        choose
            Whether to score also for choosing heads.
        description
            Of the progress bar.

        Returns
        -------
        list of Drops
            Each metric of each effect.

        Raises
        ------
        InputError
            A head does not exist, or cells lack what the replacement needs.
        """
        sets = [check_heads(self.model.config, heads) for heads in sets]
        chosen = self.effects if effects is None else tuple(effects)
        kinds = [kind for kind in (False, True) if any(effect.masked == kind for effect in chosen)]
        total = len(sets) * sum(len(self.cells(masked=kind)) for kind in kinds)
        found: dict[int, list[Drops]] = {}
        with progress(total=total, description=description, unit="cell") as bar:
            for kind in kinds:
                own = {place: effect for place, effect in enumerate(chosen) if effect.masked == kind}
                tokens = self.cells(masked=kind)
                ready = self.given(replacement, masked=kind)
                readings = exact_readings(
                    self.model, tokens, sets, ready, Reader(own, every=choose), progress=bar.update
                )
                for place, effect in own.items():
                    read = readings.base[str(place)], readings.ablated[str(place)]
                    found[place] = _drops(effect, *read, seed=self.seed)
        return [drops for place in sorted(found) for drops in found[place]]

    def cells(self, *, masked: bool) -> GeneTokens:
        """Return the tokens, plain or masked.

        Raises
        ------
        InputError
            There are none with masked values.
        """
        tokens = self.masked if masked else self.tokens
        if tokens is None:
            msg = "these cells were not given masked values; ask for the effect 'masked_loss' from the start"
            raise InputError(msg)
        return tokens


class Reader:
    """Several effects as one reader of `exact_readings`, named by their places.

    Parameters
    ----------
    effects
        By place.
    every
        Whether to read also what only chooses heads.
    """

    def __init__(self, effects: Mapping[int, Effect], *, every: bool) -> None:
        self.effects, self.every = effects, every
        self.rows = ALL_ROWS if any(effect.masked for effect in effects.values()) else CLS_ROWS

    def __call__(self, resid: Tensor, tokens: GeneTokens) -> dict[str, Tensor]:
        """Read some cells."""
        return {str(place): effect.read(resid, tokens, every=self.every) for place, effect in self.effects.items()}


def check_replacement(name: str) -> None:
    """Refuse an unknown name of a replacement.

    Raises
    ------
    InputError
        It is none of `REPLACEMENTS`.
    """
    if name not in REPLACEMENTS:
        msg = f"there is no replacement {name!r}; expected one of {', '.join(map(repr, REPLACEMENTS))}"
        raise InputError(msg)


def _drops(effect: Effect, base: NDArray, ablated: NDArray, *, seed: int) -> list[Drops]:
    intact = effect.scores(base)
    without = [effect.scores(read) for read in ablated]
    fold = getattr(effect, "fold_of_donor", np.zeros(len(effect.donors), np.int64))
    found, base_p = [], _base_p(intact, seed)
    for metric in effect.metrics:
        scores = np.array([one[metric] for one in without]).reshape(len(without), *intact[metric].shape)
        drop = intact[metric] - scores  # (set, slot, donor)
        drop[np.abs(drop) < ROUNDING] = 0.0
        values = intact[metric][0], drop[:, 0], drop[:, 1:]
        found.append(Drops(metric, effect.target, effect.donors, fold, *values, base_p))
    return found


def _base_p(intact: Mapping[str, NDArray], seed: int) -> float:
    for metric, chance in CHANCE.items():
        if metric in intact:
            known = intact[metric][0][np.isfinite(intact[metric][0])]
            return sign_flip(known - chance, seed=seed).p if len(known) else float("nan")
    return 0.0
