"""Which activations are captured: from the user's words to hook points, and what shape each has."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING

import torch

from interp.capture.forward import forward
from interp.errors import InputError
from interp.scgpt.hook_names import select_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interp.scgpt.model import HookedScGPT

_LAYER = re.compile(r"^blocks\.(\d+)\.")
# Tokens of the two trial passes that tell which axes of an activation count tokens; no model has both as a width.
TRIAL_TOKENS = (5, 7)


@dataclass(frozen=True)
class Site:
    """One hook point and the shape of its activation.

    Attributes
    ----------
    name
        The hook point.
    shape
        Axes after the cell; None where an axis counts tokens. (None, 512) is (cell, token, d_model).
    """

    name: str
    shape: tuple[int | None, ...]

    @property
    def per_token(self) -> bool:
        """Whether the activation is one row per token."""
        return self.shape[:1] == (None,) and self.shape.count(None) == 1

    @property
    def per_pair(self) -> bool:
        """Whether the activation is one number per head and pair of tokens."""
        return self.shape.count(None) == 2

    @property
    def width(self) -> int:
        """Numbers per token (or per pair of tokens, or per cell)."""
        return int(torch.Size([size for size in self.shape if size is not None]).numel())


def find_sites(model: HookedScGPT, sites: str | Iterable[str], layers: int | Sequence[int] | None = None) -> list[str]:
    """Return the hook points that the user's words name, in the model's order.

    Parameters
    ----------
    model
        The model.
    sites
        Hook points (``"blocks.2.hook_resid_post"``), patterns with ``*``, or the end of a name, with or without
        ``hook_``: ``"resid_post"`` and ``"z"`` in every layer, ``"embed"``, ``"mlp.post"``. One or several.
    layers
        Layers that count, for sites inside blocks: None (all), a number, or several. ``range(2, 5)`` is 2, 3, 4.

    Returns
    -------
    list of str

    Raises
    ------
    InputError
        A name is unknown (with the nearest ones), ambiguous or outside the layers, or a layer does not exist.
    """
    names, chosen = list(model.hook_dict), _chosen_layers(layers, model.config.n_layers)
    wanted = [sites] if isinstance(sites, str) else list(sites)
    if not wanted:
        msg = "no sites were given; name at least one, such as 'resid_post'"
        raise InputError(msg)
    found: set[str] = set()
    for word in wanted:
        named = [name for name in _named(names, word) if _layer_of(name) is None or _layer_of(name) in chosen]
        if not named:
            msg = f"the site {word!r} lies in none of the layers {sorted(chosen)}; leave layers= out, or name another"
            raise InputError(msg)
        found.update(named)
    return [name for name in names if name in found]


def measure_sites(model: HookedScGPT, names: Sequence[str]) -> list[Site]:
    """Find the shape of activations by two trial passes over a few tokens; sites in the order in which they arise.

    Raises
    ------
    InputError
        A hook point stays silent in this model.
    """
    short, long = (_shapes(model, names, n) for n in TRIAL_TOKENS)
    silent = [name for name in names if name not in short]
    if silent:
        msg = f"{silent[0]} never fires in this model, so there is nothing to capture; leave it out"
        raise InputError(msg)
    return [
        Site(name, tuple(None if a != b else a for a, b in zip(shape, long[name], strict=True)))
        for name, shape in short.items()
    ]


def _named(names: Sequence[str], word: str) -> list[str]:
    if word in names or "*" in word:
        return select_names(names, word)
    ending = re.sub(r"(?:hook_)?([^.]+)$", r"hook_\1", word)
    found = [name for name in names if name == ending or name.endswith(f".{ending}")]
    if not found:
        return select_names(names, ending if "." in word else _fullest(names, ending))
    kinds = sorted({_LAYER.sub("", name).removesuffix(ending) for name in found})
    if len(kinds) > 1:
        options = ", ".join(repr(f"{kind}{word}") for kind in kinds)
        msg = f"the site {word!r} is ambiguous here; give one of {options}"
        raise InputError(msg)
    return found


def _fullest(names: Sequence[str], ending: str) -> str:
    """Complete an unknown short name by the place of the hook points most like it, so that the hint is a near one."""
    from difflib import get_close_matches

    near = get_close_matches(ending, sorted({name.rsplit(".", 1)[-1] for name in names}), n=1, cutoff=0.5)
    full = next((name for name in names if near and name.rsplit(".", 1)[-1] == near[0]), "")
    return full.removesuffix(near[0]) + ending if full else ending


def _layer_of(name: str) -> int | None:
    found = _LAYER.match(name)
    return int(found[1]) if found else None


def _chosen_layers(layers: int | Sequence[int] | None, n_layers: int) -> set[int]:
    if layers is None:
        return set(range(n_layers))
    given = list(layers) if isinstance(layers, Iterable) else [layers]
    absent = [layer for layer in given if not isinstance(layer, Integral) or not 0 <= layer < n_layers]
    if absent or not given:
        msg = f"layers = {layers!r} names {absent or 'none'}; this model has layers 0 to {n_layers - 1}"
        raise InputError(msg)
    return {int(layer) for layer in given}


def _shapes(model: HookedScGPT, names: Sequence[str], n_tokens: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    ids = torch.full((1, n_tokens), model.vocabulary.cls_id, device=model.device)
    values = torch.ones((1, n_tokens), device=model.device)
    hooks = {name: lambda x, name=name: shapes.setdefault(name, tuple(x.shape[1:])) for name in names}
    forward(model, (ids, values, None), hooks, stop_at=None)
    return shapes
