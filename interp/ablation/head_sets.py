"""Sets of heads: what a user may write, and how they lie in the layers."""

from __future__ import annotations

from itertools import pairwise
from numbers import Integral
from typing import TYPE_CHECKING

from interp.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from interp.scgpt.config import ScGPTConfig

# (layer, head) each, in the order of the model.
HeadSet = tuple[tuple[int, int], ...]


def z_name(layer: int) -> str:
    """Return the hook point of what the heads of a layer read from the tokens."""
    return f"blocks.{layer}.attn.hook_z"


def check_heads(config: ScGPTConfig, heads: Iterable[tuple[int, int]]) -> HeadSet:
    """Return a set of heads in the order of the model.

    Parameters
    ----------
    config
        The model's sizes.
    heads
        Pairs of layer and head, both from 0.

    Raises
    ------
    InputError
        A head does not exist, stands twice, or is no pair of whole numbers.

    Examples
    --------
    >>> from interp.scgpt.config import ScGPTConfig
    >>> check_heads(ScGPTConfig(n_vocab=9, n_layers=2, n_heads=4, d_model=8, d_hid=8), [(1, 3), (0, 2)])
    ((0, 2), (1, 3))
    """
    given = list(heads)
    for head in given:
        pair = isinstance(head, tuple | list) and len(head) == 2 and all(isinstance(part, Integral) for part in head)
        if not pair:
            msg = f"{head!r} is no head; a set of heads holds pairs (layer, head), such as ((2, 5), (3, 0))"
            raise InputError(msg)
        layer, place = head
        if not (0 <= layer < config.n_layers and 0 <= place < config.n_heads):
            msg = (
                f"there is no head L{layer}H{place}; this model has layers 0 to {config.n_layers - 1} and heads 0 to "
                f"{config.n_heads - 1}"
            )
            raise InputError(msg)
    found = sorted((int(layer), int(head)) for layer, head in given)
    twice = [pair for pair, following in pairwise(found) if pair == following]
    if twice:
        msg = f"L{twice[0][0]}H{twice[0][1]} stands twice in a set of heads; name each once"
        raise InputError(msg)
    return tuple(found)


def by_layer(heads: HeadSet) -> dict[int, list[int]]:
    """Return the heads of each layer that has any, lowest layer first."""
    layers: dict[int, list[int]] = {}
    for layer, head in heads:
        layers.setdefault(layer, []).append(head)
    return layers
