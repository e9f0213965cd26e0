"""The `<cls>` row of every cell, in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from interp.capture.forward import forward
from interp.capture.plan import pass_plan
from interp.runs.progress import progress

if TYPE_CHECKING:
    from jaxtyping import Float

    from interp.scgpt.model import HookedScGPT
    from interp.scgpt.tokens import GeneTokens


def cell_embeddings(
    model: HookedScGPT, tokens: GeneTokens, *, normalize: bool = False
) -> Float[np.ndarray, "cell d_model"]:
    """Return the final `<cls>` row of every cell, in the order of the tokens.

    Parameters
    ----------
    model
        The model.
    tokens
        Cells tokenised by this model.
    normalize
        Divide each row by its length, as scGPT's `embed_data` does.

    Returns
    -------
    numpy.ndarray
        float32 (cell, d_model).

    Raises
    ------
    InputError
        The tokens were made with another vocabulary.
    """
    config = model.config
    plan = pass_plan(config, model.device.type, patterns=False)
    rows = np.empty((len(tokens), config.d_model), np.float32)
    last = f"blocks.{config.n_layers - 1}.hook_resid_post"
    with progress(total=len(tokens), description="embedding", unit="cell") as bar:
        for picked in plan.batches(tokens.lengths):

            def keep(resid, picked=picked) -> None:
                rows[picked] = resid[:, 0].float().cpu().numpy()

            forward(model, tokens[picked], {last: keep}, stop_at=last)
            bar.update(len(picked))
    if normalize:
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows
