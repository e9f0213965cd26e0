"""Live models of the scgpt package, wrapped without a file between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

from interp.errors import CheckpointError, InputError
from interp.scgpt.checkpoint import unified_names
from interp.scgpt.config import ScGPTConfig
from interp.scgpt.layout import to_hooked
from interp.scgpt.shapes import MVC_PREFIX, optional_parts, published_shapes
from interp.scgpt.vocabulary import Vocabulary, some

if TYPE_CHECKING:
    from interp.scgpt.model import HookedScGPT

Model = TypeVar("Model", bound="HookedScGPT")

CONVENTIONS = {"n_bins": "n_bins", "max_tokens": "max_seq_len", "pad_value": "pad_value", "mask_value": "mask_value"}


def wrap(kind: type[Model], model: nn.Module, vocabulary: Any, **conventions: int) -> Model:
    """Copy the weights of a live model of the package into a hooked one; see `HookedScGPT.from_scgpt`.

    Parameters
    ----------
    kind
        The class to make.
    model
        A `TransformerModel` of scgpt.
    vocabulary
        A `Vocabulary`, a mapping of symbol to id, or the package's `GeneVocab`.
    conventions
        `n_bins`, `max_tokens`, `pad_value`, `mask_value`; the defaults are those of the published checkpoint.

    Returns
    -------
    HookedScGPT
        In evaluation mode, parameters without gradients.

    Raises
    ------
    InputError
        The model or the vocabulary does not fit.
    """
    layers = getattr(getattr(model, "transformer_encoder", None), "layers", None)
    if layers is None or not hasattr(model, "encoder"):
        msg = (
            f"a {type(model).__name__} is not scGPT's TransformerModel with torch or flash attention; to load a "
            "checkpoint folder use interp.load_model"
        )
        raise InputError(msg)
    vocabulary = _vocabulary(vocabulary)
    tensors = {name: value.detach() for name, value in model.state_dict().items()}
    names, _ = unified_names(tensors, "the model")
    shapes = {name: tuple(tensors[key].shape) for name, key in names.items()}
    try:
        args = _args(model, layers, conventions)
        config = ScGPTConfig.from_args(args, len(vocabulary), **optional_parts(shapes))
    except CheckpointError as error:
        msg = f"this model cannot be wrapped: {str(error).replace('args.json gives', 'it has')}"
        raise InputError(msg) from error
    _check(model, vocabulary, config, shapes)
    state = {name: tensors[names[name]].to(torch.float32) for name in published_shapes(config)}
    with torch.device("meta"):
        wrapped = kind(config, vocabulary)
    copies = {name: tensor.clone() for name, tensor in to_hooked(state, config).items()}
    wrapped.load_state_dict(copies, assign=True)
    return wrapped.requires_grad_(requires_grad=False).eval()


def _args(model: Any, layers: nn.ModuleList, conventions: Mapping[str, int]) -> dict[str, Any]:
    """Return the published `args.json` that describes a live model."""
    unknown = sorted(set(conventions) - set(CONVENTIONS))
    if unknown:
        msg = f"{some(unknown)} is no convention of tokens; expected {', '.join(CONVENTIONS)}"
        raise InputError(msg)
    first = layers[0]
    args = {
        "embsize": model.encoder.embedding.embedding_dim,
        "nheads": first.self_attn.num_heads,
        "d_hid": first.linear1.out_features,
        "nlayers": len(layers),
        "dropout": first.dropout.p,
        # Only the flash layers follow the model's pre_norm; torch's are post-norm whatever it says.
        "pre_norm": getattr(first, "norm_scheme", "post") == "pre" or getattr(first, "norm_first", False),
        "cell_emb_style": getattr(model, "cell_emb_style", "cls"),
        "input_emb_style": getattr(model, "input_emb_style", "continuous"),
        "mvc_decoder_style": getattr(getattr(model, "mvc_decoder", None), "arch_style", None),
    }
    if args["input_emb_style"] == "category":
        args["pad_value"] = model.value_encoder.embedding.padding_idx
    return args | {CONVENTIONS[name]: value for name, value in conventions.items()}


def _vocabulary(given: Any) -> Vocabulary:
    if isinstance(given, Vocabulary):
        return given
    if isinstance(given, Mapping) or hasattr(given, "get_stoi"):
        return Vocabulary.from_mapping(dict(given) if isinstance(given, Mapping) else given.get_stoi())
    msg = f"a {type(given).__name__} is no vocabulary; give a mapping of symbol to id, or scGPT's GeneVocab"
    raise InputError(msg)


def _check(model: Any, vocabulary: Vocabulary, config: ScGPTConfig, shapes: Mapping[str, tuple[int, ...]]) -> None:
    rows, padding_row = model.encoder.embedding.num_embeddings, model.encoder.embedding.padding_idx
    if rows != len(vocabulary) or padding_row != vocabulary.pad_id:
        msg = (
            f"the model embeds {rows:,} tokens with <pad> as {padding_row}, the vocabulary holds {len(vocabulary):,} "
            f"with <pad> as {vocabulary.pad_id}; give the vocabulary that the model was made with"
        )
        raise InputError(msg)
    odd = [name for name, shape in published_shapes(config).items() if shapes.get(name) != shape]
    if odd:
        msg = f"the model's weights are not those of its sizes: {some(odd)}; expected an unchanged TransformerModel"
        raise InputError(msg)
    if hasattr(model, "mvc_decoder") != any(name.startswith(MVC_PREFIX) for name in shapes):
        msg = "the model's MVC decoder has no weights; expected an unchanged TransformerModel"
        raise InputError(msg)
