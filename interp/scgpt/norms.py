"""Normalisation layers: LayerNorm with hook points, and the batch norm of models that were fine-tuned with batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from interp.scgpt.hooked import HookPoint

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from interp.scgpt.config import ScGPTConfig

BATCH_NORM_EPS = 6.1e-5  # scGPT 0.2.4, for the plain and for the domain-specific batch norm


class LayerNorm(nn.LayerNorm):
    """LayerNorm whose input and whose scale (the standard deviation it divides by) can be hooked.

    Parameters
    ----------
    width
        Size of the last axis.
    eps
        Added to the variance.
    """

    def __init__(self, width: int, eps: float) -> None:
        super().__init__(width, eps=eps)
        self.hook_in, self.hook_scale = HookPoint(), HookPoint()

    def forward(self, x: Float[Tensor, "... width"]) -> Float[Tensor, "... width"]:
        """Return `x` with its last axis centred, divided by its scale, and moved by weight and bias."""
        x = self.hook_in(x)
        if not self.hook_scale.has_hooks():
            return super().forward(x)
        centred = x - x.mean(-1, keepdim=True)
        scale = self.hook_scale((centred.square().mean(-1, keepdim=True) + self.eps).sqrt())
        return centred / scale * self.weight + self.bias


class BatchNorm(nn.Module):
    """Batch norm of the token embeddings by stored statistics, of one batch for all cells or of each cell's own.

    The statistics are those of the checkpoint in training mode too: nothing that passes through changes them.
    `running_mean` and `running_var` are (batch, d_model); the plain kind has one row, and weight and bias.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, config: ScGPTConfig) -> None:
        super().__init__()
        self.by_batch = config.batch_norm == "dsbn"
        rows = config.n_batches if self.by_batch else 1
        self.register_buffer("running_mean", torch.zeros(rows, config.d_model))
        self.register_buffer("running_var", torch.ones(rows, config.d_model))
        if not self.by_batch:
            self.weight = nn.Parameter(torch.ones(1, config.d_model))
            self.bias = nn.Parameter(torch.zeros(1, config.d_model))

    def forward(
        self, x: Float[Tensor, "cell token d_model"], batches: Int[Tensor, " cell"] | None
    ) -> Float[Tensor, "cell token d_model"]:
        """Return the normalised embeddings; `batches` says whose statistics a cell is normalised by."""
        mean, var = self.running_mean, self.running_var
        if self.by_batch:
            mean, var = mean[batches], var[batches]
        x = (x - mean.unsqueeze(1)) * (var + BATCH_NORM_EPS).rsqrt().unsqueeze(1)
        return x if self.by_batch else x * self.weight + self.bias
