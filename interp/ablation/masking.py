"""Cells with a share of their genes masked, and what the masked values were."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from interp.errors import InputError
from interp.runs.seeds import stream
from interp.scgpt.evaluate import MASK_SHARE

if TYPE_CHECKING:
    from jaxtyping import Float

    from interp.scgpt.config import ScGPTConfig
    from interp.scgpt.tokens import GeneTokens


def mask_tokens(
    tokens: GeneTokens, config: ScGPTConfig, *, share: float = MASK_SHARE, seed: int = 0
) -> tuple[GeneTokens, Float[torch.Tensor, "cell token"]]:
    """Hide the values of a share of each cell's genes.

    Parameters
    ----------
    tokens
        The cells as they are.
    config
        Of the model, which says how a masked value is written.
    share
        Share of a cell's genes, at least one of them.
    seed
        Seed of the masks; a cell's mask depends on nothing but its name, its number of genes and this, and is that of
        `interp.scgpt.evaluate.masked_value_scores`.

    Returns
    -------
    tokens
        The same cells with masked values.
    truth
        What the masked values were; NaN where nothing is masked, (cell, token).

    Raises
    ------
    InputError
        The share is not between 0 and 1.

    Examples
    --------
    >>> import interp
    >>> model = interp.load_model("scgpt-sim", device="cpu")
    >>> tokens = model.tokenize(interp.simulate(n_donors=2, n_cells=4, seed=1))
    >>> masked, truth = mask_tokens(tokens, model.config)
    >>> bool((masked.values[~truth.isnan()] == model.config.mask_value).all())
    True
    """
    if not 0 < share <= 1:
        msg = f"mask_share is {share}; give a share of the genes above 0, up to 1"
        raise InputError(msg)
    hidden = np.zeros(tuple(tokens.values.shape), bool)
    for row, (name, length) in enumerate(zip(tokens.cell_ids, tokens.lengths, strict=True)):
        n_genes = int(length) - 1
        if n_genes > 0:
            order = stream(seed, "evaluate.mask", name).permutation(n_genes)
            hidden[row, 1 + order[: max(1, round(share * n_genes))]] = True
    mask = torch.from_numpy(hidden)
    masked = replace(tokens, values=tokens.values.masked_fill(mask, config.mask_value))
    return masked, tokens.values.masked_fill(~mask, float("nan"))
