"""Writing a compact algorithm to its folder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from interp.errors import InputError
from interp.extraction.card import algorithm_card
from interp.extraction.runner import algorithm as runner
from interp.runs.files import new_folder, write_bytes, write_json, write_text

if TYPE_CHECKING:
    import os

    from interp.extraction.algorithm import CompactAlgorithm

CARD = "README.md"


def write_algorithm(algorithm: CompactAlgorithm, folder: str | os.PathLike[str]) -> Path:
    """Write arrays, manifest, model card and runner; equal algorithms give equal bytes.

    The tensor file carries the hash of the manifest's contents and the manifest those of tensor file and runner, so
    that a change in any of them is seen.

    Parameters
    ----------
    algorithm
        What to write.
    folder
        Where it shall stand; an algorithm that stands there is replaced as a whole.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    InputError
        Something that is no algorithm stands there.
    """
    from safetensors.numpy import save

    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and (runner.TENSORS in _names(folder) or not _names(folder))):
        msg = f"{folder} exists and is no algorithm, so it is not replaced; give a new folder."
        raise InputError(msg)
    arrays = {name: np.ascontiguousarray(array) for name, array in algorithm.arrays().items()}
    described = {key: value for key, value in algorithm.manifest.items() if key != "files"}
    described["schema_version"] = runner.SCHEMA_VERSION  # what was read from an older folder is written as a new one
    # One metadata key only: the format writes several in no fixed order.
    tensors = save(arrays, metadata={"manifest_sha256": runner.manifest_hash(described)})
    program = Path(runner.__file__).read_bytes()
    files = {runner.TENSORS: tensors, runner.RUNNER: program}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    with new_folder(folder) as fresh:
        for name, data in files.items():
            write_bytes(fresh / name, data)
        write_json(fresh / runner.MANIFEST, {**described, "files": hashes})
        write_text(fresh / CARD, algorithm_card(algorithm))
    return folder


def _names(folder: Path) -> list[str]:
    return [item.name for item in folder.iterdir()]
