"""Attribution patching: by gradients, the predicted change of an objective when each head is replaced."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from interp.ablation.head_sets import z_name
from interp.ablation.layers import enter, observe, upward
from interp.ablation.passes import batches, check_cells, live
from interp.ablation.readings import CLS_ROWS, wanted_rows
from interp.capture.forward import check_model
from interp.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor

    from interp.ablation.replacements import Replacement
    from interp.scgpt.hooked import Hook
    from interp.scgpt.model import HookedScGPT
    from interp.scgpt.tokens import GeneTokens

# A graph keeps about ten rows of d_model per token and layer, where a pass without gradients drops them: batches are
# smaller by this. On CPUs it costs no time, as smaller batches stay in the cache (perf/ablation_speed.py).
GRAPH_SHARE = 4


class Objective(Protocol):
    """One number per cell from the final residual stream; ``rows = "cls"`` as for a reader (`Read`)."""

    def __call__(self, resid: Float[Tensor, "cell token d_model"], tokens: GeneTokens) -> Float[Tensor, " cell"]:
        """Return one number per cell, which no other cell may bear on."""


def gradient_readings(
    model: HookedScGPT,
    tokens: GeneTokens,
    replacement: Replacement,
    objective: Objective,
    *,
    steps: int = 1,
    batch_cells: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> Float[np.ndarray, "layer head cell"]:
    """Predict by gradients how an objective of every cell changes when each head's z is replaced.

    One forward and one backward pass serve all heads and cells of a batch. Hooks that are live act on both.

    Parameters
    ----------
    model
        The model.
    tokens
        The cells.
    replacement
        What z of a head would become.
    objective
        From the final residual stream and the cells' tokens to one number per cell; see `Objective`.
    steps
        1: the slope where the model is. More: the mean slope on the way from z to its replacement, at so many points
        (Gauss-Legendre). The heads of a layer then move together, one layer at a time, so that the predictions of a
        layer's heads sum to the exact change by replacing them all; it costs a pass for each layer and step.
    batch_cells
        Most cells of a batch.
    progress
        Hears how many more cells are done.

    Returns
    -------
    numpy.ndarray
        float32, replaced minus base.

    Raises
    ------
    InputError
        `steps` is below 1, there is no cell, the objective is not one number per cell, or the replacement does not
        know a cell.

    Examples
    --------
    >>> import interp
    >>> from interp.ablation import Zero
    >>> model = interp.load_model("scgpt-sim")
    >>> tokens = model.tokenize(interp.simulate(n_donors=2, n_cells=4, seed=1))
    >>> gradient_readings(model, tokens, Zero(), lambda resid, tokens: resid[:, 0, 5]).shape
    (4, 4, 4)
    """
    check_model(model)
    check_cells(tokens)
    if steps < 1:
        msg = f"steps = {steps} leaves no point between z and its replacement; give at least 1"
        raise InputError(msg)
    total = np.zeros((model.config.n_layers, model.config.n_heads, len(tokens)), np.float32)
    for rows in batches(model, tokens, batch_cells, share=GRAPH_SHARE):
        work = _Batch(model, tokens[rows], replacement, objective)
        total[:, :, rows] = (work.slopes() if steps == 1 else work.integrated(steps)).cpu().numpy()
        if progress is not None:
            progress(len(rows))
    return total


class _Batch:
    """Some cells, and how their objective depends on each z."""

    def __init__(self, model: HookedScGPT, batch: GeneTokens, replacement: Replacement, objective: Objective) -> None:
        self.model, self.batch, self.objective = model, batch, objective
        self.names = [z_name(layer) for layer in range(model.config.n_layers)]
        self.only_cls_wanted = wanted_rows(objective) == CLS_ROWS
        self.cls_only = self.only_cls_wanted and not live(model)  # live hooks of the last layer see it whole
        self.values = replacement.values(model, batch, self.names)

    def slopes(self) -> Float[Tensor, "layer head cell"]:
        """Predicted changes by the slope where the model is."""
        seen: dict[str, Tensor] = {}

        def keep(z: Tensor, hook: Any) -> Tensor:
            # the lowest z becomes a leaf, so no graph is built below it
            seen[hook.name] = z if z.requires_grad else z.detach().requires_grad_()
            return seen[hook.name]

        with torch.no_grad():
            x, padding = enter(self.model, self.batch)
        grads = self._grads(0, x, padding, dict.fromkeys(range(len(self.names)), keep), seen)
        found = [self._predicted(name, seen[name].detach(), grads[name]) for name in self.names]
        return torch.stack(found)

    def integrated(self, steps: int) -> Float[Tensor, "layer head cell"]:
        """Predicted changes by the mean slope between z and its replacement, one layer at a time."""
        nodes, weights = np.polynomial.legendre.leggauss(steps)  # on -1 to 1
        found = []
        with torch.no_grad():
            x, padding = enter(self.model, self.batch)
            for layer, name in enumerate(self.names):
                entered = x
                x, z, _ = observe(self.model, layer, x, padding)
                z = z[:, :1] if self.cls_only and layer == len(self.names) - 1 else z
                slope = torch.zeros_like(z)
                for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
                    seen: dict[str, Tensor] = {}
                    part = partial(self._part, share=float(node), seen=seen)
                    slope += weight * self._grads(layer, entered, padding, {layer: part}, seen)[name]
                found.append(self._predicted(name, z, slope))
        return torch.stack(found)

    def _part(self, z: Tensor, hook: Any, share: float, seen: dict[str, Tensor]) -> Tensor:
        """Move z a part of the way to its replacement."""
        seen[hook.name] = (z + share * (self._value(hook.name, z) - z)).detach().requires_grad_()
        return seen[hook.name]

    def _grads(
        self, first: int, x: Tensor, padding: Tensor | None, hooks: dict[int, Hook], seen: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Gradients of the cells' objectives with respect to what the hooks put into `seen`."""
        with torch.enable_grad():
            resid = upward(self.model, first, x, padding, hooks, cls_only=self.cls_only)
            outcome = self.objective(resid[:, :1] if self.only_cls_wanted else resid, self.batch)
            if outcome.shape != (len(self.batch),) or not outcome.requires_grad:
                told = "" if outcome.requires_grad else ", cut off from the residual stream"
                msg = (
                    f"the objective returned the shape {tuple(outcome.shape)}{told}; expected one number for each of "
                    f"{len(self.batch)} cells, made of the residual stream by torch operations"
                )
                raise InputError(msg)
            grads = torch.autograd.grad(outcome.sum(), list(seen.values()))
        return dict(zip(seen, grads, strict=True))

    def _predicted(self, name: str, z: Tensor, slope: Tensor) -> Float[Tensor, "head cell"]:
        return ((self._value(name, z) - z) * slope).sum((1, 3)).T

    def _value(self, name: str, z: Tensor) -> Tensor:
        value = self.values[name]
        return value[:, : z.shape[1]] if value.dim() else value
