"""Which activations a model has: a readable word for each, its layers and its shape."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from interp.capture.sites import Site, find_sites, measure_sites
from interp.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interp.scgpt.model import HookedScGPT

ATTENTION = "attn."
_BLOCK = re.compile(r"^blocks\.(\d+)\.")


@dataclass(frozen=True)
class SiteKind:
    """One kind of activation.

    Attributes
    ----------
    word
        A readable word for it that `interp.capture` takes as a site.
    layers
        Layers that have it; empty outside of blocks.
    shape
        Axes after the cell; None where an axis counts tokens.
    """

    word: str
    layers: tuple[int, ...]
    shape: tuple[int | None, ...]


def site_kinds(model: HookedScGPT) -> list[SiteKind]:
    """Return the kinds of activations that a model has, in its own order.

    Examples
    --------
    >>> import interp
    >>> site_kinds(interp.load_model("scgpt-sim"))[-1]
    SiteKind(word='mvc_decoder.out', layers=(), shape=(None,))
    """
    names_of: dict[str, list[str]] = {}
    for name in model.hook_dict:
        names_of.setdefault(_BLOCK.sub("", name), []).append(name)
    shapes = {site.name: site.shape for site in _that_fire(model, [names[0] for names in names_of.values()])}
    return [
        SiteKind(_word(model, kind, names), _layers(names), shapes[names[0]])
        for kind, names in names_of.items()
        if names[0] in shapes
    ]


def _layers(names: Sequence[str]) -> tuple[int, ...]:
    return tuple(int(found[1]) for found in map(_BLOCK.match, names) if found)


def _that_fire(model: HookedScGPT, names: Sequence[str]) -> list[Site]:
    """Measure those that do not stay silent in this model."""
    try:
        return measure_sites(model, names)
    except InputError:
        if len(names) == 1:
            return []
        half = len(names) // 2
        return _that_fire(model, names[:half]) + _that_fire(model, names[half:])


def _word(model: HookedScGPT, kind: str, names: Sequence[str]) -> str:
    """Leave ``hook_`` away, and ``attn.`` too, where what is left names the same hook points."""
    full = kind.replace("hook_", "")
    for word in (full.removeprefix(ATTENTION), full):
        try:
            if find_sites(model, word) == list(names):
                return word
        except InputError:
            continue
    return kind if len(names) == 1 else f"*.{kind}"
