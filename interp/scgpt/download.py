"""Download a published checkpoint: mirrors in turn, continued after a cut, in place only when the sums are right."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from interp.errors import DownloadError, InputError, IntegrityError
from interp.runs.fetch import fetch
from interp.runs.hashes import sha256_file
from interp.runs.lock import LOCK_NAME, folder_lock
from interp.scgpt.published import PublishedFile, PublishedModel, published_model

log = logging.getLogger(__name__)

MIRRORS_VARIABLE = "INTERP_MIRRORS"
PART_SUFFIX = ".part"
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def download_model(name: str, folder: str | Path, *, mirrors: Sequence[str] = ()) -> Path:
    """Fetch a published checkpoint into a folder; a complete folder is left as it is.

    Each file is written as ``NAME.part``, which outlives an interruption and is continued by the next call, and takes
    its name only when its SHA-256 is the published one. A file of the same name and another sum is not lost: it
    becomes ``NAME.wrong-`` with the first digits of its sum.

    Parameters
    ----------
    name
        ``"scgpt-human"``.
    folder
        Where to put the files; it is made when missing.
    mirrors
        Addresses of folders with the files, tried in order instead of the known ones. Without, those of the
        environment variable ``INTERP_MIRRORS`` (separated by blanks), then the known ones.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    InputError
        The name is not known, a mirror is no http address, or the folder cannot be written.
    DownloadError
        No mirror could be reached or finished, or the disk is full; what came is kept for the next call.
    IntegrityError
        What the mirrors gave is not the published file.
    """
    return download(published_model(name), Path(folder), mirrors)


def download(model: PublishedModel, folder: Path, mirrors: Sequence[str] = ()) -> Path:
    """Fetch the files of `model`; see `download_model`."""
    places = [*mirrors] or os.environ.get(MIRRORS_VARIABLE, "").split() or [*model.mirrors]
    odd = [place for place in places if not place.startswith(("https://", "http://"))]
    if odd:
        msg = f"a mirror is the https:// address of a folder that holds {_names(model)}; got {', '.join(odd)}"
        raise InputError(msg)
    if all(_is_right(folder / file.name, file) for file in model.files):
        log.info("%s already holds %s; nothing was fetched", folder, model.name)
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with folder_lock(folder):
            _check_space(model, folder)
            for file in model.files:
                _get(model, file, folder, places)
            (folder / LOCK_NAME).unlink(missing_ok=True)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise _disk_full(model, folder) from error
        msg = f"{folder} cannot be written ({error.strerror or error}); give another folder with --to"
        raise InputError(msg) from error
    return folder


def _get(model: PublishedModel, file: PublishedFile, folder: Path, places: Sequence[str]) -> None:
    target = folder / file.name
    if _is_right(target, file):
        return
    part = _part(target)
    tried: list[str] = []
    wrong = False
    for place in places:
        url = f"{place.rstrip('/')}/{file.name}"
        log.info("%s from %s", file.name, url)
        try:
            _bring(url, part, file)
        except (DownloadError, IntegrityError) as error:
            log.warning("%s: %s", url, error)
            tried.append(f"  {url}: {error}")
            wrong = wrong or isinstance(error, IntegrityError)
        else:
            _set_aside(target)
            part.replace(target)
            return
    kind = IntegrityError if wrong else DownloadError
    what = "is not the published file at any address" if wrong else "could not be fetched"
    raise kind("\n".join([f"{file.name} of {model.name} {what}. Tried:", *tried, _kept(part), _by_hand(model, folder)]))


def _bring(url: str, part: Path, file: PublishedFile) -> None:
    """Complete a part file from one address; bytes from elsewhere that spoil the sum are fetched anew, once."""
    continued = part.is_file()
    while True:
        fetch(url, part, size=file.size)
        given = sha256_file(part)
        if given == file.sha256:
            return
        part.unlink()
        if not continued:
            msg = f"gave a file with sha256 {given}; expected {file.sha256}; the wrong file was removed"
            raise IntegrityError(msg)
        log.warning("%s: the part kept from before does not belong to the file; fetching it from the start", part.name)
        continued = False


def _is_right(path: Path, file: PublishedFile) -> bool:
    return path.is_file() and path.stat().st_size == file.size and sha256_file(path) == file.sha256


def _set_aside(target: Path) -> None:
    if target.is_file():
        aside = target.with_name(f"{target.name}.wrong-{sha256_file(target)[:8]}")
        target.replace(aside)
        log.warning("%s was not the published file and is now called %s", target, aside.name)


def _check_space(model: PublishedModel, folder: Path) -> None:
    if _free(folder) < _missing(model, folder):
        raise _disk_full(model, folder)


def _free(folder: Path) -> int:
    return shutil.disk_usage(next(place for place in (folder, *folder.absolute().parents) if place.exists())).free


def _missing(model: PublishedModel, folder: Path) -> int:
    """Bytes that are still to be written."""
    left = 0
    for file in model.files:
        target = folder / file.name
        if not _is_right(target, file):
            part = _part(target)
            left += max(0, file.size - (part.stat().st_size if part.is_file() else 0))
    return left


def _disk_full(model: PublishedModel, folder: Path) -> DownloadError:
    free = _free(folder)
    return DownloadError(
        f"no space left on the disk of {folder}: {_missing(model, folder):,} more bytes are needed and {free:,} are "
        "free. What was fetched is kept: free some space and give the same command again, or give a folder on another "
        f"disk.\n{_by_hand(model, folder)}"
    )


def _kept(part: Path) -> str:
    if not part.is_file():
        return "Nothing was kept."
    return f"Kept: {part.stat().st_size:,} bytes in {part}; the same command continues there."


def _by_hand(model: PublishedModel, folder: Path) -> str:
    width = max(len(file.name) for file in model.files)
    rows = [f"  {file.name:{width}}  {file.size:>11,} bytes  sha256 {file.sha256}" for file in model.files]
    return "\n".join(
        [
            f"By hand: put these files into {folder} and give the same command, which checks them:",
            *rows,
            f"A browser finds them at {model.page}; any other copy does, for the sums decide. Another address: "
            f"--mirror URL, or {MIRRORS_VARIABLE}.",
        ]
    )


def _names(model: PublishedModel) -> str:
    return ", ".join(file.name for file in model.files)


def _part(target: Path) -> Path:
    return target.with_name(target.name + PART_SUFFIX)
