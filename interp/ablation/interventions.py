"""Heads, layers and MLPs replaced: hooks of one batch of cells, which compose and leave the model as it is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from interp.ablation.directions import ProjectOut, Steer, random_directions
from interp.ablation.head_sets import HeadSet, by_layer, check_heads, z_name
from interp.ablation.replacements import Mean, Replacement, Zero, check_sites
from interp.ablation.resample import Resample
from interp.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from interp.scgpt.hooked import Hook
    from interp.scgpt.model import HookedScGPT
    from interp.scgpt.tokens import GeneTokens

__all__ = [
    "Mean",
    "ProjectOut",
    "ReplaceHeads",
    "ReplaceSite",
    "Resample",
    "Steer",
    "Zero",
    "random_directions",
]


@dataclass(frozen=True)
class ReplaceHeads:
    """Replace `z` of some heads.

    Attributes
    ----------
    heads
        Pairs (layer, head); none changes nothing.
    replacement
        What z becomes.

    Examples
    --------
    >>> import interp
    >>> model = interp.load_model("scgpt-sim")
    >>> tokens = model.tokenize(interp.simulate(n_donors=2, n_cells=4, seed=1))
    >>> with model.hooks(ReplaceHeads(((0, 1), (2, 3)), Zero()).hooks(model, tokens)):
    ...     changed = model(tokens).cell
    >>> bool((changed != model(tokens).cell).any())
    True
    """

    heads: HeadSet
    replacement: Replacement

    def hooks(self, model: HookedScGPT, tokens: GeneTokens) -> list[tuple[str, Hook]]:
        """Return the hooks for a run of these cells, one for each layer.

        Parameters
        ----------
        model
            The model.
        tokens
            The cells that will be run, all at once.

        Raises
        ------
        InputError
            A head does not exist or stands twice, or the replacement does not know these cells.
        """
        layers = by_layer(check_heads(model.config, self.heads))
        values = self.replacement.values(model, tokens, [z_name(layer) for layer in layers]) if layers else {}
        return [
            (z_name(layer), partial(_replace_heads, value=values[z_name(layer)], heads=heads))
            for layer, heads in layers.items()
        ]


@dataclass(frozen=True)
class ReplaceSite:
    """Replace a whole activation that has a row for every token: a layer, an MLP, what attention adds.

    Attributes
    ----------
    name
        The hook point, such as ``"blocks.2.hook_mlp_out"``.
    replacement
        What it becomes; a mean must be made with this site.
    """

    name: str
    replacement: Replacement

    def hooks(self, model: HookedScGPT, tokens: GeneTokens) -> list[tuple[str, Hook]]:
        """Return the hook for a run of these cells.

        Parameters
        ----------
        model
            The model.
        tokens
            The cells that will be run, all at once.

        Raises
        ------
        InputError
            The hook point is unknown or has no rows, or the replacement does not know it or these cells.
        """
        (name,) = check_sites(model, [self.name])
        return [(name, partial(_replace, value=self.replacement.values(model, tokens, [name])[name]))]


def _replace(activation: Tensor, hook: Any, value: Tensor) -> Tensor:
    return _fitting(value, activation, hook).clone()


def _replace_heads(z: Tensor, hook: Any, value: Tensor, heads: list[int]) -> Tensor:
    places = torch.tensor(heads, device=z.device)
    return z.index_copy(2, places, _fitting(value, z, hook)[:, :, heads])


def _fitting(value: Tensor, activation: Tensor, hook: Any) -> Tensor:
    if value.dim() and value.shape != activation.shape:
        msg = (
            f"{hook.name} is {tuple(activation.shape)} in this run, and the replacement was made for "
            f"{tuple(value.shape)}; make the hooks from the tokens that are run, batch by batch"
        )
        raise InputError(msg)
    return value.to(activation).expand(activation.shape)
