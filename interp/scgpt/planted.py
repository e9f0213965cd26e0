"""A small model of which one head is known to compute an interaction of two genes, and nothing else knows it.

The head attends to whichever of the two genes stands higher and writes how high that is: a soft maximum. No linear
readout of the two genes' values tells whether they agree (both high or both low); their maximum does so in part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from interp.errors import InputError
from interp.runs.seeds import stream
from interp.scgpt.config import ScGPTConfig
from interp.scgpt.model import HookedScGPT
from interp.scgpt.vocabulary import CLS, PAD, Vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor

    Direction = Float[Tensor, " d_model"]

# Chosen by hand: the two genes outweigh some 50 other tokens together, whatever the values, and the higher of the two
# outweighs the other.
MARKER_SCORE, VALUE_SCORE = 8.0, 2.0
# Length of the marker beside the rest of a gene's embedding, and of the ramp before the value encoder's norm, where the
# rest has a length of about 1.5: long enough for LayerNorm to treat both genes nearly alike.
MARKED, RAMP = 3.0, 2.0
# What the head writes, of a residual stream whose length is the square root of d_model: too little for LayerNorm, which
# shortens all the rest where the head writes more, to tell others of it.
WRITTEN = 0.3


@dataclass(frozen=True)
class PlantedSizes:
    """Sizes of the model: three layers, so that there are a first, a middle and a last."""

    n_layers: int = 3
    n_heads: int = 4
    d_model: int = 32
    d_hid: int = 32


@dataclass(frozen=True, eq=False)
class Directions:
    """Three orthonormal directions of the residual stream that are kept free for the planted head.

    Attributes
    ----------
    marker
        The two genes have it, no other token does.
    ramp
        Every token's value stands here, rising.
    out
        The planted head writes here; no other head and no MLP reads it.
    """

    marker: Direction
    ramp: Direction
    out: Direction

    @classmethod
    def draw(cls, d_model: int, seed: int) -> Directions:
        """Draw them, orthogonal to the ones that LayerNorm takes out."""
        drawn = stream(seed, "scgpt.planted directions").standard_normal((d_model, 3))
        axes = np.linalg.qr(np.column_stack([np.ones(d_model), drawn]))[0][:, 1:]
        return cls(*torch.from_numpy(axes.T.astype(np.float32)))

    @property
    def all(self) -> Float[Tensor, "direction d_model"]:
        """All three."""
        return torch.stack([self.marker, self.ramp, self.out])


def planted_model(
    symbols: Sequence[str],
    genes: tuple[str, str],
    place: tuple[int, int] | None,
    *,
    sizes: PlantedSizes | None = None,
    seed: int = 0,
) -> HookedScGPT:
    """Draw a model as scGPT is drawn at construction, and edit its weights so that one head knows an interaction.

    Parameters
    ----------
    symbols
        Genes of the vocabulary.
    genes
        The two that interact.
    place
        (layer, head) of the head that knows it; None edits everything but the head.
    sizes
        Sizes of the model.
    seed
        Seed of the weights.

    Returns
    -------
    HookedScGPT
        On the CPU, in evaluation mode, parameters without gradients.

    Raises
    ------
    InputError
        The genes are not two of the vocabulary's, or there is no such head.

    Examples
    --------
    >>> planted_model(["CD4", "CD8A", "NKG7"], ("CD4", "NKG7"), (1, 2)).config.n_layers
    3
    """
    sizes = sizes or PlantedSizes()
    _check(symbols, genes, place, sizes)
    vocabulary = Vocabulary([*symbols, PAD, CLS])
    config = ScGPTConfig(
        n_vocab=len(vocabulary), n_layers=sizes.n_layers, n_heads=sizes.n_heads, d_model=sizes.d_model,
        d_hid=sizes.d_hid, mvc=False, dropout=0.0,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(int(stream(seed, "scgpt.planted weights").integers(2**63)))
    model = HookedScGPT(config, vocabulary).initialize(generator).eval().requires_grad_(requires_grad=False)
    directions = Directions.draw(config.d_model, seed)
    _mark(model, vocabulary.ids(genes).tolist(), directions)
    _ramp(model, directions)
    _keep_free(model, directions)
    if place is not None:
        _plant(model, place, directions)
    return model


def _check(symbols: Sequence[str], genes: tuple[str, str], place: tuple[int, int] | None, sizes: PlantedSizes) -> None:
    if len(set(genes)) != 2 or not set(genes) <= set(symbols):
        msg = f"The interaction is of two different genes of the vocabulary; {genes} were given."
        raise InputError(msg)
    if place is not None and not (0 <= place[0] < sizes.n_layers and 0 <= place[1] < sizes.n_heads):
        msg = f"There is no head {place} in {sizes.n_layers} layers of {sizes.n_heads} heads, counted from 0."
        raise InputError(msg)


def _off(directions: Tensor) -> Tensor:
    """Return what takes directions (..., d_model) out of a vector, (d_model, d_model)."""
    axes = torch.atleast_2d(directions)
    return torch.eye(axes.shape[1]) - axes.T @ axes


def _mark(model: HookedScGPT, ids: list[int], directions: Directions) -> None:
    """Take the free directions out of every gene's embedding and give the marker to two."""
    weight = model.encoder.embedding.weight
    weight.copy_(weight @ _off(directions.all))
    weight[ids] += MARKED * weight[ids].norm(dim=1, keepdim=True) * directions.marker


def _ramp(model: HookedScGPT, directions: Directions) -> None:
    """Let the value encoder see a value as a share of the middle bin, and put that on the ramp."""
    encoder, middle = model.value_encoder, model.config.n_bins // 2
    encoder.linear1.weight /= middle
    encoder.linear1.weight[0], encoder.linear1.bias[0] = 1 / middle, 0.0
    off = _off(directions.all)
    encoder.linear2.weight.copy_(off @ encoder.linear2.weight)
    encoder.linear2.weight[:, 0] = RAMP * directions.ramp
    encoder.linear2.bias.copy_(off @ encoder.linear2.bias - RAMP * directions.ramp)


def _keep_free(model: HookedScGPT, directions: Directions) -> None:
    """Let no head and no MLP write to the free directions, nor read what the planted head writes."""
    unwritten, unread = _off(directions.all), _off(directions.out)
    for block in model.blocks:
        attention, mlp = block.attn, block.mlp
        for weight in (attention.W_Q, attention.W_K, attention.W_V):
            weight.copy_(unread @ weight)
        attention.W_O.copy_(attention.W_O @ unwritten)
        mlp.linear1.weight.copy_(mlp.linear1.weight @ unread)
        mlp.linear2.weight.copy_(unwritten @ mlp.linear2.weight)
        mlp.linear2.bias.copy_(unwritten @ mlp.linear2.bias)


def _plant(model: HookedScGPT, place: tuple[int, int], directions: Directions) -> None:
    """Replace a head: its score is the marker and the value of the key, what it moves is the value."""
    layer, head = place
    attention = model.blocks[layer].attn
    for name in ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V"):
        getattr(attention, name)[head] = 0.0
    attention.b_Q[head, 0] = math.sqrt(attention.d_head)  # the same query for every token, against the scores' scale
    attention.W_K[head, :, 0] = MARKER_SCORE * directions.marker + VALUE_SCORE * directions.ramp
    attention.W_V[head, :, 0] = directions.ramp
    attention.W_O[head, 0] = WRITTEN * directions.out
