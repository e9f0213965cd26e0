"""Files that are either the old or the new ones, never half: written aside, flushed to the disk, renamed."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from interp.runs.hashes import json_text, sha256_arrays, sha256_file, sha256_json, sha256_path

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "new_folder",
    "remove_asides",
    "sha256_arrays",
    "sha256_file",
    "sha256_json",
    "sha256_path",
    "write_bytes",
    "write_csv",
    "write_json",
    "write_text",
]

ASIDE_SUFFIX = ".part"  # marks what is being written, or was when the process died


def write_bytes(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write bytes to a file as a whole or not at all.

    Parameters
    ----------
    path
        The file; missing parent folders are made.
    data
        Its content.

    Returns
    -------
    pathlib.Path
        The file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = _aside(path)
    try:
        with aside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    _flush_folder(path.parent)
    return path


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write UTF-8 text to a file as a whole or not at all; see `write_bytes`."""
    return write_bytes(path, text.encode())


def write_json(path: str | os.PathLike[str], value: Any) -> Path:
    """Write a value as JSON with sorted keys; numbers that JSON does not know (NaN, infinities) become null.

    Parameters
    ----------
    path
        The file; missing parent folders are made.
    value
        Mappings, sequences, numbers, strings, None, NumPy scalars and arrays, paths, dataclasses.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    InputError
        The value holds something that has no JSON form.
    """
    return write_text(path, json_text(value, indent=2) + "\n")


def write_csv(
    path: str | os.PathLike[str], table: "pd.DataFrame | Sequence[Mapping[str, Any]]", *, index: bool = False
) -> Path:
    """Write a table as CSV; floats keep every digit and NaN is an empty field.

    Parameters
    ----------
    path
        The file; missing parent folders are made.
    table
        A data frame, or one mapping per row.
    index
        Write the frame's index as the first column.

    Returns
    -------
    pathlib.Path
        The file.
    """
    import pandas as pd

    frame = table if isinstance(table, pd.DataFrame) else pd.DataFrame(list(table))
    return write_text(path, frame.to_csv(index=index, lineterminator="\n"))


@contextmanager
def new_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Fill a folder aside and put it in its place at the end.

    An error inside the block leaves the folder that was there untouched.

    Parameters
    ----------
    path
        Where the folder shall stand; one that stands there is replaced.

    Yields
    ------
    pathlib.Path
        An empty folder beside `path`, to be filled.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh, stale = _aside(path), _aside(path)
    fresh.mkdir()
    try:
        yield fresh
        for file in sorted(fresh.rglob("*")):
            if file.is_file():
                _flush_file(file)
        # Two renames, as no portable call exchanges folders: a kill between them leaves no folder, never half of one.
        if path.exists():
            path.rename(stale)
        fresh.rename(path)
        _flush_folder(path.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(stale, ignore_errors=True)


def remove_asides(folder: str | os.PathLike[str]) -> int:
    """Remove what a killed process left half written below a folder that nobody else writes to.

    Parameters
    ----------
    folder
        The folder that is cleaned, with all below it.

    Returns
    -------
    int
        How many files and folders were removed.
    """
    left = sorted(Path(folder).rglob(f".*{ASIDE_SUFFIX}"))
    for item in left:
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item, ignore_errors=True)
        else:
            item.unlink(missing_ok=True)
    return len(left)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid4().hex}{ASIDE_SUFFIX}")


def _flush_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _flush_folder(path: Path) -> None:
    # A rename survives a power cut only once its folder has been flushed too.
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
