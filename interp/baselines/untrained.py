"""Activations of the same architecture with random weights, for the same cells, tokens and sites."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.capture.stream import capture
from interp.errors import InputError
from interp.scgpt.identity import model_sha256
from interp.scgpt.load import untrained_like

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from interp.capture.store import ActivationStore
    from interp.scgpt.model import HookedScGPT


def untrained_activations(
    model: HookedScGPT, cells: AnnData, like: ActivationStore, *, sites: Sequence[str] | None = None, seed: int = 0
) -> ActivationStore:
    """Capture what an untrained model of the same architecture makes of the same tokens.

    Parameters
    ----------
    model
        The model that `like` was captured from.
    cells
        Cells of `like`, all or some.
    like
        Its activations; sites, reduction, seed and longest cell are taken from it.
    sites
        Hook points; those of `like` when None.
    seed
        Seed of the random weights.

    Returns
    -------
    ActivationStore
        In memory.

    Raises
    ------
    InputError
        The activations came from another model.
    """
    if like.attrs["model"] != model_sha256(model):
        msg = "these activations were not captured from this model; give the model that made them"
        raise InputError(msg)
    return capture(
        untrained_like(model, seed),
        cells,
        sites=list(sites or like.sites),
        reduce=like.reduce,
        genes=like.genes or None,
        seed=like.attrs["seed"],
        max_tokens=like.attrs["max_tokens"],
    )
