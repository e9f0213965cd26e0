"""Checkpoint folders: read scGPT's published files and the project's own safely, report every key, write atomically."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from interp.errors import CheckpointError, InputError
from interp.runs.files import new_folder, write_json, write_text
from interp.scgpt.config import ScGPTConfig
from interp.scgpt.layout import to_hooked, to_published
from interp.scgpt.shapes import ENCODER_PREFIXES, MVC_PREFIX, optional_parts, published_shapes
from interp.scgpt.vocabulary import PAD, Vocabulary, some
from interp.scgpt.weights import check_size, open_weights

if TYPE_CHECKING:
    from interp.scgpt.model import HookedScGPT

log = logging.getLogger(__name__)

ARGS, VOCABULARY, CARD = "args.json", "vocab.json", "README.md"
SAFETENSORS, TORCH = "model.safetensors", "best_model.pt"

# The published whole-human checkpoint has 205 MB of weights, 12 layers, 8 heads and width 512; the limits leave
# room for models some ten times larger in every dimension and stop files that could only exhaust the memory.
MAX_ARGS_BYTES = 2**20
ARGS_LIMITS = {
    "embsize": 8192,
    "nheads": 256,
    "d_hid": 65_536,
    "nlayers": 256,
    "n_layers_cls": 64,
    "n_bins": 10_000,
    "max_seq_len": 100_000,
}
REQUIRED_ARGS = ("embsize", "nheads", "d_hid", "nlayers")
# A batch norm's count of training steps, which its output does not depend on.
COUNTER = ".num_batches_tracked"
# scGPT's embed_data asks for the depth of a classifier that it then leaves unused; this is scGPT's default.
UNUSED_ARGS = {"n_layers_cls": 3}
SAVED_DTYPES = {"float16": torch.float16, "float32": torch.float32}
SAVED_FILES = {ARGS, VOCABULARY, CARD, SAFETENSORS}
WHAT_TO_DO = f"check that {ARGS}, {VOCABULARY} and the weights come from one complete download of one model"


@dataclass(frozen=True)
class LoadReport:
    """What a checkpoint held, by published key name.

    Attributes
    ----------
    source
        The file of weights.
    key_style
        ``"in_proj"`` or ``"Wqkv"`` (flash attention), as the attention projections are named.
    loaded
        Keys that the model uses.
    missing
        Decoder keys that the model has and the file lacks; their outputs are NaN.
    extra
        Keys that the file has and the model does not use.
    misshaped
        Decoder keys of another shape, as ``(key, shape in the file, expected shape)``; treated as missing.
    """

    source: Path
    key_style: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    misshaped: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = ()

    def __str__(self) -> str:
        """Return the report as one line for the log."""
        parts = [f"{len(self.loaded)} weights loaded from {self.source} ({self.key_style} keys)"]
        if self.missing:
            parts.append(f"missing: {some(self.missing)}")
        if self.misshaped:
            parts.append(f"misshaped: {some(_describe(self.misshaped))}")
        if self.extra:
            parts.append(f"not used by this model: {some(self.extra)}")
        return "; ".join(parts)


class Checkpoint(NamedTuple):
    """A checkpoint's content: configuration, vocabulary, weights by hooked name (float32), and the report."""

    config: ScGPTConfig
    vocabulary: Vocabulary
    state: dict[str, Tensor]
    report: LoadReport


def read_checkpoint(folder: str | Path) -> Checkpoint:
    """Read a folder with ``args.json``, ``vocab.json`` and ``model.safetensors`` or ``best_model.pt``.

    Nothing in the files is executed, and no memory is taken on the word of ``args.json``: the shapes of the stored
    weights are compared with it first. With both kinds of weights in the folder the safetensors are read.

    Parameters
    ----------
    folder
        The checkpoint's folder.

    Returns
    -------
    Checkpoint
        ``(config, vocabulary, state, report)``.

    Raises
    ------
    CheckpointError
        A file is missing, damaged, too large or would execute code; an encoder weight is missing, misshaped or not
        finite; the weights contradict ``args.json``.
    VocabularyError
        ``vocab.json`` is not a valid vocabulary.
    """
    folder = Path(folder)
    source = _find_files(folder)
    args = _read_args(folder / ARGS)
    vocabulary = Vocabulary.read(folder / VOCABULARY)
    stored, fetch = open_weights(source)
    names, key_style = unified_names(stored, source)
    shapes = {name: stored[key] for name, key in names.items()}
    try:
        config = ScGPTConfig.from_args(args, len(vocabulary), **optional_parts(shapes))
    except (TypeError, ValueError, OverflowError) as error:
        msg = f"{folder / ARGS} does not describe an scGPT model: {error}"
        raise CheckpointError(msg) from error
    _check_convention(config, folder)
    config, report = _compare(shapes, config, source, key_style)
    lost = set(report.missing) | {name for name, _, _ in report.misshaped}
    state = {
        # NaN where a decoder's weight is lost: its output is then visibly not there, never that of random weights.
        name: torch.full(shape, torch.nan) if name in lost else _as_float(fetch(names[name]), name, source)
        for name, shape in published_shapes(config).items()
    }
    return Checkpoint(config, vocabulary, to_hooked(state, config), report)


