"""scGPT as a TransformerLens `HookedRootModule`: every activation has a name, and hooks leave nothing behind."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformer_lens import ActivationCache, HookedRootModule
from transformer_lens.hook_points import HookPoint

from interp.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData
    from jaxtyping import Bool, Float, Int

    from interp.scgpt.config import ScGPTConfig
    from interp.scgpt.tokens import GeneTokens
    from interp.scgpt.vocabulary import Vocabulary

MAX_VALUE = 512  # scGPT clamps values before its continuous value encoder


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
    """

    resid: Float[Tensor, "cell token d_model"]
    cell: Float[Tensor, "cell d_model"]
    expression: Float[Tensor, "cell token"]
    mvc: Float[Tensor, "cell token"] | None


class GeneEncoder(nn.Module):
    """Gene embedding followed by LayerNorm."""

    def __init__(self, config: ScGPTConfig, pad_id: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.n_vocab, config.d_model, padding_idx=pad_id)
        self.enc_norm = nn.LayerNorm(config.d_model, eps=config.eps)

    def forward(self, gene_ids: Int[Tensor, "cell token"]) -> Float[Tensor, "cell token d_model"]:
        """Return the normalised embedding of gene ids."""
        return self.enc_norm(self.embedding(gene_ids))


class ValueEncoder(nn.Module):
    """Continuous value encoder: a two-layer perceptron on the bin value."""

    def __init__(self, config: ScGPTConfig) -> None:
        super().__init__()
        self.linear1 = nn.Linear(1, config.d_model)
        self.linear2 = nn.Linear(config.d_model, config.d_model)
        self.norm = nn.LayerNorm(config.d_model, eps=config.eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, values: Float[Tensor, "cell token"]) -> Float[Tensor, "cell token d_model"]:
        """Return the embedding of bin values."""
        x = values.unsqueeze(-1).clamp(max=MAX_VALUE)
        return self.dropout(self.norm(self.linear2(F.relu(self.linear1(x)))))


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
        return any(point.fwd_hooks or point.bwd_hooks for point in (self.hook_attn_scores, self.hook_pattern))

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
        if self.hook_result.fwd_hooks or self.hook_result.bwd_hooks:
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


