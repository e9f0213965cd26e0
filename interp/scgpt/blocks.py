"""The encoder's blocks: attention, feed-forward, and LayerNorm after the sum of each with its input (post-norm)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F

from interp.scgpt.attention import Attention
from interp.scgpt.hooked import HookPoint
from interp.scgpt.norms import LayerNorm

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from interp.scgpt.config import ScGPTConfig


class FeedForward(nn.Module):
    """The feed-forward layer with ReLU."""

    def __init__(self, config: ScGPTConfig) -> None:
        super().__init__()
        self.linear1 = nn.Linear(config.d_model, config.d_hid)
        self.linear2 = nn.Linear(config.d_hid, config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.hook_pre, self.hook_post = HookPoint(), HookPoint()

    @property
    def W_in(self) -> Float[Tensor, "d_model d_hid"]:
        """Weights from the residual stream to the neurons."""
        return self.linear1.weight.T

    @property
    def W_out(self) -> Float[Tensor, "d_hid d_model"]:
        """Weights from the neurons to the residual stream."""
        return self.linear2.weight.T

    def forward(self, x: Float[Tensor, "cell token d_model"]) -> Float[Tensor, "cell token d_model"]:
        """Return what the feed-forward layer adds to the residual stream."""
        return self.linear2(self.dropout(self.hook_post(F.relu(self.hook_pre(self.linear1(x))))))


class Block(nn.Module):
    """One post-norm encoder block."""

    def __init__(self, config: ScGPTConfig) -> None:
        super().__init__()
        self.attn, self.mlp = Attention(config), FeedForward(config)
        self.ln1 = LayerNorm(config.d_model, eps=config.eps)
        self.ln2 = LayerNorm(config.d_model, eps=config.eps)
        self.dropout = nn.Dropout(config.dropout)
        for name in ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post"):
            setattr(self, f"hook_{name}", HookPoint())

    def forward(
        self, x: Float[Tensor, "cell token d_model"], padding: Bool[Tensor, "cell token"] | None
    ) -> Float[Tensor, "cell token d_model"]:
        """Return the residual stream after this block."""
        x = self.hook_resid_pre(x)
        x = self.hook_resid_mid(self.ln1(x + self.dropout(self.hook_attn_out(self.attn(x, padding)))))
        return self.hook_resid_post(self.ln2(x + self.dropout(self.hook_mlp_out(self.mlp(x)))))
