"""Ablation of factors under fixed probes: adaptors and reference anchors stay as fitted, test donors lose factors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from interp.errors import InputError
from interp.evidence.arms import Candidates, as_float
from interp.evidence.fixed_probes import FixedProbes, endpoint_names
from interp.evidence.order import ORDER
from interp.evidence.selection import choose
from interp.extraction.factors import factors_of, matched
from interp.runs.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from interp.evidence.campaign import Campaign
    from interp.evidence.fixed_probes import Probe
    from interp.evidence.panel import FloatArray
    from interp.extraction.factors import Factors
    from interp.extraction.operator import Operator
    from interp.stats import Split

# Mean over the endpoints, order within studies left out as it is part of order.
OVERALL = "mean over endpoints"


@dataclass(frozen=True, eq=False)
class FactorProbes:
    """Fixed probes of one split, and what each factor writes into them.

    To ablate a factor is to set its activation x . read to the mean over the probe's training anchors, in the test
    donors' anchors alone: what it says about a cell is gone, its constant part stays.

    Attributes
    ----------
    probes
        Adaptors fitted on all factors.
    factors
        Of the split's operator; the first ``n_factors`` in the order of the reference.
    expression
        Of all anchors on the split's genes, (anchor, gene).
    n_factors
        Factors that can be ablated; further ones always stay.
    """

    probes: FixedProbes
    factors: Factors
    expression: FloatArray
    n_factors: int

    def values(self, kept: FloatArray, rotation: FloatArray | None = None) -> FloatArray:
        """Measure every endpoint with some factors kept.

        Parameters
        ----------
        kept
            1 where a factor stays, 0 where it is ablated, (variant, factor).
        rotation
            Orthogonal (factor, factor): ablate in the rotated basis of the same operator.

        Returns
        -------
        numpy.ndarray
            (variant, endpoint, donor), donors as in the split.
        """
        passed = [self._projection(keep, rotation) for keep in kept]
        return np.array([self.probes.values(partial(self._latents, projection)) for projection in passed])

    def _projection(self, keep: FloatArray, rotation: FloatArray | None) -> FloatArray:
        """Matrix (all factors, all factors) that activations pass through."""
        turn = np.eye(self.n_factors) if rotation is None else rotation
        projection = np.eye(len(self.factors))
        projection[: self.n_factors, : self.n_factors] = (turn * keep) @ turn.T
        return projection

    def _latents(self, projection: FloatArray, probe: Probe) -> FloatArray:
        activations, writes, base = self._parts[probe]
        return activations @ (projection @ writes) + base

    @cached_property
    def _parts(self) -> dict[Probe, tuple[FloatArray, FloatArray, FloatArray]]:
        """Per probe: activations less their training mean, what each factor writes, latents of the training mean."""
        activations = self.expression @ self.factors.read
        parts = {}
        for probe in self.probes.probes:
            loadings, offset = probe.fit.as_map()
            mean = activations[probe.train].mean(axis=0)
            writes = self.factors.write.T @ loadings
            parts[probe] = (activations[probe.asked] - mean, writes, mean @ writes + offset)
        return parts


@dataclass(frozen=True, eq=False)
class Ablation:
    """The factors of one operator, ready to be ablated in every split.

    Attributes
    ----------
    factors
        Reference factors, of the operator on all donors (of the first split where there is none); they give the
        numbers, and genes to read.
    likeness
        How alike each split's factor is to the reference's, (split, factor); see `matched`.
    parts
        Probes of each split.
    endpoints, donors
        Names along the axes of the values.
    """

    factors: Factors
    likeness: FloatArray
    parts: tuple[FactorProbes, ...]
    endpoints: tuple[str, ...]
    donors: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of factors."""
        return len(self.factors)

    def values(
        self, kept: FloatArray | Callable[[Split], FloatArray], rotation: FloatArray | None = None
    ) -> FloatArray:
        """Measure variants in every donor.

        Parameters
        ----------
        kept
            (variant, factor), or a function that gives it for each split.
        rotation
            As in `FactorProbes.values`; the same in every split.

        Returns
        -------
        numpy.ndarray
            (variant, endpoint, donor), mean over the splits that test a donor; NaN where not computable.
        """
        place = {donor: i for i, donor in enumerate(self.donors)}
        by_split = []
        for part in self.parts:
            values = part.values(kept(part.probes.split) if callable(kept) else kept, rotation)
            full = np.full((*values.shape[:2], len(self.donors)), np.nan)
            full[:, :, [place[donor] for donor in part.probes.split.test_donors]] = values
            by_split.append(full)
        return mean_of_known(np.array(by_split), axis=0)

    def drops(self, rotation: FloatArray | None = None) -> FloatArray:
        """What is lost in each endpoint and donor when one factor is ablated, (factor, endpoint, donor)."""
        n = len(self)
        values = self.values(np.vstack([np.ones((1, n)), 1.0 - np.eye(n)]), rotation)
        return values[:1] - values[1:]

    def overall(self, values: FloatArray) -> FloatArray:
        """Mean over the endpoints that a donor has, (variant, donor), of values (variant, endpoint, donor)."""
        counted = [i for i, name in enumerate(self.endpoints) if not name.startswith(f"{ORDER},")]
        return mean_of_known(values[:, counted], axis=1)


