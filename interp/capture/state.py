"""What a folder says of the store in it: nothing yet, begun, complete, or that it is something else."""

from __future__ import annotations

import errno
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from interp.capture.layout import SCHEMA
from interp.errors import InputError, StoreError, UnfinishedError
from interp.runs.lock import LOCK_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

# Holds what belongs to the filling alone; removed at the end.
WORK = ".work"
PLAN, DONE = "plan.json", "done"
# Endings of files that zarr renames when they are whole.
UNFINISHED = "*.partial"


def recorded_state(folder: Path) -> dict[str, Any] | None:
    """Return what a begun or complete store says of itself; None for a folder that holds none."""
    attributes = _attributes(folder)
    if (folder / WORK / PLAN).is_file():
        state: dict[str, Any] = json.loads((folder / WORK / PLAN).read_text())
        # the last act of filling is to set this, and then to remove the plan
        return state | {"complete": bool(attributes.get("complete"))}
    return attributes if "sites" in attributes else None


def check_folder(out: Path) -> None:
    """Refuse a place where no store can be begun or continued.

    Raises
    ------
    InputError
        A file stands there, or the folder holds other things.
    """
    if out.exists() and not out.is_dir():
        msg = f"{out} is a file; give a folder for the activations"
        raise InputError(msg)
    if not out.is_dir() or recorded_state(out) is not None:
        return
    # what a run leaves that was killed before it had begun
    known = {LOCK_NAME, WORK} | ({"zarr.json"} if not _attributes(out) else set())
    others = sorted(item.name for item in out.iterdir() if item.name not in known and not item.match(UNFINISHED))
    if others:
        msg = f"{out} holds other things ({', '.join(others[:3])}); give a new or an empty folder"
        raise InputError(msg)


def check_same(out: Path, recorded: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Refuse a store of something else.

    Raises
    ------
    StoreError
        Its schema, or anything in `identity`, differs.
    """
    if recorded.get("schema") != SCHEMA:
        msg = f"{out} has schema {recorded.get('schema')!r}, this version writes {SCHEMA}; give another folder"
        raise StoreError(msg)
    asked = json.loads(json.dumps(identity))
    other = [key for key in asked if recorded.get(key) != asked[key]]
    if other:
        shown = "; ".join(f"{key}: {_short(recorded.get(key))} there, {_short(asked[key])} asked for" for key in other)
        msg = f"{out} holds activations of something else ({shown}); give another folder, or remove this one"
        raise StoreError(msg)


@contextmanager
def writable(folder: Path | None, safe: Callable[[], str]) -> Iterator[None]:
    """Turn what the operating system says while a store is written into an `UnfinishedError`.

    Parameters
    ----------
    folder
        The store.
    safe
        Returns what is safe already, as a sentence.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        why, remedy = ("the disk is full", "make room") if full else (str(error), "mend that")
        msg = f"{folder} cannot be written: {why}. {safe()}; {remedy} and repeat the same call, which continues there"
        raise UnfinishedError(msg) from error


def _attributes(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "zarr.json").read_text()).get("attributes", {}))
    except (OSError, ValueError):
        return {}


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