def save_checkpoint(
    folder: str | Path,
    model: HookedScGPT,
    *,
    dtype: str = "float16",
    card: str | None = None,
    leave_out: Collection[str] = (),
) -> Path:
    """Write a model as ``args.json``, ``vocab.json``, ``model.safetensors`` (published key names) and ``README.md``.

    The folder appears complete or not at all.

    Parameters
    ----------
    folder
        Where to write; a checkpoint that stands there is replaced.
    model
        The model.
    dtype
        ``"float16"`` (half the size; rounds to 3 digits) or ``"float32"`` (exact).
    card
        Text of the model card; a bare description of the architecture when None.
    leave_out
        Published names of weights that are not written, as those that a checkpoint lacked.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    InputError
        The dtype is unknown, a weight is not finite or too large for it, or the folder holds other files.
    """
    from safetensors.torch import save_file

    if dtype not in SAVED_DTYPES:
        msg = f"dtype {dtype!r} is not known; expected one of {', '.join(SAVED_DTYPES)}"
        raise InputError(msg)
    folder = Path(folder)
    _check_replaceable(folder)
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    weights = {
        name: tensor.to(SAVED_DTYPES[dtype])
        for name, tensor in to_published(state, model.config).items()
        if name not in leave_out
    }
    odd = [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]
    if odd:
        msg = f"weights are not finite as {dtype}: {some(odd)}; save float32, or look at how the training went"
        raise InputError(msg)
    with new_folder(folder) as aside:
        write_json(aside / ARGS, UNUSED_ARGS | model.config.to_args())
        write_json(aside / VOCABULARY, model.vocabulary.to_mapping())
        save_file(weights, aside / SAFETENSORS, metadata={"format": "pt"})
        write_text(aside / CARD, card if card is not None else _bare_card(model.config))
    return folder


def _check_replaceable(folder: Path) -> None:
    if not folder.exists():
        return
    other = [folder.name] if not folder.is_dir() else sorted({p.name for p in folder.iterdir()} - SAVED_FILES)
    if other:
        msg = f"{folder} holds other files ({some(other)}), which saving would remove; give a folder of its own"
        raise InputError(msg)


def _find_files(folder: Path) -> Path:
    if not folder.is_dir():
        msg = f"{folder} is not a folder; expected one with {ARGS}, {VOCABULARY} and {SAFETENSORS} or {TORCH}"
        raise CheckpointError(msg)
    absent = [name for name in (ARGS, VOCABULARY) if not (folder / name).is_file()]
    weights = [folder / name for name in (SAFETENSORS, TORCH) if (folder / name).is_file()]
    if absent or not weights:
        absent += [] if weights else [f"{SAFETENSORS} or {TORCH}"]
        msg = f"the checkpoint folder {folder} lacks {', '.join(absent)}; download or copy it completely"
        raise CheckpointError(msg)
    return weights[0]


def _read_args(path: Path) -> dict[str, Any]:
    check_size(path, MAX_ARGS_BYTES)
    try:
        args = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError) as error:
        msg = f"{path} cannot be read as JSON ({error}); expected the args.json that scGPT publishes"
        raise CheckpointError(msg) from error
    if not isinstance(args, dict):
        msg = f"{path} holds a {type(args).__name__}; expected an object with {', '.join(REQUIRED_ARGS)}"
        raise CheckpointError(msg)
    for name, limit in ARGS_LIMITS.items():
        value = args.get(name)
        if value is None and name not in REQUIRED_ARGS:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= limit:
            msg = f"{path} gives {name} = {str(value)[:60]}; expected a whole number from 1 to {limit:,}"
            raise CheckpointError(msg)
    return args


