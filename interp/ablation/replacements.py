"""What an activation is replaced with: nothing, or the mean over cells."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from interp.ablation.head_sets import z_name
from interp.ablation.labels import cell_rows, check_labels
from interp.ablation.passes import batches, watch
from interp.capture.forward import check_model
from interp.errors import InputError
from interp.scgpt.hooked import WITH_QUERIES, WITHOUT_TOKENS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float
    from torch import Tensor

    from interp.scgpt.model import HookedScGPT
    from interp.scgpt.tokens import GeneTokens


class Replacement(Protocol):
    """Values that take the place of activations."""

    def values(self, model: HookedScGPT, tokens: GeneTokens, names: Sequence[str]) -> dict[str, Tensor]:
        """Return the values of some cells.

        Parameters
        ----------
        model
            The model.
        tokens
            Cells of one batch.
        names
            Hook points.

        Returns
        -------
        dict of Tensor
            By hook point, what broadcasts to the activation (cell, token, ...), without gradients.
        """


def check_sites(model: HookedScGPT, names: Sequence[str]) -> list[str]:
    """Return hook points that have a row for every token.

    Raises
    ------
    InputError
        One is unknown, or has none, as patterns and whole cells have.
    """
    found = [model.select(name)[0] for name in names if "*" not in name]
    if len(found) < len(names):
        msg = f"{next(name for name in names if '*' in name)!r} is a pattern; name one hook point at a time"
        raise InputError(msg)
    for name in found:
        if name.startswith(WITHOUT_TOKENS) or name.endswith(WITH_QUERIES):
            msg = f"{name} has no row for every token, so there is nothing to replace; take z, a layer or an MLP"
            raise InputError(msg)
    return found


@dataclass(frozen=True)
class Zero:
    """Nothing: every entry becomes 0, which the model may never have seen."""

    def values(self, model: HookedScGPT, tokens: GeneTokens, names: Sequence[str]) -> dict[str, Tensor]:
        """Return one 0 for every hook point."""
        return {name: torch.zeros((), device=model.device) for name in names}


@dataclass(frozen=True, eq=False, repr=False)
class Mean:
    """The mean over cells: of their `<cls>` rows for `<cls>`, and of their genes for every gene.

    Each cell counts the same, whatever its number of genes. Made by `Mean.of`.

    Attributes
    ----------
    means
        By hook point (group, 2, ...): the `<cls>` row, then genes.
    names
        Of the groups; one without a name where there are none.
    group_of
        Group of each cell by its name; None where all cells have the same mean.
    """

    means: Mapping[str, Float[Tensor, "group 2 ..."]]
    names: tuple[str, ...]
    group_of: Mapping[str, int] | None

    def __repr__(self) -> str:
        """Say of what the means are."""
        groups = "all cells" if self.group_of is None else f"{len(self.names)} groups"
        return f"Mean({len(self.means)} sites, {groups})"

    @classmethod
    def of(
        cls,
        model: HookedScGPT,
        tokens: GeneTokens,
        groups: Sequence[str] | np.ndarray | None = None,
        *,
        sites: Sequence[str] | None = None,
    ) -> Mean:
        """Take the means of some cells.

        Parameters
        ----------
        model
            The model.
        tokens
            The cells.
        groups
            Label of each cell, such as its type: a cell then gets the mean of its own group.
        sites
            Hook points; `hook_z` of every layer when None.

        Raises
        ------
        InputError
            There is no cell, or none with a gene in a group; labels do not fit; a hook point has no rows.
        """
        check_model(model)
        if not len(tokens):
            msg = "the mean of no cells was asked for; give the tokens of at least one"
            raise InputError(msg)
        labels = np.zeros(len(tokens), np.int64)
        names: tuple[str, ...] = ("",)
        if groups is not None:
            given = check_labels(groups, tokens, "groups")
            found, labels = np.unique(given, return_inverse=True)
            names = tuple(map(str, found))
        with_genes = tokens.lengths > 1
        bare = set(range(len(names))) - set(labels[with_genes].tolist())
        if bare:
            where = f" in the group {names[min(bare)]!r}" if groups is not None else ""
            msg = f"no cell{where} expresses a gene of the vocabulary, so there is no mean over genes; leave it out"
            raise InputError(msg)
        chosen = [z_name(layer) for layer in range(model.config.n_layers)] if sites is None else list(sites)
        means = _means(model, tokens, labels, len(names), check_sites(model, chosen))
        own = None if groups is None else dict(zip(tokens.cell_ids, labels.tolist(), strict=True))
        return cls(means, names, own)

    def values(self, model: HookedScGPT, tokens: GeneTokens, names: Sequence[str]) -> dict[str, Tensor]:
        """Return the mean of each cell's group for every token, each (cell, token, ...).

        Raises
        ------
        InputError
            There is no mean of a hook point, or a cell is none of those whose groups are known.
        """
        missing = [name for name in names if name not in self.means]
        if missing:
            msg = f"there is no mean of {missing[0]}; make it with Mean.of(..., sites=[{missing[0]!r}])"
            raise InputError(msg)
        n_cells, n_tokens = tokens.gene_ids.shape
        rows = torch.zeros(1, dtype=torch.int64)
        if self.group_of is not None:
            rows = torch.from_numpy(cell_rows(tokens, self.group_of, "Mean.of"))
        found = {}
        for name in names:
            mean = self.means[name].to(model.device)[rows.to(model.device)]  # (cell or 1, 2, ...)
            of_genes = mean[:, 1:].expand(-1, n_tokens - 1, *mean.shape[2:])
            found[name] = torch.cat([mean[:, :1], of_genes], 1).expand(n_cells, n_tokens, *mean.shape[2:])
        return found


def _means(
    model: HookedScGPT, tokens: GeneTokens, labels: np.ndarray, n_groups: int, names: Sequence[str]
) -> dict[str, Tensor]:
    sums: dict[str, Tensor] = {}
    for rows in batches(model, tokens):
        batch, own = tokens[rows], torch.from_numpy(labels[rows])
        genes = (~batch.padding).to(model.device, torch.float32)
        genes[:, 0] = 0
        weights = genes / genes.sum(1, keepdim=True).clamp(min=1)

        def add(name: str, x: Tensor, own: Tensor = own, weights: Tensor = weights) -> None:
            both = torch.stack([x[:, 0], torch.einsum("ct,ct...->c...", weights.to(x), x)], 1).double().cpu()
            sums.setdefault(name, both.new_zeros(n_groups, *both.shape[1:])).index_add_(0, own, both)

        watch(model, batch, {name: partial(add, name) for name in names})
    silent = [name for name in names if name not in sums]
    if silent:
        msg = f"{silent[0]} never fires in this model, so it has no mean; leave it out"
        raise InputError(msg)
    cells = np.bincount(labels, minlength=n_groups)
    with_genes = np.bincount(labels[tokens.lengths > 1], minlength=n_groups)
    counts = torch.from_numpy(np.stack([cells, with_genes], 1)).double()  # (group, 2)
    kind = model.encoder.embedding.weight.dtype
    return {
        name: (total / counts.reshape(n_groups, 2, *[1] * (total.dim() - 2))).to(kind) for name, total in sums.items()
    }
