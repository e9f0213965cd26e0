"""The cache of one run: what holds in a post-norm encoder works, and what does not is refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.utilities import Slice

from interp.errors import InputError
from interp.scgpt.hook_names import nearest

if TYPE_CHECKING:
    from jaxtyping import Float

NO_SUM = "LayerNorm follows every sum, so the residual stream is not the sum of what heads and neurons write"
NO_TOKENS = "the model has no unembedding, and so no logits over tokens; its decoders predict expression"
NORMED = "every state of the residual stream has passed its LayerNorm already, and no final one follows"
NO_STATE_SPACE = "the model has no state-space layers"


def _refused(name: str, reason: str, instead: str = "") -> Callable[..., Any]:
    def method(self: ScGPTCache, *_: Any, **__: Any) -> Any:
        msg = f"{name} does not hold for this model: {reason}{f'; {instead}' if instead else ''}"
        raise InputError(msg)

    method.__name__ = name
    method.__doc__ = f"Raise InputError: {reason}."
    return method


class ScGPTCache(ActivationCache):
    """Activations of a run by name, with the methods of TransformerLens that hold in a post-norm encoder.

    ``cache["blocks.0.attn.hook_z"]``, or in short ``cache["z", 0]``; negative layers count from the end. After a
    run with gradients ``cache["blocks.0.attn.hook_z_grad"]`` stands beside it.

    Because LayerNorm follows every sum, a state of the residual stream is not the sum of what was written before it.
    Stacks of states (`accumulated_resid`), of activations (`stack_activation`), of what heads write into their own
    layer's sum (`stack_head_results`) and of what a layer's neurons do (`get_neuron_results`) hold; decompositions
    across layers, and everything about logits, raise `InputError`.
    """

    logit_lens = _refused("logit_lens", NO_TOKENS, "run model.decoder on a state of accumulated_resid")
    logit_attrs = _refused("logit_attrs", NO_TOKENS, "take gradients of an output (run_with_cache, incl_bwd=True)")
    apply_ln_to_stack = _refused("apply_ln_to_stack", NORMED)
    decompose_resid = _refused("decompose_resid", NO_SUM, "stack_activation gives attn_out or mlp_out of every layer")
    get_full_resid_decomposition = _refused("get_full_resid_decomposition", NO_SUM, "stack_head_results gives heads")
    stack_neuron_results = _refused("stack_neuron_results", NO_SUM, "get_neuron_results gives those of one layer")
    compute_ssm_effective_attention = _refused("compute_ssm_effective_attention", NO_STATE_SPACE)
    compute_ssm_state = _refused("compute_ssm_state", NO_STATE_SPACE)

    def __repr__(self) -> str:
        """Say how much is cached."""
        size = sum(value.numel() * value.element_size() for value in self.cache_dict.values())
        return f"ScGPTCache({len(self):,} activations, {size / 2**20:,.1f} MiB)"

    def __contains__(self, name: object) -> bool:
        """Whether an activation of this name is cached."""
        return name in self.cache_dict

    def __getitem__(self, key: Any) -> Tensor:
        """Return an activation by its name, or by a short name and layer as in ``cache["z", 0]``.

        Raises
        ------
        InputError
            It is not cached.
        """
        try:
            return super().__getitem__(key)
        except KeyError as error:
            msg = f"{error.args[0]!r} is not in this cache of {len(self)} activations; {self._hint(error.args[0])}"
            raise InputError(msg) from error

    def apply_slice_to_batch_dim(self, batch_slice: Any) -> ScGPTCache:
        """Return the cache of some cells: an int (whose axis is dropped), a slice, or a list of cells.

        Raises
        ------
        InputError
            The cells' axis was dropped before.
        """
        cells = batch_slice if isinstance(batch_slice, Slice) else Slice(batch_slice)
        if not self.has_batch_dim:
            msg = "this cache has no axis of cells any more; slice the cache it was made from"
            raise InputError(msg)
        kept = {name: cells.apply(value, dim=0) for name, value in self.cache_dict.items()}
        return ScGPTCache(kept, self.model, has_batch_dim=cells.mode != "int")

    def accumulated_resid(
        self, layer: int | None = None, *, apply_ln: bool = False, **options: Any
    ) -> Float[Tensor, "state cell token d_model"] | tuple[Float[Tensor, "state cell token d_model"], list[str]]:
        """Return the states of the residual stream one after the other: the input of each layer, then the last output.

        Each state is what the next layer reads, after the LayerNorm of the layer before. A later state is no sum of
        earlier ones and more: differences between neighbours mix what was written with the rescaling.

        Parameters
        ----------
        layer
            Last layer whose input is returned; all and the final output when None or -1.
        apply_ln
            Refused: the states are normed already.
        options
            `incl_mid`, `mlp_input`, `pos_slice` and `return_labels`, as in TransformerLens.
        """
        if apply_ln:
            self.apply_ln_to_stack()
        return super().accumulated_resid(layer, **options)

    def stack_head_results(
        self,
        layer: int | None = -1,
        *,
        return_labels: bool = False,
        incl_remainder: bool = False,
        pos_slice: Any = None,
        apply_ln: bool = False,
    ) -> Float[Tensor, "head cell token d_model"] | tuple[Float[Tensor, "head cell token d_model"], list[str]]:
        """Return what every head adds to the sum before its own layer's first LayerNorm; `hook_z` suffices.

        The heads of a layer and `b_O` sum to its `hook_attn_out`; heads of different layers do not add up.

        Parameters
        ----------
        layer
            Heads of the layers before it; all when None or -1.
        return_labels
            Also return labels such as ``"L0H1"``.
        incl_remainder, apply_ln
            Refused, as the sum over layers is not in the residual stream.
        pos_slice
            Tokens to keep: an int, a slice, a list, or None for all.
        """
        if incl_remainder or apply_ln:
            self.decompose_resid()
        n_layers = self.model.cfg.n_layers
        tokens = pos_slice if isinstance(pos_slice, Slice) else Slice(pos_slice)
        results = [
            tokens.apply(self._head_results(index), dim=-3)
            for index in range(n_layers if layer in (None, -1) else layer)
        ]
        if not results:
            msg = f"layer = {layer} leaves no head before it; give 1 to {n_layers}, or -1 for all"
            raise InputError(msg)
        stacked = torch.cat(results, dim=-2).movedim(-2, 0)
        labels = [f"L{index}H{head}" for index in range(len(results)) for head in range(self.model.cfg.n_heads)]
        return (stacked, labels) if return_labels else stacked

    def _ensure_head_results(self) -> bool:
        """Fill in the results that are not cached; whether all were."""
        names = [f"blocks.{index}.attn.hook_result" for index in range(self.model.cfg.n_layers)]
        cached = all(name in self for name in names)
        self.cache_dict |= {name: self._head_results(index) for index, name in enumerate(names)}
        return cached

    def _head_results(self, layer: int) -> Float[Tensor, "cell token head d_model"]:
        name = f"blocks.{layer}.attn.hook_result"
        if name in self:
            return self.cache_dict[name]
        z = self["z", layer]
        return torch.einsum("...hd,hdm->...hm", z, self.model.blocks[layer].attn.W_O.detach().to(z.device, z.dtype))

    def _hint(self, name: str) -> str:
        if name in self.model.hook_dict:
            return "run again with a names_filter that selects it"
        return nearest(name, list(self.cache_dict)) or "list(cache) names what it holds"
