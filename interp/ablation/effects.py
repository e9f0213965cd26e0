"""What ablation is judged by: readers of the final residual stream, each scored with the donor as the unit."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from interp.errors import InputError
from interp.geometry import angles, ruler_agreement, trustworthiness
from interp.geometry.neighbourhoods import NEIGHBOURS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float
    from numpy.typing import NDArray
    from torch import Tensor

    from interp.ablation.frozen import FrozenReadouts
    from interp.scgpt.model import HookedScGPT
    from interp.scgpt.tokens import GeneTokens

    # Final residual stream of some cells and their tokens to what is kept of it, by name, (cell, ...) each.
    Read = Callable[[Tensor, GeneTokens], dict[str, Tensor]]

# Metrics of the effects that need no readout; higher is better in all, so the loss stands with a minus.
MASKED_LOSS = "neg_masked_loss"
TRUST, ORDER = "trustworthiness", "order"
# Logit of a class that takes no part: minus infinity, but with a gradient.
ABSENT = -1e9


class Effect(Protocol):
    """What ablation is judged by.

    Attributes
    ----------
    target
        What is read; empty where that is nothing in particular.
    masked
        Whether it looks at cells with masked values.
    donors
        Names of the donors that are scored.
    metrics
        Names; the first decides.
    differentiable
        The metric that is a weighted mean over cells of `objective`; None where there is none.
    """

    @property
    def target(self) -> str: ...  # noqa: D102

    @property
    def masked(self) -> bool: ...  # noqa: D102

    @property
    def donors(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def metrics(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def differentiable(self) -> str | None: ...  # noqa: D102

    def read(self, resid: Tensor, tokens: GeneTokens, *, every: bool = True) -> Tensor:
        """Take of some cells what the scores need, (cell, ...); what only chooses heads is left out unless `every`."""
        ...

    def scores(self, read: NDArray) -> dict[str, NDArray[np.float64]]:
        """Score what was read of all cells: metric to (slot, donor), slot 0 for scoring, 1 + f for choosing."""
        ...

    def objective(self, resid: Tensor, tokens: GeneTokens) -> Tensor:
        """Return what the gradient follows, higher for better, (cell,)."""
        ...

    def weights(self) -> NDArray[np.float64]:
        """Weight of each cell's objective in its donor's score, (donor, cell)."""
        ...


@dataclass(frozen=True, eq=False)
class MaskedValues:
    """The loss of predicting masked values, in units of the variance of a uniform bin (1: about that of a constant).

    Attributes
    ----------
    model
        Gives decoder and bins.
    truth
        Masked values of all cells; NaN where nothing is masked, (cell, token).
    cell_ids
        Names of the cells.
    donor
        Number of each cell's donor, (cell,).
    donors
        Their names.
    """

    model: HookedScGPT
    truth: Float[Tensor, "cell token"]
    cell_ids: tuple[str, ...]
    donor: NDArray[np.int64]
    donors: tuple[str, ...]
    target: str = ""
    masked: bool = True
    metrics: tuple[str, ...] = (MASKED_LOSS,)
    differentiable: str | None = MASKED_LOSS

    @cached_property
    def _place(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.cell_ids)}

    def objective(self, resid: Tensor, tokens: GeneTokens) -> Tensor:
        """Return minus the mean squared error over the cell's masked values, (cell,); NaN for a cell without any."""
        rows = torch.tensor([self._place[name] for name in tokens.cell_ids])
        truth = self.truth[rows, : resid.shape[1]].to(resid)
        hidden = ~truth.isnan()
        error = (self.model.decoder(resid[hidden]) - truth[hidden]) ** 2
        cell = torch.arange(len(resid), device=resid.device).repeat_interleave(hidden.sum(1))
        total = torch.zeros(len(resid), device=resid.device, dtype=error.dtype).index_add(0, cell, error)
        unit = (self.model.config.n_bins - 1) ** 2 / 12  # as in `interp.scgpt.objective.losses`
        return -total / hidden.sum(1) / unit

    def read(self, resid: Tensor, tokens: GeneTokens, *, every: bool = True) -> Tensor:
        """Return minus the loss, (cell,)."""
        return self.objective(resid, tokens)

    def scores(self, read: NDArray) -> dict[str, NDArray[np.float64]]:
        """Return minus the mean loss of each donor's cells, (1, donor)."""
        return {MASKED_LOSS: (self.weights() @ np.nan_to_num(read.astype(np.float64)))[None]}

    def weights(self) -> NDArray[np.float64]:
        """Cells with a masked value weigh alike in their donor, (donor, cell)."""
        counted = (~self.truth.isnan()).any(1).numpy()
        return _even(self.donor, len(self.donors), counted)


