"""The architecture of one scGPT model, read from and written to the published `args.json`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from interp.errors import CheckpointError

# Defaults of scGPT 0.2.4 and of its published whole-human checkpoint.
LAYER_NORM_EPS = 1e-5
DEFAULT_BINS = 51
DEFAULT_MAX_TOKENS = 1200
PAD_VALUE = -2
MASK_VALUE = -1

STYLES = ("continuous", "category", "scaling")
MVC_STYLES = ("inner product", "inner product, detach", "concat query", "sum query")
BATCH_NORMS = {True: "dsbn", "dsbn": "dsbn", "batchnorm": "batchnorm"}  # scGPT builds no norm for its other values
# What args.json calls the parts that only some models have.
OPTIONAL_ARGS = {
    "input_emb_style": "input_emb_style",
    "n_input_bins": "n_input_bins",
    "mvc_style": "mvc_decoder_style",
    "explicit_zero_prob": "explicit_zero_prob",
    "batch_norm": "domain_spec_batchnorm",
    "batch_encoder": "use_batch_labels",
    "n_batches": "num_batch_labels",
}


@dataclass(frozen=True)
class ScGPTConfig:
    """Sizes, parts and conventions of a scGPT model.

    `n_bins` counts the zero bin: expressed genes take the values 1 to `n_bins - 1`. `max_tokens` is the longest
    cell, `<cls>` included.

    `input_emb_style` says what a value becomes: ``"continuous"`` (a perceptron of it), ``"category"`` (a row of
    `n_input_bins`) or ``"scaling"`` (a factor of the gene's embedding). `batch_norm` is ``"none"``, ``"batchnorm"``
    or ``"dsbn"`` (each of `n_batches` batches has its own); `batch_encoder` says whether the decoders see the batch.
    `explicit_zero_prob` adds the chance of a value that is not zero to the outputs, and `mvc_style` is the kind of
    MVC decoder where there is one (`mvc`).
    """

    n_vocab: int
    n_layers: int
    n_heads: int
    d_model: int
    d_hid: int
    n_bins: int = DEFAULT_BINS
    max_tokens: int = DEFAULT_MAX_TOKENS
    pad_value: int = PAD_VALUE
    mask_value: int = MASK_VALUE
    pad_token: str = "<pad>"
    cls_token: str = "<cls>"
    input_emb_style: str = "continuous"
    mvc: bool = True
    dropout: float = 0.2
    eps: float = LAYER_NORM_EPS
    n_input_bins: int = 0
    mvc_style: str = "inner product"
    explicit_zero_prob: bool = False
    batch_norm: str = "none"
    batch_encoder: bool = False
    n_batches: int = 0

    @property
    def d_head(self) -> int:
        """Width of one head."""
        return self.d_model // self.n_heads

    @property
    def d_decoder(self) -> int:
        """Width of what the decoders read: the residual stream, and the batch's embedding where they see it."""
        return self.d_model * (2 if self.batch_encoder else 1)

    @property
    def needs_batches(self) -> bool:
        """Whether the model cannot run without knowing the batch of each cell."""
        return self.batch_encoder or self.batch_norm == "dsbn"

    @property
    def d_mlp(self) -> int:
        """Width of the feed-forward layer, under the name that TransformerLens uses."""
        return self.d_hid

    @property
    def normalization_type(self) -> str:
        """Normalisation, under the name that TransformerLens uses."""
        return "LN"

    @classmethod
    def from_args(cls, args: dict[str, Any], n_vocab: int, *, mvc: bool, **found: Any) -> ScGPTConfig:
        """Read the published `args.json`.

        Parameters
        ----------
        args
            Content of `args.json`; `embsize`, `nheads`, `d_hid` and `nlayers` are required.
        n_vocab
            Number of tokens of the vocabulary beside it.
        mvc
            Whether the checkpoint holds an MVC decoder (the file does not always say).
        found
            Fields that the checkpoint's weights themselves tell; they count, not what `args` says of them.

        Raises
        ------
        CheckpointError
            A required size is missing, not a positive whole number, or the heads do not divide the width; or a part
            is of a kind that the hooked model does not have.
        """
        sizes = _sizes(args)
        _refuse_unsupported(args)
        parts = _merged(_parts(args), found, args)
        special = {"pad_value": PAD_VALUE, "mask_value": MASK_VALUE}
        n_bins = int(args.get("n_bins") or DEFAULT_BINS)
        if parts["input_emb_style"] == "category":
            special = {"pad_value": n_bins, "mask_value": n_bins + 1}  # of scGPT's own fine-tuning
        config = cls(
            n_vocab=n_vocab,
            **sizes,
            n_bins=n_bins,
            max_tokens=int(args.get("max_seq_len") or DEFAULT_MAX_TOKENS),
            pad_value=int(args.get("pad_value", special["pad_value"])),
            mask_value=int(args.get("mask_value", special["mask_value"])),
            pad_token=str(args.get("pad_token", "<pad>")),
            mvc=mvc,
            dropout=float(args.get("dropout", 0.2)),
            **parts,
        )
        _check_parts(config)
        return config

    def to_args(self) -> dict[str, Any]:
        """Return the content of a published-style `args.json`; optional parts are named only where there are any."""
        plain = {field.name: field.default for field in fields(self)}
        optional = {
            published: getattr(self, name)
            for name, published in OPTIONAL_ARGS.items()
            if getattr(self, name) != plain[name] or name == "input_emb_style"
        }
        return {
            "embsize": self.d_model,
            "nheads": self.n_heads,
            "d_hid": self.d_hid,
            "nlayers": self.n_layers,
            "n_bins": self.n_bins,
            "max_seq_len": self.max_tokens,
            "pad_value": self.pad_value,
            "mask_value": self.mask_value,
            "pad_token": self.pad_token,
            "MVC": self.mvc,
            "dropout": self.dropout,
            **optional,
        }


def _sizes(args: dict[str, Any]) -> dict[str, Any]:
    names = {"embsize": "d_model", "nheads": "n_heads", "d_hid": "d_hid", "nlayers": "n_layers"}
    sizes = {}
    for published, name in names.items():
        value = args.get(published)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            msg = f"args.json gives {published} = {value!r}; expected a positive whole number"
            raise CheckpointError(msg)
        sizes[name] = value
    if sizes["d_model"] % sizes["n_heads"]:
        msg = f"args.json gives embsize = {sizes['d_model']}, which nheads = {sizes['n_heads']} does not divide"
        raise CheckpointError(msg)
    return sizes


def _refuse_unsupported(args: dict[str, Any]) -> None:
    """Refuse what would make the hooked model compute something else than the model that was trained."""
    reasons = {
        "pre_norm": (False, "scGPT computes it in its flash-attention layers only, and post-norm in the others"),
        "cell_emb_style": ("cls", "a cell's row is <cls> throughout this package"),
        "fast_transformer_backend": ("flash", "linear attention has no patterns, and its layers use GELU"),
    }
    for name, (supported, why) in reasons.items():
        value = args.get(name, supported)
        if value not in (supported, None):
            msg = f"args.json gives {name} = {value!r}; only {supported!r} can be loaded: {why}"
            raise CheckpointError(msg)


def _parts(args: dict[str, Any]) -> dict[str, Any]:
    norm = args.get("domain_spec_batchnorm") or False
    return {
        "input_emb_style": args.get("input_emb_style") or STYLES[0],
        "n_input_bins": int(args.get("n_input_bins") or 0),
        "mvc_style": str(args.get("mvc_decoder_style") or MVC_STYLES[0]),
        "explicit_zero_prob": bool(args.get("explicit_zero_prob", False)),
        "batch_norm": BATCH_NORMS.get(norm, "none") if isinstance(norm, bool | str) else "none",
        "batch_encoder": bool(args.get("use_batch_labels", False)),
        "n_batches": int(args.get("num_batch_labels") or 0),
    }


def _merged(said: dict[str, Any], found: dict[str, Any], args: dict[str, Any]) -> dict[str, Any]:
    """Put what the weights tell before what `args.json` says; refuse where both speak of the encoder and differ."""
    for name in ("input_emb_style", "batch_norm"):
        published = OPTIONAL_ARGS[name]
        if name in found and args.get(published) and said[name] not in ("none", found[name]):
            msg = f"args.json gives {published} = {args[published]!r}, but the weights are those of {found[name]!r}"
            raise CheckpointError(msg)
    merged = said | found
    if said["mvc_style"] == MVC_STYLES[1] and merged["mvc_style"] == MVC_STYLES[0]:
        merged["mvc_style"] = MVC_STYLES[1]  # the same weights; only gradients differ
    return merged


def _check_parts(config: ScGPTConfig) -> None:
    for name, value, known in (
        ("input_emb_style", config.input_emb_style, STYLES),
        ("mvc_decoder_style", config.mvc_style, MVC_STYLES),
    ):
        if value not in known:
            msg = f"args.json gives {name} = {value!r}; expected one of {', '.join(map(repr, known))}"
            raise CheckpointError(msg)
    if config.input_emb_style == "category" and not 0 <= config.pad_value < config.n_input_bins:
        msg = (
            f"args.json gives input_emb_style = 'category' with pad_value = {config.pad_value}, for a value encoder of "
            f"{config.n_input_bins} rows; expected value_encoder.embedding.weight in the weights with a row for it"
        )
        raise CheckpointError(msg)
    if config.needs_batches and config.n_batches < 1:
        msg = f"args.json gives num_batch_labels = {config.n_batches} to a model with batches; expected at least 1"
        raise CheckpointError(msg)
    if config.mvc and config.mvc_style in MVC_STYLES[2:] and (config.explicit_zero_prob or config.batch_encoder):
        msg = (
            f"args.json gives mvc_decoder_style = {config.mvc_style!r} with explicit_zero_prob or use_batch_labels, "
            "which scGPT cannot compute either"
        )
        raise CheckpointError(msg)
