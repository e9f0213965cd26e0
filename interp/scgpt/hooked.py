"""A module whose activations are named: hooks by name filter, caching, gradients of activations, and what is live."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformer_lens import HookedRootModule
from transformer_lens import hook_points as lens
from transformer_lens.utilities import Slice

from interp.errors import InputError
from interp.scgpt.hook_names import NamesFilter, select_names

Hook = Callable[..., Any]
NamedHooks = Iterable[tuple[NamesFilter, Hook]]

# Activations of whole cells; all others have the tokens on their second axis, or the queries on their third.
WITHOUT_TOKENS = ("hook_cell", "hook_batch_embed", "batch_encoder.")
WITH_QUERIES = ("hook_attn_scores", "hook_pattern")


class HookPoint(lens.HookPoint):
    """A hook point whose hooks may write into the activation also where gradients are taken."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`; a copy where a hook could change what the backward pass still needs."""
        return x.clone() if self.fwd_hooks and x.requires_grad else x


class Rooted(nn.Module):
    """A module whose first activation can be made to carry gradients although its weights do not."""

    rooted = False

    def root(self, x: Tensor) -> Tensor:
        """Return `x`, with a gradient of its own where `rooted` is set."""
        if not self.rooted or x.requires_grad or not torch.is_grad_enabled():
            return x
        return x.requires_grad_()


