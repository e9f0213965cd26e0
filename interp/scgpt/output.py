"""What one forward pass returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True)
class ModelOutput:
    """What one forward pass returns.

    Attributes
    ----------
    resid
        Final residual stream, (cell, token, d_model).
    cell
        The raw `<cls>` row of `resid`, (cell, d_model).
    expression
        Predicted bin value of every token, (cell, token).
    mvc
        Bin values predicted from `cell` alone, (cell, token), or None when the checkpoint has no MVC decoder.
    expression_nonzero, mvc_nonzero
        Probability that the value is not zero, (cell, token), where the model was trained with explicit zeros; else
        None. scGPT calls them `mlm_zero_probs` and `mvc_zero_probs` and draws from them whether to keep a value.
    """

    resid: Float[Tensor, "cell token d_model"]
    cell: Float[Tensor, "cell d_model"]
    expression: Float[Tensor, "cell token"]
    mvc: Float[Tensor, "cell token"] | None
    expression_nonzero: Float[Tensor, "cell token"] | None = None
    mvc_nonzero: Float[Tensor, "cell token"] | None = None
