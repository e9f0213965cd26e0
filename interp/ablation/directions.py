"""Directions of an activation: project them out, steer along one, and random ones as the control."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from interp.errors import InputError
from interp.runs.seeds import stream

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from interp.scgpt.hooked import Hook
    from interp.scgpt.model import HookedScGPT
    from interp.scgpt.tokens import GeneTokens

# Directions whose part outside of the others is below this share of the largest are taken as their combination.
RANK_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class ProjectOut:
    """Remove what an activation has along some directions, at every token.

    Attributes
    ----------
    name
        The hook point, such as ``"blocks.2.hook_resid_post"``.
    directions
        (direction, feature) or (feature,), of any length; what they span is removed.
    head
        The head whose rows are changed, in activations (cell, token, head, feature); all when None.
    """

    name: str
    directions: Float[np.ndarray, "direction feature"]
    head: int | None = None

    def hooks(self, model: HookedScGPT, tokens: GeneTokens | None = None) -> list[tuple[str, Hook]]:
        """Return the hook; it fits every batch, so `tokens` may be left out.

        Raises
        ------
        InputError
            The hook point is unknown, or a direction is zero or not finite.
        """
        given = _checked(self.directions)
        _, sizes, rows = np.linalg.svd(given / np.linalg.norm(given, axis=1, keepdims=True), full_matrices=False)
        basis = torch.from_numpy(rows[sizes > RANK_TOLERANCE * sizes[0]])
        return [(_one(model, self.name), partial(_project, basis=basis, head=self.head))]


@dataclass(frozen=True, eq=False)
class Steer:
    """Move an activation along a direction, at every token.

    Attributes
    ----------
    name
        The hook point.
    direction
        (feature,), of any length.
    size
        How far to move, in units of the activation; negative moves the other way.
    head
        As in `ProjectOut`.
    """

    name: str
    direction: Float[np.ndarray, " feature"]
    size: float
    head: int | None = None

    def hooks(self, model: HookedScGPT, tokens: GeneTokens | None = None) -> list[tuple[str, Hook]]:
        """Return the hook; it fits every batch, so `tokens` may be left out.

        Raises
        ------
        InputError
            The hook point is unknown, the direction is zero or several, or a number is not finite.
        """
        given = _checked(self.direction)
        if len(given) > 1 or not np.isfinite(self.size):
            msg = f"{len(given)} directions and the size {self.size} were given; steering needs one direction, one size"
            raise InputError(msg)
        step = torch.from_numpy(given[0] / np.linalg.norm(given[0]) * self.size)
        return [(_one(model, self.name), partial(_move, step=step, head=self.head))]


def random_directions(
    like: Float[np.ndarray, "*axes feature"],
    n: int,
    seed: int,
    *,
    within: Float[np.ndarray, "row feature"] | None = None,
) -> Float[np.ndarray, "n *axes feature"]:
    """Draw directions of the same length as given ones, as their control.

    Parameters
    ----------
    like
        One direction (feature,) or several (direction, feature).
    n
        How many draws of them.
    seed
        Whole number.
    within
        Activations (row, feature) whose spread the draws follow. Without it every direction is as likely, and in an
        activation that varies along few of them such a draw carries next to nothing: a weak control.

    Returns
    -------
    numpy.ndarray
        float64; ``result[i]`` has the shape and, row by row, the length of `like`.

    Raises
    ------
    InputError
        A direction is zero or not finite, or `within` has another width or does not vary.

    Examples
    --------
    >>> drawn = random_directions(np.array([3.0, 4.0]), 2, seed=0)
    >>> drawn.shape, np.linalg.norm(drawn, axis=1).round(6).tolist()
    ((2, 2), [5.0, 5.0])
    """
    given = _checked(like)
    rng = stream(seed, "ablation.random_directions")
    if within is None:
        drawn = rng.standard_normal((n, *given.shape))
    else:
        rows = np.asarray(within, np.float64)
        if rows.ndim != 2 or rows.shape[1] != given.shape[1] or not np.ptp(rows, axis=0).any():
            msg = f"within has the shape {rows.shape}; expected (row, {given.shape[1]}), with rows that differ"
            raise InputError(msg)
        drawn = rng.standard_normal((n, len(given), len(rows))) @ (rows - rows.mean(0))
    drawn *= np.linalg.norm(given, axis=1, keepdims=True) / np.linalg.norm(drawn, axis=-1, keepdims=True)
    return drawn.reshape(n, *np.shape(like))


def _checked(directions: Any) -> Float[np.ndarray, "direction feature"]:
    given = np.atleast_2d(np.asarray(directions, np.float64))
    if given.ndim != 2 or not given.size or not np.isfinite(given).all() or not np.linalg.norm(given, axis=1).all():
        msg = (
            f"directions of shape {np.shape(directions)} were given; expected (feature,) or (direction, feature), "
            "finite and none of length 0"
        )
        raise InputError(msg)
    return given


def _one(model: HookedScGPT, name: str) -> str:
    found = model.select(name)
    if len(found) > 1:
        msg = f"{name!r} names {len(found)} hook points; name one at a time"
        raise InputError(msg)
    return found[0]


def _project(activation: Tensor, hook: Any, basis: Tensor, head: int | None) -> Tensor:
    return _changed(activation, lambda x, basis: x - (x @ basis.T) @ basis, basis, head, hook.name)


def _move(activation: Tensor, hook: Any, step: Tensor, head: int | None) -> Tensor:
    return _changed(activation, lambda x, step: x + step, step, head, hook.name)


def _changed(activation: Tensor, change: Any, given: Tensor, head: int | None, name: str) -> Tensor:
    if given.shape[-1] != activation.shape[-1]:
        msg = f"directions of {given.shape[-1]} features do not fit {name}, which has {activation.shape[-1]}"
        raise InputError(msg)
    given = given.to(activation)
    if head is None:
        return change(activation, given)
    if activation.dim() != 4 or not 0 <= head < activation.shape[2]:
        msg = f"{name} is {tuple(activation.shape)} and has no head {head}; leave head= out, or name one that it has"
        raise InputError(msg)
    own = change(activation[:, :, head : head + 1], given)
    return torch.cat([activation[:, :, :head], own, activation[:, :, head + 1 :]], 2)
