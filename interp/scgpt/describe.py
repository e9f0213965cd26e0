"""What a checkpoint is, in plain values: sizes, vocabulary, keys, files and whether they are the published ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from interp.runs.hashes import sha256_file
from interp.scgpt.checkpoint import ARGS, SAFETENSORS, TORCH, VOCABULARY, read_checkpoint
from interp.scgpt.load import checkpoint_folder, model_of
from interp.scgpt.published import SCGPT_HUMAN, published_name


def describe_checkpoint(name_or_folder: str | Path) -> dict[str, Any]:
    """Read a checkpoint and describe it.

    Parameters
    ----------
    name_or_folder
        As for `load_model`.

    Returns
    -------
    dict
        ``folder``; ``weights`` (the file that is read); ``config`` (as in `args.json`); ``genes``, ``special_tokens``,
        ``parameters``, ``hook_points`` (numbers); ``key_style``; ``loaded`` (number); ``missing``, ``extra`` (names);
        ``misshaped`` (key, shape, expected shape); ``files`` (name, bytes, sha256, and published: the published file
        with this sum, or None); ``is_scgpt_human`` (whether all files are those of the published whole-human model).

    Raises
    ------
    CheckpointError, VocabularyError
        The checkpoint cannot be read.
    InputError
        There is neither such a folder nor such a shipped model.
    """
    folder = checkpoint_folder(name_or_folder)
    checkpoint = read_checkpoint(folder)
    report, vocabulary = checkpoint.report, checkpoint.vocabulary
    model = model_of(checkpoint)
    files = [_file(folder / name) for name in (ARGS, VOCABULARY, SAFETENSORS, TORCH) if (folder / name).is_file()]
    published = {f"{SCGPT_HUMAN.name}/{file.name}" for file in SCGPT_HUMAN.files}
    return {
        "folder": str(folder),
        "weights": report.source.name,
        "config": checkpoint.config.to_args(),
        "genes": len(vocabulary.genes),
        "special_tokens": len(vocabulary) - len(vocabulary.genes),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "hook_points": len(model.hook_dict),
        "key_style": report.key_style,
        "loaded": len(report.loaded),
        "missing": list(report.missing),
        "extra": list(report.extra),
        "misshaped": [list(entry) for entry in report.misshaped],
        "files": files,
        "is_scgpt_human": {file["published"] for file in files} == published,
    }


def _file(path: Path) -> dict[str, Any]:
    digest = sha256_file(path)
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": digest, "published": published_name(digest)}