def _check_convention(config: ScGPTConfig, folder: Path) -> None:
    if config.pad_token != PAD:
        msg = f"{folder / ARGS} gives pad_token = {config.pad_token!r}; only {PAD!r} can be loaded"
        raise CheckpointError(msg)


def unified_names(stored: Iterable[str], source: object) -> tuple[dict[str, str], str]:
    """Return published ``in_proj_*`` name -> key in the source, and the source's key style.

    Raises
    ------
    CheckpointError
        Both styles stand there.
    """
    stored = list(stored)
    names = {key.replace("self_attn.Wqkv.", "self_attn.in_proj_"): key for key in stored}
    if len(names) != len(stored):
        msg = f"{source} holds attention projections under both in_proj_* and Wqkv.* names; which ones count is unclear"
        raise CheckpointError(msg)
    return names, "Wqkv" if any(name != key for name, key in names.items()) else "in_proj"


def _compare(
    stored: Mapping[str, tuple[int, ...]], config: ScGPTConfig, source: Path, key_style: str
) -> tuple[ScGPTConfig, LoadReport]:
    """Compare stored with expected shapes; refuse where the encoder is concerned, report the rest."""
    expected = published_shapes(config)
    missing = [name for name in expected if name not in stored]
    misshaped = [(name, stored[name], shape) for name, shape in expected.items() if stored.get(name, shape) != shape]
    extra = sorted(name for name in stored if name not in expected)
    faults = [name for name in missing if name.startswith(ENCODER_PREFIXES)]
    faults_shape = [entry for entry in misshaped if entry[0].startswith(ENCODER_PREFIXES)]
    faults_extra = [name for name in extra if name.startswith(ENCODER_PREFIXES) and not name.endswith(COUNTER)]
    if faults or faults_shape or faults_extra:
        msg = _refusal(source, config, faults, faults_shape, faults_extra, extra)
        raise CheckpointError(msg)
    lost = {*missing, *(name for name, _, _ in misshaped)}
    if any(name.startswith(MVC_PREFIX) for name in lost):  # half an MVC decoder is none
        config = replace(config, mvc=False)
    loaded = tuple(name for name in published_shapes(config) if name not in lost)
    return config, LoadReport(source, key_style, loaded, tuple(missing), tuple(extra), tuple(misshaped))


def _refusal(
    source: Path,
    config: ScGPTConfig,
    missing: list[str],
    misshaped: list[tuple[str, tuple[int, ...], tuple[int, ...]]],
    surplus: list[str],
    extra: list[str],
) -> str:
    sizes = f"{config.n_layers} layers of width {config.d_model} over {config.n_vocab:,} tokens"
    parts = [f"{source} does not hold the encoder that {ARGS} and {VOCABULARY} describe ({sizes})"]
    if missing:
        parts.append(f"missing: {some(missing)}")
    if misshaped:
        parts.append(f"misshaped: {some(_describe(misshaped))}")
    if surplus:
        parts.append(f"encoder layers that the model does not have: {some(surplus)}")
    if missing and len(extra) > len(surplus):
        parts.append(f"unknown: {some([name for name in extra if name not in surplus])}")
    return "; ".join(parts) + f". What to do: {WHAT_TO_DO}"


def _as_float(tensor: Tensor, name: str, source: Path) -> Tensor:
    if not tensor.is_floating_point():
        msg = f"{source}: {name} holds {tensor.dtype} values; expected floating-point weights"
        raise CheckpointError(msg)
    tensor = tensor.detach().to(torch.float32, copy=True).contiguous()
    if not torch.isfinite(tensor).all():
        msg = f"{source}: {name} holds values that are not finite; the file is damaged or its training diverged"
        raise CheckpointError(msg)
    return tensor


def _bare_card(config: ScGPTConfig) -> str:
    return (
        f"# scGPT checkpoint\n\n{config.n_layers} layers x {config.n_heads} heads, d_model {config.d_model}, "
        f"vocabulary of {config.n_vocab:,} tokens. No word was given on how it was trained.\n"
    )


def _describe(misshaped: Any) -> list[str]:
    return [f"{name} has {list(found)}, expected {list(wanted)}" for name, found, wanted in misshaped]
