"""What turns tokens into vectors: the encoders of genes, of values in their three styles, and of batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F

from interp.errors import InputError
from interp.scgpt.hooked import HookPoint, Rooted
from interp.scgpt.norms import LayerNorm

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from interp.scgpt.config import ScGPTConfig

MAX_VALUE = 512  # scGPT clamps values before its continuous value encoder


class EmbeddingEncoder(Rooted):
    """A table of vectors followed by LayerNorm: of genes, of batches, and of bins in the category style."""

    def __init__(self, n_rows: int, config: ScGPTConfig, padding_row: int | None = None) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_rows, config.d_model, padding_idx=padding_row)
        self.enc_norm = LayerNorm(config.d_model, eps=config.eps)

    def forward(self, ids: Int[Tensor, ...]) -> Float[Tensor, "... d_model"]:
        """Return the normalised vectors of ids."""
        return self.enc_norm(self.root(self.embedding(ids)))


class ContinuousValueEncoder(Rooted):
    """A two-layer perceptron on the bin value, followed by LayerNorm."""

    def __init__(self, config: ScGPTConfig) -> None:
        super().__init__()
        self.linear1 = nn.Linear(1, config.d_model)
        self.linear2 = nn.Linear(config.d_model, config.d_model)
        self.norm = LayerNorm(config.d_model, eps=config.eps)
        self.dropout = nn.Dropout(config.dropout)
        self.hook_hidden_pre, self.hook_hidden_post = HookPoint(), HookPoint()

    def forward(self, values: Float[Tensor, "cell token"]) -> Float[Tensor, "cell token d_model"]:
        """Return the embedding of bin values."""
        pre = self.hook_hidden_pre(self.root(self.linear1(values.unsqueeze(-1).clamp(max=MAX_VALUE))))
        return self.dropout(self.norm(self.linear2(self.hook_hidden_post(F.relu(pre)))))


class CategoryValueEncoder(EmbeddingEncoder):
    """A vector for every bin, special values included."""

    def __init__(self, config: ScGPTConfig) -> None:
        super().__init__(config.n_input_bins, config, padding_row=config.pad_value)

    def forward(self, values: Float[Tensor, "cell token"]) -> Float[Tensor, "cell token d_model"]:
        """Return the embedding of bin values, whose fractions are cut off.

        Raises
        ------
        InputError
            A value has no row.
        """
        bins, rows = values.long(), self.embedding.num_embeddings
        if bins.numel() and (int(bins.min()) < 0 or int(bins.max()) >= rows):
            msg = (
                f"values run from {int(bins.min())} to {int(bins.max())}; this model embeds the bins 0 to {rows - 1}: "
                "make the tokens with its own tokenize(), and mask with its config.mask_value"
            )
            raise InputError(msg)
        return super().forward(bins)


class ScalingValueEncoder(Rooted):
    """The bin value itself, which the gene's embedding is multiplied by."""

    def forward(self, values: Float[Tensor, "cell token"]) -> Float[Tensor, "cell token 1"]:
        """Return the values with an axis for the embedding."""
        return self.root(values.unsqueeze(-1))


def value_encoder(config: ScGPTConfig) -> Rooted:
    """Return the value encoder of the configuration's style.

    Parameters
    ----------
    config
        `input_emb_style` is ``"continuous"``, ``"category"`` or ``"scaling"``.

    Returns
    -------
    Rooted
        A module from values (cell, token) to embeddings (cell, token, d_model), or (cell, token, 1) when scaling.
    """
    if config.input_emb_style == "category":
        return CategoryValueEncoder(config)
    return ScalingValueEncoder() if config.input_emb_style == "scaling" else ContinuousValueEncoder(config)
