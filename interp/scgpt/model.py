"""scGPT as a TransformerLens `HookedRootModule`: every activation has a name, and hooks leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from interp.errors import InputError
from interp.scgpt.blocks import Block
from interp.scgpt.cache import ScGPTCache
from interp.scgpt.decoders import ExpressionDecoder, mvc_decoder
from interp.scgpt.encoders import EmbeddingEncoder, value_encoder
from interp.scgpt.hooked import HookedModule, HookPoint, describe_hooks
from interp.scgpt.initial import draw_weights
from interp.scgpt.inputs import check_batches, token_tensors
from interp.scgpt.norms import BatchNorm
from interp.scgpt.output import ModelOutput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from jaxtyping import Bool, Float, Int

    from interp.scgpt.config import ScGPTConfig
    from interp.scgpt.tokens import GeneTokens
    from interp.scgpt.vocabulary import Vocabulary


class HookedScGPT(HookedModule):
    """scGPT with a hook point on every activation.

    In the names ``L`` is the number of a layer, from 0. The third column says which models have the activation:
    all, or those of one value encoder (`input_emb_style`), of one MVC decoder (`mvc_style`), with batches, or with
    explicit zeros (`explicit_zero_prob`). `d_decoder` is d_model, or twice that where the decoders see the batch.

    ===========================================  ===============================  ===================
    activation                                   shape                            in models
    ===========================================  ===============================  ===================
    ``encoder.enc_norm.hook_in``                 (cell, token, d_model)           all
    ``encoder.enc_norm.hook_scale``              (cell, token, 1)                 all
    ``hook_embed``                               (cell, token, d_model)           all
    ``value_encoder.hook_hidden_pre``            (cell, token, d_model)           continuous
    ``value_encoder.hook_hidden_post``           (cell, token, d_model)           continuous
    ``value_encoder.norm.hook_in``               (cell, token, d_model)           continuous
    ``value_encoder.norm.hook_scale``            (cell, token, 1)                 continuous
    ``value_encoder.enc_norm.hook_in``           (cell, token, d_model)           category
    ``value_encoder.enc_norm.hook_scale``        (cell, token, 1)                 category
    ``hook_value_embed``                         (cell, token, d_model)           continuous, category
    ``hook_value_embed``                         (cell, token, 1)                 scaling
    ``hook_tokens``                              (cell, token, d_model)           all
    ``blocks.L.hook_resid_pre``                  (cell, token, d_model)           all
    ``blocks.L.attn.hook_q``                     (cell, token, head, d_head)      all
    ``blocks.L.attn.hook_k``                     (cell, token, head, d_head)      all
    ``blocks.L.attn.hook_v``                     (cell, token, head, d_head)      all
    ``blocks.L.attn.hook_attn_scores``           (cell, head, query, key)         all
    ``blocks.L.attn.hook_pattern``               (cell, head, query, key)         all
    ``blocks.L.attn.hook_z``                     (cell, token, head, d_head)      all
    ``blocks.L.attn.hook_result``                (cell, token, head, d_model)     all
    ``blocks.L.hook_attn_out``                   (cell, token, d_model)           all
    ``blocks.L.ln1.hook_in``                     (cell, token, d_model)           all
    ``blocks.L.ln1.hook_scale``                  (cell, token, 1)                 all
    ``blocks.L.hook_resid_mid``                  (cell, token, d_model)           all
    ``blocks.L.mlp.hook_pre``                    (cell, token, d_hid)             all
    ``blocks.L.mlp.hook_post``                   (cell, token, d_hid)             all
    ``blocks.L.hook_mlp_out``                    (cell, token, d_model)           all
    ``blocks.L.ln2.hook_in``                     (cell, token, d_model)           all
    ``blocks.L.ln2.hook_scale``                  (cell, token, 1)                 all
    ``blocks.L.hook_resid_post``                 (cell, token, d_model)           all
    ``hook_cell``                                (cell, d_model)                  all
    ``batch_encoder.enc_norm.hook_in``           (cell, d_model)                  batch encoder
    ``batch_encoder.enc_norm.hook_scale``        (cell, 1)                        batch encoder
    ``hook_batch_embed``                         (cell, d_model)                  batch encoder
    ``decoder.fc.hook_pre_0``                    (cell, token, d_model)           all
    ``decoder.fc.hook_post_0``                   (cell, token, d_model)           all
    ``decoder.fc.hook_pre_1``                    (cell, token, d_model)           all
    ``decoder.fc.hook_post_1``                   (cell, token, d_model)           all
    ``decoder.fc.hook_out``                      (cell, token)                    all
    ``decoder.zero_logit.hook_pre_0``            (cell, token, d_model)           zeros
    ``decoder.zero_logit.hook_post_0``           (cell, token, d_model)           zeros
    ``decoder.zero_logit.hook_pre_1``            (cell, token, d_model)           zeros
    ``decoder.zero_logit.hook_post_1``           (cell, token, d_model)           zeros
    ``decoder.zero_logit.hook_out``              (cell, token)                    zeros
    ``decoder.hook_nonzero``                     (cell, token)                    zeros
    ``mvc_decoder.hook_query_pre``               (cell, token, d_model)           inner product, sum query
    ``mvc_decoder.hook_query_post``              (cell, token, d_model)           inner product, sum query
    ``mvc_decoder.hook_query_pre``               (cell, token, 64)                concat query
    ``mvc_decoder.hook_query_post``              (cell, token, 64)                concat query
    ``mvc_decoder.hook_query``                   (cell, token, d_decoder)         inner product
    ``mvc_decoder.hook_hidden_pre``              (cell, token, 64)                concat query, sum query
    ``mvc_decoder.hook_hidden_post``             (cell, token, 64)                concat query, sum query
    ``mvc_decoder.hook_out``                     (cell, token)                    mvc
    ``mvc_decoder.hook_zero_query``              (cell, token, d_decoder)         mvc with zeros
    ``mvc_decoder.hook_zero_logit``              (cell, token)                    mvc with zeros
    ``mvc_decoder.hook_nonzero``                 (cell, token)                    mvc with zeros
    ===========================================  ===============================  ===================

    ``encoder.enc_norm.hook_in`` is the gene's raw embedding and `hook_embed` the normed one; `hook_tokens` is their sum
    (scaling: product) with the values' embedding, and `blocks.0.hook_resid_pre` the same after the batch norm of
    models that have one. `hook_resid_mid` and `hook_resid_post` come after the LayerNorm of their sub-layer (the
    encoder is post-norm), whose sum is `ln1.hook_in` and `ln2.hook_in`.

    Attention is the fused kernel unless a score or pattern hook is live in that layer; `hook_result` and `hook_scale`
    are computed only where they are hooked.

    A loaded model's weights carry no gradients. Gradients of activations come with ``with model.gradients():`` or
    ``run_with_cache(..., incl_bwd=True, metric=...)``; training starts with ``model.requires_grad_()``.

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
        self.encoder = EmbeddingEncoder(config.n_vocab, config, vocabulary.pad_id)
        self.hook_embed = HookPoint()
        self.value_encoder = value_encoder(config)
        self.hook_value_embed, self.hook_tokens = HookPoint(), HookPoint()
        if config.batch_norm != "none":
            self.batch_norm = BatchNorm(config)
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.n_layers)])
        self.hook_cell = HookPoint()
        if config.batch_encoder:
            self.batch_encoder = EmbeddingEncoder(config.n_batches, config)
            self.hook_batch_embed = HookPoint()
        self.decoder = ExpressionDecoder(config)
        if config.mvc:
            self.mvc_decoder = mvc_decoder(config)
        self.setup()

    @classmethod
    def from_scgpt(
        cls, model: nn.Module, vocabulary: Vocabulary | Mapping[str, int] | Any, **conventions: int
    ) -> HookedScGPT:
        """Wrap a live `TransformerModel` of the scgpt package; its weights are copied, so neither changes the other.

        Parameters
        ----------
        model
            The package's model.
        vocabulary
            A `Vocabulary`, a mapping of symbol to id, or the package's `GeneVocab`.
        conventions
            What the package's model does not know of its tokens: `n_bins`, `max_tokens`, `pad_value`, `mask_value`.

        Returns
        -------
        HookedScGPT
            On the same device, in evaluation mode, float32, parameters without gradients.

        Raises
        ------
        InputError
            It is no such model, of a kind that the hooked model does not have, or of another vocabulary.
        """
        from interp.scgpt.package import wrap

        return wrap(cls, model, vocabulary, **conventions)

    def __repr__(self) -> str:
        """Say how large the model is and which hooks are live."""
        config, weight = self.config, self.encoder.embedding.weight
        n_parameters = sum(parameter.numel() for parameter in self.parameters())
        return (
            f"HookedScGPT({config.n_layers} layers x {config.n_heads} heads, d_model {config.d_model}, "
            f"d_hid {config.d_hid}, {config.n_vocab:,} tokens, {n_parameters:,} parameters, "
            f"{str(weight.dtype).removeprefix('torch.')} on {weight.device})\n"
            f"live hooks: {describe_hooks(self.hook_dict)}"
        )

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.encoder.embedding.weight.device

    def initialize(self, generator: torch.Generator) -> HookedScGPT:
        """Draw fresh weights as scGPT does at construction, from `generator`; return self."""
        draw_weights(self, generator)
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
        batches: Int[Tensor, " cell"] | None = None,
    ) -> tuple[Float[Tensor, "cell token d_model"], Float[Tensor, "cell token d_model"]]:
        """Return the final residual stream and the gene embeddings, without the decoders.

        Raises
        ------
        InputError
            The batches of the cells are missing, unknown or not asked for.
        """
        x, genes = self.embed(gene_ids, values, batches)
        if padding is not None and not padding.any():
            padding = None
        for block in self.blocks:
            x = block(x, padding)
        return x, genes

    def embed(
        self,
        gene_ids: Int[Tensor, "cell token"],
        values: Float[Tensor, "cell token"],
        batches: Int[Tensor, " cell"] | None = None,
    ) -> tuple[Float[Tensor, "cell token d_model"], Float[Tensor, "cell token d_model"]]:
        """Return what enters the first block, and the gene embeddings.

        Raises
        ------
        InputError
            The batches of the cells are missing, unknown or not asked for.
        """
        check_batches(batches, self.config, len(gene_ids))
        genes = self.hook_embed(self.encoder(gene_ids))
        embedded = self.hook_value_embed(self.value_encoder(values))
        x = self.hook_tokens(genes * embedded if self.config.input_emb_style == "scaling" else genes + embedded)
        if self.config.batch_norm != "none":
            x = self.batch_norm(x, batches)
        return x, genes

    def forward(
        self,
        tokens: GeneTokens | Int[Tensor, "cell token"],
        values: Float[Tensor, "cell token"] | None = None,
        padding: Bool[Tensor, "cell token"] | None = None,
        batches: Int[Tensor, " cell"] | None = None,
    ) -> ModelOutput:
        """Run the model on `GeneTokens`, or on gene ids, values and padding (True = padded).

        `batches`, one number per cell, are for models that were fine-tuned with them (`config.needs_batches`). Each
        cell is normed by its own batch; scGPT norms all cells of a call by the batch of the first.

        Raises
        ------
        InputError
            Gene ids without values, tokens made with another vocabulary, or batches that do not fit the model.
        """
        given = (*token_tensors(tokens, values, padding, self.vocabulary.sha256), batches)
        gene_ids, values, padding, batches = (None if part is None else part.to(self.device) for part in given)
        x, genes = self.encode(gene_ids, values, padding, batches)
        cell = self.hook_cell(x[:, 0])
        read, read_cell = x, cell
        if self.config.batch_encoder:
            batch = self.hook_batch_embed(self.batch_encoder(batches))
            read = torch.cat([x, batch.unsqueeze(1).expand(-1, x.shape[1], -1)], -1)
            read_cell = torch.cat([cell, batch], -1)
        mvc, mvc_nonzero = self.mvc_decoder(read_cell, genes) if self.config.mvc else (None, None)
        return ModelOutput(x, cell, self.decoder(read), mvc, self.decoder.nonzero(read), mvc_nonzero)

    def run_with_cache(
        self,
        *args: Any,
        return_cache_object: bool = True,
        incl_bwd: bool = False,
        metric: Callable[[ModelOutput], Float[Tensor, ""]] | None = None,
        reset_hooks_end: bool = True,
        clear_contexts: bool = False,
        remove_batch_dim: bool = False,
        **options: Any,
    ) -> tuple[ModelOutput, Any]:
        """Run and return the output with the activations that `names_filter` names (all when None).

        Parameters
        ----------
        args
            What the model itself takes; `values`, `padding` and `batches` can be given by name.
        return_cache_object
            Whether to return a `ScGPTCache`, or a plain dict.
        incl_bwd, metric
            Also take the gradients of ``metric(output)``, one number, and cache them as ``NAME_grad``.
        reset_hooks_end, clear_contexts
            As in `hooks`.
        remove_batch_dim
            Drop the axis of cells, of the one cell.
        options
            `names_filter`, `device` and `pos_slice` (tokens to keep), as in `get_caching_hooks`.

        Returns
        -------
        output, cache
            `cache[name]` holds the activation.

        Raises
        ------
        InputError
            A name is no hook point, gradients are asked for without a metric (or the reverse), or the axis of several
            cells would be dropped.
        """
        if incl_bwd != (metric is not None):
            msg = (
                "incl_bwd=True and a metric go together: give the one number whose gradients to cache, such as "
                "metric=lambda output: output.cell[:, 3].sum()"
            )
            raise InputError(msg)
        inputs = {name: options.pop(name) for name in ("tokens", "values", "padding", "batches") if name in options}
        if remove_batch_dim and len(args[0] if args else inputs["tokens"]) != 1:
            msg = f"remove_batch_dim=True needs one cell, {len(args[0] if args else inputs['tokens'])} were given"
            raise InputError(msg)
        cache, forward, backward = self.get_caching_hooks(
            incl_bwd=incl_bwd, remove_batch_dim=remove_batch_dim, **options
        )
        with (
            self.hooks(forward, backward, reset_hooks_end=reset_hooks_end, clear_contexts=clear_contexts),
            self.gradients() if metric else nullcontext(),
        ):
            output = self(*args, **inputs)
            if metric:
                metric(output).backward()
        return output, ScGPTCache(cache, self, has_batch_dim=not remove_batch_dim) if return_cache_object else cache
