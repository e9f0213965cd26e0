"""Files of weights, opened so that nothing in them runs and nothing larger than the file is taken into memory."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from interp.errors import CheckpointError
from interp.scgpt.vocabulary import some

# The published whole-human weights have 205 MB; models some forty times larger still fit.
MAX_WEIGHT_BYTES = 8 * 2**30
SAFETENSORS_SUFFIX = ".safetensors"

Shapes = dict[str, tuple[int, ...]]
Fetch = Callable[[str], Tensor]


def open_weights(path: Path) -> tuple[Shapes, Fetch]:
    """Open a safetensors file or a torch archive without reading the weights themselves.

    Parameters
    ----------
    path
        The file; one that does not end in ``.safetensors`` is taken for what ``torch.save`` writes.

    Returns
    -------
    shapes
        Key to shape.
    fetch
        Function that reads the tensor of one key.

    Raises
    ------
    CheckpointError
        The file is truncated, too large, not of its kind, or holds more than plain tensors.
    """
    check_size(path, MAX_WEIGHT_BYTES)
    return _open_safetensors(path) if path.suffix == SAFETENSORS_SUFFIX else _open_torch(path)


def check_size(path: Path, limit: int) -> None:
    """Refuse a file that is empty or larger than a limit.

    Parameters
    ----------
    path
        The file.
    limit
        Bytes.

    Raises
    ------
    CheckpointError
        The size is not 1 to `limit`.
    """
    size = path.stat().st_size
    if not 0 < size <= limit:
        msg = f"{path} has {size:,} bytes; expected 1 to {limit:,}"
        raise CheckpointError(msg)


def _open_safetensors(path: Path) -> tuple[Shapes, Fetch]:
    """Return the stored shapes and a function that reads one tensor."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as handle:
            shapes = {key: tuple(handle.get_slice(key).get_shape()) for key in handle.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        msg = f"{path} is damaged or not a safetensors file ({error}); copy or download it again"
        raise CheckpointError(msg) from error

    def fetch(key: str) -> Tensor:
        with safe_open(path, framework="pt") as handle:
            return handle.get_tensor(key)

    return shapes, fetch


def _open_torch(path: Path) -> tuple[Shapes, Fetch]:
    """Return the shapes in a torch archive and a function that gives one tensor, without running anything in it."""
    _check_archive(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        msg = (
            f"{path} is refused: it holds more than weights and could execute code ({_first_line(error)}); "
            "use a checkpoint from a source you trust, saved as a plain state dict"
        )
        raise CheckpointError(msg) from error
    except Exception as error:  # a damaged archive surfaces as almost any error of the unpickler
        msg = f"{path} is damaged ({type(error).__name__}: {_first_line(error)}); copy or download it again"
        raise CheckpointError(msg) from error
    if not isinstance(state, Mapping):
        msg = f"{path} holds a {type(state).__name__}; expected a state dict of name to tensor"
        raise CheckpointError(msg)
    odd = [str(key) for key, value in state.items() if not isinstance(key, str) or not _is_plain(value)]
    if odd:
        msg = f"{path} holds entries that are not plain tensors: {some(odd)}; expected a state dict of name to tensor"
        raise CheckpointError(msg)
    size = path.stat().st_size
    if sum(value.numel() * value.element_size() for value in state.values()) > size:
        msg = f"{path} is refused: its tensors claim more values than its {size:,} bytes hold"
        raise CheckpointError(msg)
    return {key: tuple(value.shape) for key, value in state.items()}, state.__getitem__


def _check_archive(path: Path) -> None:
    """Refuse what is not an uncompressed zip archive: legacy pickles, truncated files, archives that inflate."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        msg = (
            f"{path} is refused: it is truncated, or a bare pickle instead of the archive that torch.save writes "
            f"({error}); copy or download it again"
        )
        raise CheckpointError(msg) from error
    inflating = any(member.compress_type != zipfile.ZIP_STORED for member in members)
    if inflating or sum(member.file_size for member in members) > path.stat().st_size:
        msg = f"{path} is refused: its members are compressed or overlap, which torch.save never writes"
        raise CheckpointError(msg)


def _is_plain(value: object) -> bool:
    return (
        type(value) in (Tensor, torch.nn.Parameter)
        and value.layout is torch.strided  # type: ignore[attr-defined]
        and value.device.type == "cpu"  # type: ignore[attr-defined]
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
