"""Multi-head attention with every step named: the fused kernel, or explicit patterns where they are asked for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from interp.scgpt.hooked import HookPoint

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from interp.scgpt.config import ScGPTConfig


class Attention(nn.Module):
    """Multi-head attention without dropout; patterns exist only when a score or pattern hook asks for them."""

    def __init__(self, config: ScGPTConfig) -> None:
        super().__init__()
        heads, d_model, d_head = config.n_heads, config.d_model, config.d_head
        self.d_head = d_head
        for name in "QKV":
            setattr(self, f"W_{name}", nn.Parameter(torch.empty(heads, d_model, d_head)))
            setattr(self, f"b_{name}", nn.Parameter(torch.zeros(heads, d_head)))
        self.W_O = nn.Parameter(torch.empty(heads, d_head, d_model))
        self.b_O = nn.Parameter(torch.zeros(d_model))
        for name in ("q", "k", "v", "attn_scores", "pattern", "z", "result"):
            setattr(self, f"hook_{name}", HookPoint())

    @property
    def explicit(self) -> bool:
        """Whether a live hook needs the scores or the pattern."""
        return self.hook_attn_scores.has_hooks() or self.hook_pattern.has_hooks()

    def forward(
        self, x: Float[Tensor, "cell token d_model"], padding: Bool[Tensor, "cell token"] | None
    ) -> Float[Tensor, "cell token d_model"]:
        """Return what attention adds to the residual stream; `padding` is True where a token is none."""
        heads = self.W_Q.shape[0]
        weight = torch.cat([self.W_Q, self.W_K, self.W_V])  # (3 head, d_model, d_head)
        bias = torch.cat([self.b_Q, self.b_K, self.b_V]).flatten()
        qkv = F.linear(x, weight.transpose(1, 2).flatten(0, 1), bias).unflatten(-1, (3 * heads, self.d_head))
        q, k, v = qkv.split(heads, dim=2)  # each (cell, token, head, d_head)
        q, k, v = self.hook_q(q), self.hook_k(k), self.hook_v(v)
        z = self.hook_z(self._explicit(q, k, v, padding) if self.explicit else self._fused(q, k, v, padding))
        if self.hook_result.has_hooks():
            return self.hook_result(torch.einsum("cthe,hed->cthd", z, self.W_O)).sum(2) + self.b_O
        return F.linear(z.flatten(2), self.W_O.flatten(0, 1).T, self.b_O)

    def _fused(self, q: Tensor, k: Tensor, v: Tensor, padding: Tensor | None) -> Tensor:
        keep = None if padding is None else ~padding[:, None, None, :]
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))  # (cell, head, token, d_head)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=keep).transpose(1, 2)

    def _explicit(self, q: Tensor, k: Tensor, v: Tensor, padding: Tensor | None) -> Tensor:
        # scaling the queries costs a pass over tokens, scaling the scores one over pairs of tokens
        scores = (q / math.sqrt(self.d_head)).transpose(1, 2) @ k.permute(0, 2, 3, 1)  # (cell, head, query, key)
        if padding is not None:
            scores = scores.masked_fill(padding[:, None, None, :], float("-inf"))
        pattern = self.hook_pattern(self.hook_attn_scores(scores).softmax(-1))
        return (pattern @ v.transpose(1, 2)).transpose(1, 2)
