"""From captured activations to what is probed: one array of features per layer, or per layer and head."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from interp.capture.store import ActivationStore

_BLOCK = re.compile(r"^blocks\.(\d+)\.(.+)$")
# Activations with a head axis, and of these the ones with a number for each pair of tokens.
HEAD_SITES = ("q", "k", "v", "z", "result", "pattern", "attn_scores")
PAIR_SITES = ("pattern", "attn_scores")


@dataclass(frozen=True, eq=False)
class Representation:
    """Features of cells that a probe is trained on.

    Attributes
    ----------
    name
        ``L2.resid_post``, ``L2H5.z``, or the name of a representation without a model.
    site
        ``resid_post``, ``z``.
    layer, head
        Where it stands; None where it has no place.
    features
        float (cell, feature); or, for what is learned on training cells, a function from the rows of the training
        cells to that array, of all cells.
    """

    name: str
    site: str
    layer: int | None
    head: int | None
    features: NDArray | Callable[[NDArray[np.int64]], NDArray]


def site_word(name: str) -> str:
    """Return a hook point's short name: ``blocks.2.attn.hook_z`` gives ``z``.

    Examples
    --------
    >>> site_word("blocks.2.attn.hook_z"), site_word("blocks.0.mlp.hook_post"), site_word("hook_embed")
    ('z', 'mlp.post', 'embed')
    """
    found = _BLOCK.match(name)
    return (found[2] if found else name).replace("hook_", "").removeprefix("attn.")


def chosen_sites(names: Sequence[str], sites: str | Sequence[str] | None) -> list[str]:
    """Return the activations that the user's words name, in their own order.

    Parameters
    ----------
    names
        Names of all activations.
    sites
        Short names (``"z"``) or full ones; None takes all.

    Raises
    ------
    InputError
        A word names nothing.
    """
    if sites is None:
        return list(names)
    wanted = [sites] if isinstance(sites, str) else list(sites)
    words = {name: site_word(name) for name in names}
    absent = [word for word in wanted if word not in words and word not in words.values()]
    if absent or not wanted:
        there = ", ".join(dict.fromkeys(words.values()))
        what = f"there is no site {absent[0]!r} among the activations" if absent else "no sites were given"
        msg = f"{what}; there are: {there}"
        raise InputError(msg)
    return [name for name in names if name in wanted or words[name] in wanted]


def representations(
    activations: ActivationStore | Mapping[str, Any], rows: NDArray[np.int64], sites: str | Sequence[str] | None
) -> list[Representation]:
    """Read the activations of some cells, one representation for each layer or head.

    Parameters
    ----------
    activations
        A store of `interp.capture` (not ``reduce="full"``), or arrays by name: (cell, feature), or for sites of heads
        (cell, head, ...). Numbers that are missing, as a gene that a cell does not express has none, become 0.
    rows
        Cells to read.
    sites
        Which of them; all when None.

    Returns
    -------
    list of Representation

    Raises
    ------
    InputError
        A site is unknown, keeps all tokens, or an array has too few axes.
    """
    reduce = getattr(activations, "reduce", "mean")
    if reduce == "full":
        msg = (
            "these activations keep every token, a probe needs one block per cell; capture with reduce='cls' or 'mean'"
        )
        raise InputError(msg)
    found: list[Representation] = []
    for name in chosen_sites(list(activations), sites):
        array = np.asarray(activations[name][rows])
        found += _split(name, np.where(np.isnan(array), 0.0, array), by_gene=reduce == "genes")
    return found


def _split(name: str, array: NDArray, *, by_gene: bool) -> list[Representation]:
    block, word = _BLOCK.match(name), site_word(name)
    layer = int(block[1]) if block else None
    place = "" if layer is None else f"L{layer}"
    kind = word.rsplit(".", 1)[-1]
    has_heads = kind in HEAD_SITES if block else array.ndim > 2
    if array.ndim < 2 + has_heads:
        msg = f"{name} has shape {array.shape}; expected (cell, {'head, ' if has_heads else ''}feature)"
        raise InputError(msg)
    if not has_heads:
        return [Representation(f"{place}.{word}" if place else word, word, layer, None, array.reshape(len(array), -1))]
    if by_gene and kind not in PAIR_SITES:
        array = np.moveaxis(array, 2, 1)  # (cell, gene, head, ...) to (cell, head, gene, ...)
    heads = np.moveaxis(array, 1, 0)
    return [
        Representation(f"{place}H{head}.{word}", word, layer, head, np.ascontiguousarray(part.reshape(len(part), -1)))
        for head, part in enumerate(heads)
    ]