class HookedModule(HookedRootModule):
    """A `HookedRootModule` whose every method reads names of hook points in the same way.

    Where a name is asked for, None (all), a name or a pattern with ``*``, a list of these, or a predicate can be
    given; a name that is none raises `InputError` with the nearest ones.
    """

    def select(self, names_filter: NamesFilter) -> list[str]:
        """Return the names of the hook points that a filter selects, in the order in which the model has them."""
        return select_names(list(self.hook_dict), names_filter)

    def add_hook(self, names_filter: NamesFilter, hook: Hook, dir: str = "fwd", **options: Any) -> None:
        """Add a hook that stays until `reset_hooks()`; `hooks` removes its own.

        Parameters
        ----------
        names_filter
            Where.
        hook
            ``hook(activation, hook=point)``; what it returns, unless None, replaces the activation (or gradient).
        dir
            ``"fwd"`` or ``"bwd"``.
        options
            `is_permanent` (survives `reset_hooks()`), `level` and `prepend`, as in TransformerLens.
        """
        for name in self.select(names_filter):
            self.check_and_add_hook(self.hook_dict[name], name, hook, dir=dir, **options)

    @contextmanager
    def hooks(
        self,
        fwd_hooks: NamedHooks = (),
        bwd_hooks: NamedHooks = (),
        *,
        reset_hooks_end: bool = True,
        clear_contexts: bool = False,
    ) -> Iterator[Any]:
        """Add hooks for the time of a ``with`` block; they are removed also when it raises.

        Parameters
        ----------
        fwd_hooks, bwd_hooks
            Pairs of a names filter and a hook, ``hook(activation, hook=point)``.
        reset_hooks_end
            Whether to remove them at the end.
        clear_contexts
            Whether to clear the `ctx` of the hook points then.

        Yields
        ------
        HookedModule
            The model itself.
        """
        forward, backward = self._named(fwd_hooks), self._named(bwd_hooks)
        with super().hooks(forward, backward, reset_hooks_end, clear_contexts) as model:
            yield model

    def run_with_hooks(
        self,
        *args: Any,
        fwd_hooks: NamedHooks = (),
        bwd_hooks: NamedHooks = (),
        reset_hooks_end: bool = True,
        **inputs: Any,
    ) -> Any:
        """Run the model once with hooks; see `hooks`.

        Raises
        ------
        InputError
            Backward hooks that would be gone before a backward pass; take them into ``with model.hooks(...)``.
        """
        bwd_hooks = list(bwd_hooks)
        if bwd_hooks and reset_hooks_end:
            msg = (
                "run_with_hooks removes its hooks after the forward pass, before bwd_hooks could run; write "
                "`with model.hooks(bwd_hooks=...)` around the forward and the backward pass"
            )
            raise InputError(msg)
        clear_contexts = inputs.pop("clear_contexts", False)
        with self.hooks(fwd_hooks, bwd_hooks, reset_hooks_end=reset_hooks_end, clear_contexts=clear_contexts):
            return self.forward(*args, **inputs)

    def list_hooks(self, name_filter: NamesFilter = None, **options: Any) -> dict[str, list[Any]]:
        """Return the live hooks of the hook points that a filter selects, by name; those without any are left out."""
        return super().list_hooks(self.select(name_filter), **options)

    def get_caching_hooks(
        self,
        names_filter: NamesFilter = None,
        incl_bwd: bool = False,  # noqa: FBT001, FBT002 - the signature of TransformerLens
        device: torch.device | str | None = None,
        remove_batch_dim: bool = False,  # noqa: FBT001, FBT002
        cache: dict[str, Tensor] | None = None,
        pos_slice: Any = None,
    ) -> tuple[dict[str, Tensor], list[tuple[str, Hook]], list[tuple[str, Hook]]]:
        """Return an empty cache and the hooks that would fill it, forward and backward, without adding them.

        Parameters
        ----------
        names_filter
            What to keep.
        incl_bwd
            Keep gradients too, under the name of the activation and ``_grad``.
        device
            Where to keep it; where it is made when None.
        remove_batch_dim
            Drop the first axis, of the one cell.
        cache
            A dict to fill instead of a new one.
        pos_slice
            The tokens to keep (those that attend, in scores and patterns): an int, a slice, a list or None for all.
        """
        cache = {} if cache is None else cache
        tokens = Slice.unwrap(pos_slice)
        self.is_caching = True

        def keep(value: Tensor, hook: HookPoint, suffix: str) -> None:
            axis = _token_axis(hook.name)
            kept = value.detach()
            if tokens.mode != "identity" and axis is not None:
                kept = tokens.apply(kept, dim=axis).clone()  # a view would hold on to all tokens
            if remove_batch_dim and kept.shape[0] == 1:
                kept = kept[0]
            cache[hook.name + suffix] = kept.to(device) if device is not None else kept

        names = self.select(names_filter)
        forward: list[tuple[str, Hook]] = [(name, partial(keep, suffix="")) for name in names]
        backward: list[tuple[str, Hook]] = [(name, partial(keep, suffix="_grad")) for name in names] if incl_bwd else []
        return cache, forward, backward

    def add_caching_hooks(self, names_filter: NamesFilter = None, **options: Any) -> dict[str, Tensor]:
        """Add hooks that cache until `reset_hooks()`, and return the dict that they fill; see `get_caching_hooks`."""
        cache, forward, backward = self.get_caching_hooks(names_filter, **options)
        for dir, hooks in (("fwd", forward), ("bwd", backward)):
            for name, hook in hooks:
                self.add_hook(name, hook, dir=dir)
        return cache

    @contextmanager
    def gradients(self) -> Iterator[Any]:
        """Let activations carry gradients inside a ``with`` block, although the weights do not.

        Gradients are switched on, and the first activation of each encoder becomes a leaf of the graph. To train
        weights, call ``model.requires_grad_()`` instead.

        Yields
        ------
        HookedModule
            The model itself.
        """
        rooted = [module for module in self.modules() if isinstance(module, Rooted)]
        before = [module.rooted for module in rooted]
        try:
            for module in rooted:
                module.rooted = True
            with torch.enable_grad():
                yield self
        finally:
            for module, value in zip(rooted, before, strict=True):
                module.rooted = value

    def _named(self, hooks: NamedHooks) -> list[tuple[str, Hook]]:
        return [(name, hook) for names_filter, hook in hooks for name in self.select(names_filter)]


def describe_hooks(hook_dict: Mapping[str, HookPoint]) -> str:
    """Return the live hooks in a line, layers taken together, such as ``blocks.*.attn.hook_z: 12 forward``."""
    counts: dict[str, Counter[str]] = {}
    names: dict[str, str] = {}
    for name, point in hook_dict.items():
        if not point.has_hooks():
            continue
        group = re.sub(r"^blocks\.\d+\.", "blocks.*.", name)
        names[group] = name if group not in names else group
        counts.setdefault(group, Counter()).update(forward=len(point.fwd_hooks), backward=len(point.bwd_hooks))
    described = [
        f"{names[group]}: {', '.join(f'{n} {direction}' for direction, n in count.items() if n)}"
        for group, count in counts.items()
    ]
    return "; ".join(described) or "none"


def _token_axis(name: str) -> int | None:
    if name.startswith(WITHOUT_TOKENS):
        return None
    return 2 if name.endswith(WITH_QUERIES) else 1
