"""SHA-256 of files, folders, arrays and JSON values, and the one JSON text that hashes and files share."""

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from interp.errors import InputError


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Render a value as JSON: sorted keys, floats with every digit, NaN and infinities as null.

    Parameters
    ----------
    value
        Mappings, sequences, sets, numbers, strings, None, NumPy scalars and arrays, paths, dataclasses.
    indent
        Spaces per level; one line when None.

    Returns
    -------
    str
        The text; equal values give equal text.

    Raises
    ------
    InputError
        The value holds something that has no JSON form.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(
        _plain(value), sort_keys=True, indent=indent, separators=separators, ensure_ascii=False, allow_nan=False
    )


def sha256_json(value: Any) -> str:
    """Hash a value by its JSON text (`json_text`); returns 64 hex digits."""
    return hashlib.sha256(json_text(value).encode()).hexdigest()


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Hash a file's bytes; returns 64 hex digits.

    Raises
    ------
    InputError
        There is no such file.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"There is no file {path} to hash; check the path."
        raise InputError(msg)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_path(path: str | os.PathLike[str]) -> str:
    """Hash a file, or a folder by the names and hashes of all files below it; returns 64 hex digits.

    Raises
    ------
    InputError
        There is neither a file nor a folder.
    """
    path = Path(path)
    if not path.is_dir():
        return sha256_file(path)
    files = sorted(item.relative_to(path).as_posix() for item in path.rglob("*") if item.is_file())
    return sha256_json({name: sha256_file(path / name) for name in files})


def sha256_arrays(**arrays: ArrayLike) -> str:
    """Hash named arrays by name, type, shape and values.

    Parameters
    ----------
    **arrays
        Arrays of any shape; text arrays hash by their strings, whatever their width. A sparse matrix is given by its
        ``data``, ``indices`` and ``indptr``.

    Returns
    -------
    str
        64 hex digits, independent of memory layout, byte order and the order of the names.
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        if array.dtype.kind in "OUST":
            kind, data = "text", json_text([_text(item) for item in array.ravel()]).encode()
        else:
            array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
            kind, data = array.dtype.str, array.tobytes()
        digest.update(json_text([name, kind, list(np.shape(arrays[name])), len(data)]).encode())
        digest.update(data)
    return digest.hexdigest()


def _text(item: Any) -> str | None:
    missing = item is None or (isinstance(item, float) and math.isnan(item))
    return None if missing else str(item)


def _plain(value: Any) -> Any:
    """Turn a value into what the json module knows."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {_key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Set):
        return sorted((_plain(item) for item in value), key=json_text)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    msg = f"A {type(value).__name__} has no JSON form: {value!r:.80}; give numbers, strings, lists or mappings."
    raise InputError(msg)


def _key(key: Any) -> str:
    if isinstance(key, str | int | np.integer):
        return str(key)
    msg = f"A JSON key is a {type(key).__name__}: {key!r:.80}; give strings."
    raise InputError(msg)
