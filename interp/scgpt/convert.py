"""Convert any readable checkpoint to the project's own form: safetensors, published key names, a model card."""

from __future__ import annotations

from pathlib import Path

from interp.errors import InputError
from interp.runs.hashes import sha256_file
from interp.scgpt.checkpoint import CARD, LoadReport, read_checkpoint, save_checkpoint
from interp.scgpt.load import checkpoint_folder, model_of
from interp.scgpt.published import published_name


def convert_checkpoint(source: str | Path, to: str | Path, *, dtype: str = "float32") -> LoadReport:
    """Read a checkpoint and write it as ``args.json``, ``vocab.json``, ``model.safetensors`` and ``README.md``.

    Parameters
    ----------
    source
        Folder of a checkpoint with ``best_model.pt`` or ``model.safetensors``, or the name of a shipped model.
    to
        Folder to write, whole or not at all; a converted checkpoint that stands there is replaced.
    dtype
        ``"float32"`` (exact) or ``"float16"`` (half the size; rounds to 3 digits).

    Returns
    -------
    LoadReport
        What was read: keys loaded, missing, and extra ones, which are not written.

    Raises
    ------
    CheckpointError, VocabularyError
        The checkpoint cannot be read.
    InputError
        The two folders are the same, `to` holds other files, or a weight is too large for the dtype.
    """
    folder, target = checkpoint_folder(source), Path(to)
    if target.resolve() == folder.resolve():
        msg = f"{folder} would be overwritten by its own conversion; give another folder to write"
        raise InputError(msg)
    checkpoint = read_checkpoint(folder)
    report = checkpoint.report
    lost = {*report.missing, *(name for name, _, _ in report.misshaped)}
    save_checkpoint(target, model_of(checkpoint), dtype=dtype, card=_card(folder, report, dtype), leave_out=lost)
    return report


def _card(folder: Path, report: LoadReport, dtype: str) -> str:
    own = folder / CARD
    text = own.read_text(errors="replace").rstrip() if own.is_file() else "# scGPT checkpoint"
    digest = sha256_file(report.source)
    origin = published_name(digest)
    lines = [
        f"Converted from `{report.source.name}`{f', the published {origin}' if origin else ''} (sha256 `{digest}`, "
        f"{report.key_style} keys) as {dtype}{'' if dtype == 'float32' else ', which rounds the weights'}.",
        f"{len(report.loaded)} weights are kept.",
    ]
    if report.extra:
        lines.append(f"Dropped, as the model does not use them: {', '.join(report.extra)}.")
    if report.missing or report.misshaped:
        names = [*report.missing, *(name for name, _, _ in report.misshaped)]
        lines.append(f"Missing or of another shape, and so not there: {', '.join(names)}.")
    lines.append("Settings in `args.json` that only concern training are not kept.")
    return f"{text}\n\n## Conversion\n\n" + "\n".join(lines) + "\n"
