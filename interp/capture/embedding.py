"""The `<cls>` row of every cell, streamed in batches of similar length."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from interp.runs.progress import progress

if TYPE_CHECKING:
    from jaxtyping import Float

    from interp.scgpt.model import HookedScGPT
    from interp.scgpt.tokens import GeneTokens

TOKENS_AT_ONCE = 32_768


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
    """
    order = np.argsort(tokens.lengths, kind="stable")
    lengths = tokens.lengths[order]
    rows = np.empty((len(tokens), model.config.d_model), np.float32)
    start = 0
    with torch.no_grad(), progress(total=len(tokens), description="embedding", unit="cell") as bar:
        while start < len(order):
            longest = lengths[start : start + 256]
            fits = np.arange(1, len(longest) + 1) * longest <= TOKENS_AT_ONCE
            picked = order[start : start + max(1, int(fits.sum()))]
            batch = tokens[picked]
            device = model.device
            resid, _ = model.encode(batch.gene_ids.to(device), batch.values.to(device), batch.padding.to(device))
            rows[picked] = resid[:, 0].cpu().numpy()
            start += len(picked)
            bar.update(len(picked))
    if normalize:
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows
