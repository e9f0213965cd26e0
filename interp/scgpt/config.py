"""The architecture of one scGPT model, read from and written to the published `args.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from interp.errors import CheckpointError

# Defaults of scGPT 0.2.4 and of its published whole-human checkpoint.
LAYER_NORM_EPS = 1e-5
DEFAULT_BINS = 51
DEFAULT_MAX_TOKENS = 1200
PAD_VALUE = -2
MASK_VALUE = -1


@dataclass(frozen=True)
class ScGPTConfig:
    """Sizes and conventions of a scGPT encoder.

    `n_bins` counts the zero bin: expressed genes take the values 1 to `n_bins - 1`. `max_tokens` is the longest
    cell, `<cls>` included.
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

    @property
    def d_head(self) -> int:
        """Width of one head."""
        return self.d_model // self.n_heads

    @property
    def d_mlp(self) -> int:
        """Width of the feed-forward layer, under the name that TransformerLens uses."""
        return self.d_hid

    @property
    def normalization_type(self) -> str:
        """Normalisation, under the name that TransformerLens uses."""
        return "LN"

    @classmethod
    def from_args(cls, args: dict[str, Any], n_vocab: int, *, mvc: bool) -> ScGPTConfig:
        """Read the published `args.json`.

        Parameters
        ----------
        args
            Content of `args.json`; `embsize`, `nheads`, `d_hid` and `nlayers` are required.
        n_vocab
            Number of tokens of the vocabulary beside it.
        mvc
            Whether the checkpoint holds an MVC decoder (the file does not always say).

        Raises
        ------
        CheckpointError
            A required size is missing, not a positive whole number, or the heads do not divide the width.
        """
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
        style = args.get("input_emb_style", "continuous")
        if style != "continuous":
            msg = f"args.json gives input_emb_style = {style!r}; only 'continuous' checkpoints can be loaded"
            raise CheckpointError(msg)
        return cls(
            n_vocab=n_vocab,
            n_layers=sizes["n_layers"],
            n_heads=sizes["n_heads"],
            d_model=sizes["d_model"],
            d_hid=sizes["d_hid"],
            n_bins=int(args.get("n_bins") or DEFAULT_BINS),
            max_tokens=int(args.get("max_seq_len") or DEFAULT_MAX_TOKENS),
            pad_value=int(args.get("pad_value", PAD_VALUE)),
            mask_value=int(args.get("mask_value", MASK_VALUE)),
            pad_token=str(args.get("pad_token", "<pad>")),
            input_emb_style=style,
            mvc=mvc,
            dropout=float(args.get("dropout", 0.2)),
        )

    def to_args(self) -> dict[str, Any]:
        """Return the content of a published-style `args.json`."""
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
            "input_emb_style": self.input_emb_style,
            "MVC": self.mvc,
            "dropout": self.dropout,
        }