def ablation(campaign: Campaign, surrogate_of: Callable[[Operator], Operator], name: str) -> Ablation:
    """Fit the probes of one operator's surrogate in every split.

    Parameters
    ----------
    campaign
        The panel, the model's operators per split, and how adaptors are fitted.
    surrogate_of
        Makes the surrogate whose factors are ablated, such as ``lambda operator: truncated(operator, 64)``.
    name
        Name of the operator; each split's own is made of its training donors, its factors brought into the order of
        the reference's.

    Returns
    -------
    Ablation
        Settings are tuned on the surrogate in every split.

    Raises
    ------
    InputError
        The model has no such operator, or the panel has no splits.
    """
    panel, source = campaign.panel, campaign.source
    if not panel.splits:
        msg = "Factors are ablated in donors that the probes were not fitted on; a panel of one donor has none."
        raise InputError(msg)
    reference = panel.whole if panel.whole.id in source.genes else panel.splits[0]
    splits = list(dict.fromkeys([reference, *panel.splits]))
    made = {split.id: surrogate_of(_named(source.operators(split), name)) for split in splits}
    found = {split: factors_of(operator) for split, operator in made.items()}
    n = min(map(len, found.values()))
    wanted = found[reference.id].take(np.arange(n))
    parts, likeness = [], []
    for split in progress(panel.splits, description="fixed probes", unit="split"):
        own, alike = matched(found[split.id], wanted)
        x = as_float(source.expression(split))
        alone = Candidates(name, lambda _, made=made[split.id]: [made], lambda _, x=x: x)  # type: ignore[misc]
        settings = choose(alone, panel, split, campaign.solver, seed=campaign.seed).settings
        probes = FixedProbes.fit(panel, split, alone.features(split, 0), settings, campaign.solver)
        parts.append(FactorProbes(probes, own, x, n))
        likeness.append(alike[:n])
    donors = tuple(sorted({donor for split in panel.splits for donor in split.test_donors}))
    return Ablation(wanted, np.array(likeness), tuple(parts), endpoint_names(panel), donors)


def mean_of_known(values: FloatArray, axis: int) -> FloatArray:
    """Mean along an axis of what is a number; NaN, without a warning, where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _named(operators: Sequence[Operator], name: str) -> Operator:
    for operator in operators:
        if operator.name == name:
            return operator
    msg = f"The model has no operator {name!r}; it has {', '.join(sorted(o.name for o in operators)[:8])}, ..."
    raise InputError(msg)
