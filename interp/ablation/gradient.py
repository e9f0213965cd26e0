"""Attribution patching: by gradients, the predicted change of an objective when each head is replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from interp.ablation.head_sets import z_name
from interp.ablation.passes import batches
from interp.ablation.readings import CLS_ROWS, wanted_rows
from interp.capture.forward import check_model
from interp.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor

    from interp.ablation.replacements import Replacement
    from interp.scgpt.model import HookedScGPT
    from interp.scgpt.tokens import GeneTokens


def gradient_readings(
    model: HookedScGPT,
    tokens: GeneTokens,
    replacement: Replacement,
    objective: Callable[[Tensor, GeneTokens], Tensor],
    *,
    steps: int = 1,
    batch_cells: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> Float[np.ndarray, "layer head cell"]:
    """Predict by gradients how an objective of every cell changes when each head's z is replaced.

    One forward and one backward pass serve all heads and cells of a batch.

    Parameters
    ----------
    model
        The model.
    tokens
        The cells.
    replacement
        What z of a head would become.
    objective
        From the final residual stream (cell, token, d_model) and the cells' tokens to one number per cell (cell,),
        which no other cell may bear on; ``rows = "cls"`` as for a reader (`Read`).
    steps
        1: the slope where the model is. More: the mean slope on the way from z to its replacement, at so many points
        (Gauss-Legendre); the heads of a layer then move together, layer by layer, so that the predictions of a layer's
        heads sum to the exact change by replacing them all. Costs a pass per layer and step.
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
        `steps` is below 1, there is no cell, the objective is no number per cell, or the replacement does not know one.
    """
    check_model(model)
    if steps < 1 or not len(tokens):
        msg = f"{len(tokens)} cells and steps = {steps} were given; give at least one cell and one step"
        raise InputError(msg)
    config, wanted = model.config, wanted_rows(objective)
    total = np.zeros((config.n_layers, config.n_heads, len(tokens)), np.float32)
    names = [z_name(layer) for layer in range(config.n_layers)]
    for rows in batches(model, tokens, batch_cells):
        batch = tokens[rows]
        values = replacement.values(model, batch, names)
        seen: dict[str, Tensor] = {}

        def keep(z: Tensor, hook, seen=seen) -> Tensor | None:
            if not z.requires_grad:
                z = z.detach().requires_grad_()
            seen[hook.name] = z
            return z

        with torch.enable_grad(), model.hooks([(name, keep) for name in names]):
            x, _ = model.encode(*(part.to(model.device) for part in (batch.gene_ids, batch.values, batch.padding)))
            outcome = objective(x[:, :1] if wanted == CLS_ROWS else x, batch)
            grads = torch.autograd.grad(outcome.sum(), [seen[name] for name in names])
        for layer, (name, grad) in enumerate(zip(names, grads, strict=True)):
            change = ((values[name] - seen[name].detach()) * grad).sum((1, 3))
            total[layer][:, rows] = change.T.cpu().numpy()
        if progress is not None:
            progress(len(rows))
    return total