@dataclass(frozen=True, eq=False)
class Readout:
    """Frozen readouts of the `<cls>` row, which were fitted on donors that they do not score.

    Attributes
    ----------
    target
        What is read.
    frozen
        The readouts and the cells that they score.
    rows
        Places of these cells among all, (scored cell,).
    cell_ids
        Names of all cells.
    first
        The metric that decides; that of the probes when empty.
    """

    target: str
    frozen: FrozenReadouts
    rows: NDArray[np.int64]
    cell_ids: tuple[str, ...]
    first: str = ""
    masked: bool = False

    @cached_property
    def _place(self) -> dict[str, int]:
        return {self.cell_ids[row]: place for place, row in enumerate(self.rows)}

    @property
    def donors(self) -> tuple[str, ...]:
        """Names of the donors that are scored."""
        return self.frozen.donors

    @property
    def fold_of_donor(self) -> NDArray[np.int64]:
        """Fold of each donor, (donor,)."""
        return self.frozen.fold_of_donor

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics, the deciding one first."""
        return tuple(sorted(self.frozen.metrics, key=lambda name: name != self.first))

    @property
    def differentiable(self) -> str | None:
        """Log-odds of the true class, or slope of what is read on the truth."""
        return self.frozen.differentiable

    def read(self, resid: Tensor, tokens: GeneTokens, *, every: bool = True) -> Tensor:
        """Return logits or numbers, (cell, slot, output); NaN for a cell that is not scored."""
        place = np.array([self._place.get(name, -1) for name in tokens.cell_ids])
        known = np.flatnonzero(place >= 0)
        cls = resid[torch.from_numpy(known).to(resid.device), 0].detach().double().cpu().numpy()
        read = self.frozen.read(cls, place[known], every=every)
        found = np.full((len(resid), *read.shape[1:]), np.nan)
        found[known] = read
        return torch.from_numpy(found)

    def scores(self, read: NDArray) -> dict[str, NDArray[np.float64]]:
        """Score logits or numbers of all cells: metric to (slot, donor)."""
        return self.frozen.scores(np.ascontiguousarray(read[self.rows], dtype=np.float64))

    def objective(self, resid: Tensor, tokens: GeneTokens) -> Tensor:
        """Return the log-odds of the true class, or the cell's part in the slope; 0 for a cell that is not scored."""
        place = np.array([self._place.get(name, -1) for name in tokens.cell_ids])
        counted = (place >= 0) & self.frozen.known[place]
        own = place[counted]
        fold = self.frozen.fold[own]
        coef, intercept = (torch.from_numpy(table[fold, 0]).to(resid) for table in (self.frozen.coef, self._finite))
        read = torch.einsum("cd,ckd->ck", resid[torch.from_numpy(counted).to(resid.device), 0], coef) + intercept
        if self.frozen.classes:
            values = torch.from_numpy(self.frozen.values[own]).to(resid.device)[:, None]
            found = read.gather(1, values)[:, 0] - read.scatter(1, values, ABSENT).logsumexp(1)
        else:
            found = read[:, 0] * torch.from_numpy(np.nan_to_num(self.frozen.contrast[own])).to(read)
        cells = torch.from_numpy(np.flatnonzero(counted)).to(resid.device)
        return torch.zeros(len(resid), device=resid.device, dtype=found.dtype).index_add(0, cells, found)

    @cached_property
    def _finite(self) -> NDArray[np.float64]:
        """Intercepts with a large negative number in place of minus infinity, whose gradient would be NaN."""
        return np.maximum(self.frozen.intercept, ABSENT)

    def weights(self) -> NDArray[np.float64]:
        """Classes of a donor weigh alike, (donor, cell) over all cells."""
        found = np.zeros((len(self.donors), len(self.cell_ids)))
        found[:, self.rows] = self.frozen.weights()
        return found


@dataclass(frozen=True, eq=False)
class Gates:
    """Gate statistics of the `<cls>` rows: do neighbours stay neighbours, do distances of stages follow the ruler.

    Attributes
    ----------
    inputs
        What cells are neighbours by, such as log1p expression, (cell, feature).
    stage
        Stage of each cell, None where unknown, (cell,).
    ruler
        From stages to their distances, (stage, stage).
    donor
        Number of each cell's donor, (cell,).
    donors
        Their names.
    """

    inputs: NDArray
    stage: NDArray[np.object_]
    ruler: Callable[[Sequence[str]], NDArray]
    donor: NDArray[np.int64]
    donors: tuple[str, ...]
    target: str = ""
    masked: bool = False
    metrics: tuple[str, ...] = (ORDER, TRUST)
    differentiable: str | None = field(default=None)

    def read(self, resid: Tensor, tokens: GeneTokens, *, every: bool = True) -> Tensor:
        """Return the `<cls>` rows, (cell, d_model)."""
        return resid[:, 0].detach()

    def scores(self, read: NDArray) -> dict[str, NDArray[np.float64]]:
        """Return trustworthiness at k = 15 and the order's Spearman correlation inside each donor, (1, donor) each.

        NaN for a donor with 30 cells or fewer, or with fewer than four stages.
        """
        rows = [np.flatnonzero(self.donor == number) for number in range(len(self.donors))]
        trust = [trustworthiness(self.inputs[own], read[own], k=NEIGHBOURS).value for own in rows]
        return {ORDER: np.array([[self._order(read[own], own) for own in rows]]), TRUST: np.array([trust])}

    def _order(self, read: NDArray, rows: NDArray) -> float:
        stages = sorted({str(name) for name in self.stage[rows] if name is not None})
        if len(stages) < 2:
            return float("nan")
        centroids = np.array([read[self.stage[rows] == name].mean(axis=0) for name in stages], dtype=np.float64)
        found = ruler_agreement(angles(centroids, centroids), self.ruler(stages), stages=np.array(stages))
        return found["all"].spearman.value

    def objective(self, resid: Tensor, tokens: GeneTokens) -> Tensor:
        """Refuse: ranks have no gradient.

        Raises
        ------
        InputError
            Always.
        """
        msg = "order and trustworthiness are of ranks, which have no gradient; ablate exactly"
        raise InputError(msg)

    def weights(self) -> NDArray[np.float64]:
        """Cells of a donor weigh alike, (donor, cell)."""
        return _even(self.donor, len(self.donors), np.ones(len(self.donor), bool))


def _even(donor: NDArray, n_donors: int, counted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights that give each donor's mean over the cells that count, (donor, cell); NaN for a donor without any."""
    member = (donor == np.arange(n_donors)[:, None]) & counted
    sizes = member.sum(axis=1, keepdims=True)
    return np.where(sizes > 0, member / np.maximum(sizes, 1), np.nan)