class FeedForward(nn.Module):
    """The feed-forward layer with ReLU."""

    def __init__(self, config: ScGPTConfig) -> None:
        super().__init__()
        self.linear1 = nn.Linear(config.d_model, config.d_hid)
        self.linear2 = nn.Linear(config.d_hid, config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.hook_pre, self.hook_post = HookPoint(), HookPoint()

    def forward(self, x: Float[Tensor, "cell token d_model"]) -> Float[Tensor, "cell token d_model"]:
        """Return what the feed-forward layer adds to the residual stream."""
        return self.linear2(self.dropout(self.hook_post(F.relu(self.hook_pre(self.linear1(x))))))


class Block(nn.Module):
    """One post-norm encoder block."""

    def __init__(self, config: ScGPTConfig) -> None:
        super().__init__()
        self.attn, self.mlp = Attention(config), FeedForward(config)
        self.ln1 = nn.LayerNorm(config.d_model, eps=config.eps)
        self.ln2 = nn.LayerNorm(config.d_model, eps=config.eps)
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


class ExpressionDecoder(nn.Module):
    """Masked-value head: three linear layers with LeakyReLU."""

    def __init__(self, config: ScGPTConfig) -> None:
        super().__init__()
        width = config.d_model
        self.fc = nn.Sequential(
            nn.Linear(width, width), nn.LeakyReLU(), nn.Linear(width, width), nn.LeakyReLU(), nn.Linear(width, 1)
        )

    def forward(self, x: Float[Tensor, "cell token d_model"]) -> Float[Tensor, "cell token"]:
        """Return the predicted bin of every token."""
        return self.fc(x).squeeze(-1)


class MVCDecoder(nn.Module):
    """Predicts gene values from the `<cls>` row alone, by an inner product with gene queries."""

    def __init__(self, config: ScGPTConfig) -> None:
        super().__init__()
        self.gene2query = nn.Linear(config.d_model, config.d_model)
        self.W = nn.Linear(config.d_model, config.d_model, bias=False)

    def queries(self, genes: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        """Return the query vectors of genes from their embedding after LayerNorm."""
        return self.W(torch.sigmoid(self.gene2query(genes)))

    def forward(
        self, cell: Float[Tensor, "cell d_model"], genes: Float[Tensor, "cell token d_model"]
    ) -> Float[Tensor, "cell token"]:
        """Return the bin predicted for each gene of each cell from the cell's row alone."""
        return torch.einsum("ctd,cd->ct", self.queries(genes), cell)


class HookedScGPT(HookedRootModule):
    """scGPT with a hook point on every activation.

    ==============================================  ===============================
    activation                                      shape
    ==============================================  ===============================
    `hook_embed`, `hook_value_embed`                (cell, token, d_model)
    `blocks.L.hook_resid_pre`, `_mid`, `_post`      (cell, token, d_model)
    `blocks.L.hook_attn_out`, `blocks.L.hook_mlp_out`  (cell, token, d_model)
    `blocks.L.attn.hook_q`, `hook_k`, `hook_v`, `hook_z`  (cell, token, head, d_head)
    `blocks.L.attn.hook_attn_scores`, `hook_pattern`  (cell, head, query, key)
    `blocks.L.attn.hook_result`                     (cell, token, head, d_model)
    `blocks.L.mlp.hook_pre`, `hook_post`            (cell, token, d_hid)
    ==============================================  ===============================

    `hook_resid_mid` and `hook_resid_post` come after the LayerNorm of their sub-layer (the encoder is post-norm).
    Attention is the fused kernel unless a score or pattern hook is live in that layer.

    Parameters
    ----------
    config
        Sizes and conventions.
    vocabulary
        Gene symbols and their token ids.
    """

    def __init__(self, config: ScGPTConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        if len(vocabulary) != config.n_vocab:
            msg = f"the vocabulary holds {len(vocabulary)} tokens, the configuration expects {config.n_vocab}"
            raise InputError(msg)
        self.config = self.cfg = config
        self.vocabulary = vocabulary
        self.encoder = GeneEncoder(config, vocabulary.pad_id)
        self.value_encoder = ValueEncoder(config)
        self.hook_embed, self.hook_value_embed = HookPoint(), HookPoint()
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.n_layers)])
        self.decoder = ExpressionDecoder(config)
        if config.mvc:
            self.mvc_decoder = MVCDecoder(config)
        self.setup()

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.encoder.embedding.weight.device

    def initialize(self, generator: torch.Generator) -> HookedScGPT:
        """Draw fresh weights as scGPT does at construction, from `generator`; return self."""
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, nn.Linear):
                    bound = 1 / math.sqrt(module.in_features)
                    module.weight.uniform_(-bound, bound, generator=generator)
                    if module.bias is not None:
                        module.bias.uniform_(-bound, bound, generator=generator)
                elif isinstance(module, nn.LayerNorm):
                    module.weight.fill_(1.0)
                    module.bias.zero_()
                elif isinstance(module, Attention):
                    # Xavier uniform of the stacked (3 d_model, d_model) projection of torch's MultiheadAttention.
                    d_model = module.W_O.shape[-1]
                    for weight in (module.W_Q, module.W_K, module.W_V):
                        weight.uniform_(-1, 1, generator=generator).mul_(math.sqrt(6 / (4 * d_model)))
                    module.W_O.uniform_(-1, 1, generator=generator).mul_(1 / math.sqrt(d_model))
                    for bias in (module.b_Q, module.b_K, module.b_V, module.b_O):
                        bias.zero_()
            self.encoder.embedding.weight.uniform_(-0.1, 0.1, generator=generator)
        return self

    def tokenize(self, cells: AnnData, **options: Any) -> GeneTokens:
        """Turn a panel of cells into tokens; see `interp.scgpt.tokens.tokenize` for the options."""
        from interp.scgpt.tokens import tokenize

        return tokenize(cells, self.vocabulary, self.config, **options)

    def encode(
        self,
        gene_ids: Int[Tensor, "cell token"],
        values: Float[Tensor, "cell token"],
        padding: Bool[Tensor, "cell token"] | None = None,
    ) -> tuple[Float[Tensor, "cell token d_model"], Float[Tensor, "cell token d_model"]]:
        """Return the final residual stream and the gene embeddings, without the decoders."""
        genes = self.hook_embed(self.encoder(gene_ids))
        x = genes + self.hook_value_embed(self.value_encoder(values))
        if padding is not None and not padding.any():
            padding = None
        for block in self.blocks:
            x = block(x, padding)
        return x, genes

    def forward(
        self,
        tokens: GeneTokens | Int[Tensor, "cell token"],
        values: Float[Tensor, "cell token"] | None = None,
        padding: Bool[Tensor, "cell token"] | None = None,
    ) -> ModelOutput:
        """Run the model on `GeneTokens`, or on gene ids, values and padding (True = padded).

        Raises
        ------
        InputError
            Gene ids without values, or tokens made with another vocabulary.
        """
        if isinstance(tokens, Tensor):
            if values is None:
                msg = "gene ids were given without values; pass GeneTokens, or gene_ids, values and padding"
                raise InputError(msg)
            gene_ids = tokens
        else:
            if tokens.vocab_sha256 != self.vocabulary.sha256:
                msg = "these tokens were made with another vocabulary; make them with this model's tokenize()"
                raise InputError(msg)
            gene_ids, values, padding = tokens.gene_ids, tokens.values, tokens.padding
        device = self.device
        gene_ids, values = gene_ids.to(device), values.to(device)
        x, genes = self.encode(gene_ids, values, None if padding is None else padding.to(device))
        cell = x[:, 0]
        mvc = self.mvc_decoder(cell, genes) if self.config.mvc else None
        return ModelOutput(resid=x, cell=cell, expression=self.decoder(x), mvc=mvc)

    def run_with_cache(self, *args: Any, return_cache_object: bool = True, **kwargs: Any) -> tuple[ModelOutput, Any]:
        """Run and return the output with the activations that `names_filter` names (all when None).

        Returns
        -------
        output, cache
            `cache[name]` holds the activation; a plain dict when `return_cache_object=False`.
        """
        output, cache = super().run_with_cache(*args, **kwargs)
        if return_cache_object:
            cache = ActivationCache(cache, self, has_batch_dim=not kwargs.get("remove_batch_dim", False))
        return output, cache
