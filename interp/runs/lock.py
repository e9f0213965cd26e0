"""A lock that keeps two processes out of one folder and dies with the process that holds it."""

import fcntl
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from interp.errors import InputError

logger = logging.getLogger(__name__)

LOCK_NAME = ".lock"

_held: set[Path] = set()  # a record lock does not keep a process from itself


@contextmanager
def folder_lock(folder: Path, *, leave: bool = True) -> Iterator[None]:
    """Hold a folder for this process alone.

    The operating system drops the lock when the process ends, however it ends, so none is ever stale.

    Parameters
    ----------
    folder
        An existing folder.
    leave
        Whether the lock's file stays when the folder is let go.

    Raises
    ------
    InputError
        Another process, or another part of this one, holds the folder.
    """
    path = folder.resolve() / LOCK_NAME
    if path in _held:
        msg = f"{folder} is already open in this process; close it first, or give another folder."
        raise InputError(msg)
    _held.add(path)
    try:
        handle = _taken(path, folder)
        try:
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode(), 0)
            yield
            os.ftruncate(handle, 0)
        finally:
            if not leave:
                path.unlink(missing_ok=True)
            # Closing any handle of the file drops this process's lock on it, so nothing else may open it meanwhile.
            os.close(handle)
    finally:
        _held.discard(path)


def _taken(path: Path, folder: Path) -> int:
    """Return a handle of the lock's file with the lock on it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _take(handle, folder)
            if _is_at(handle, path):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # who held it before removed the file meanwhile: a lock on it keeps nobody out


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _take(handle: int, folder: Path) -> None:
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        holder = os.pread(handle, 1_000, 0).decode(errors="replace") or "unknown"
        msg = f"{folder} is in use by another process ({holder}); wait until it ends, or give another folder."
        raise InputError(msg) from error
    except OSError as error:
        logger.warning("The file system cannot lock %s (%s); do not start a second run in it.", folder, error)
