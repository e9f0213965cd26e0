"""Load a model by name or from a folder, and make an untrained one of the same architecture."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from interp.errors import CheckpointError, InputError
from interp.runs.artifacts import artifact_folder, known_artifacts
from interp.runs.seeds import stream
from interp.scgpt.checkpoint import Checkpoint, read_checkpoint
from interp.scgpt.config import ScGPTConfig
from interp.scgpt.model import HookedScGPT
from interp.scgpt.published import PUBLISHED
from interp.scgpt.vocabulary import Vocabulary

log = logging.getLogger(__name__)


def load_model(name_or_folder: str | Path, *, device: str | torch.device = "auto") -> HookedScGPT:
    """Load an scGPT model with named activations, ready to be looked into.

    Parameters
    ----------
    name_or_folder
        A folder with scGPT's published files or this project's own, or the name of a model that ships with the
        package, such as ``"scgpt-sim"``. An existing folder is preferred to a name.
    device
        ``"auto"`` (a CUDA device if there is one, else the CPU) or a torch device.

    Returns
    -------
    HookedScGPT
        In evaluation mode, float32, parameters without gradients.

    Raises
    ------
    CheckpointError
        The files are damaged, unsafe, or do not hold the model they describe.
    VocabularyError
        The vocabulary is not valid.
    InputError
        There is neither such a folder nor such a shipped model, or no such device.
    """
    place = choose_device(device)
    checkpoint = read_checkpoint(checkpoint_folder(name_or_folder))
    report = checkpoint.report
    lossy = bool(report.missing or report.misshaped)
    log.log(logging.WARNING if lossy else logging.INFO, "%s", report)
    return model_of(checkpoint, place)


def checkpoint_folder(name_or_folder: str | Path) -> Path:
    """Return the folder of a model: the one that was given, or that of a model which ships under this name.

    Parameters
    ----------
    name_or_folder
        An existing folder is preferred to a name.

    Raises
    ------
    InputError
        There is neither; for a model that can be downloaded the message says how.
    """
    folder = Path(name_or_folder)
    if folder.is_dir():
        return folder
    name = str(name_or_folder)
    if name in PUBLISHED and name not in known_artifacts():
        msg = f"{name} does not ship with interp: run `interp model download {name} --to FOLDER` and give that folder"
        raise InputError(msg)
    return artifact_folder(name)


def model_of(checkpoint: Checkpoint, device: str | torch.device = "cpu") -> HookedScGPT:
    """Build the model that a checkpoint holds.

    Parameters
    ----------
    checkpoint
        From `read_checkpoint`.
    device
        A torch device.

    Returns
    -------
    HookedScGPT
        In evaluation mode, float32, parameters without gradients.

    Raises
    ------
    CheckpointError
        The weights do not fit the model.
    """
    model = _bare_model(checkpoint.config, checkpoint.vocabulary)
    try:
        model.load_state_dict(checkpoint.state, assign=True)
    except RuntimeError as error:
        msg = f"the weights of {checkpoint.report.source} do not fit the model: {error}"
        raise CheckpointError(msg) from error
    return _ready(model, torch.device(device))


def untrained_like(model: HookedScGPT, seed: int) -> HookedScGPT:
    """Return a model of the same architecture and vocabulary with scGPT's initial weights.

    Parameters
    ----------
    model
        The model to match.
    seed
        Seed of the weights; no global random state is read or changed.

    Returns
    -------
    HookedScGPT
        On the same device, in evaluation mode, parameters without gradients.
    """
    generator = torch.Generator().manual_seed(int(stream(seed, "scgpt.untrained").integers(2**63)))
    untrained = _bare_model(model.config, model.vocabulary).to_empty(device="cpu").initialize(generator)
    return _ready(untrained, model.device)


def _bare_model(config: ScGPTConfig, vocabulary: Vocabulary) -> HookedScGPT:
    """Build the modules without memory for weights, and so without a draw from the global random state."""
    with torch.device("meta"):
        return HookedScGPT(config, vocabulary)


def _ready(model: HookedScGPT, device: torch.device) -> HookedScGPT:
    model.requires_grad_(requires_grad=False)
    return model.to(device).eval()


def choose_device(device: str | torch.device) -> torch.device:
    """Return the device of that name; ``"auto"`` is a CUDA device if there is one, else the CPU.

    Raises
    ------
    InputError
        There is no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError, TypeError) as error:
        msg = f"the device {device!r} cannot be used here ({str(error).splitlines()[0]}); try 'auto' or 'cpu'"
        raise InputError(msg) from error
    return place
