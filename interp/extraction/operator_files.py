"""Operators on disk: safetensors, read without torch, refused when a byte was changed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from interp.errors import InputError, IntegrityError
from interp.extraction.operator import Operator
from interp.runs.files import write_bytes
from interp.runs.hashes import json_text, sha256_arrays, sha256_json

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray

SCHEMA = 2
PARTS = (("matrix",), ("left", "right"))


def write_operator(operator: Operator, path: Path) -> Path:
    """Write an operator; see `Operator.save`."""
    from safetensors.numpy import save

    names = PARTS[operator.factored]
    arrays = {name: np.ascontiguousarray(getattr(operator, name)) for name in names}
    described: dict[str, Any] = {
        "schema": SCHEMA,
        "name": operator.name,
        "kind": operator.kind,
        "orientation": operator.orientation,
        "genes": operator.genes,
        "heads": operator.heads,
        "n_cells": operator.n_cells,
        "provenance": operator.provenance,
    }
    described["sha256"] = _digest(described, arrays)
    # One metadata key only: the format writes several in no fixed order.
    return write_bytes(path, save(arrays, metadata={"interp": json_text(described)}))


def read_operator(path: Path) -> Operator:
    """Read an operator; see `Operator.load`."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        msg = f"There is no operator file {path}; check the path."
        raise InputError(msg)
    try:
        with safe_open(path, framework="numpy") as file:
            described = json.loads((file.metadata() or {})["interp"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - the file is no mapping
        _check(described, arrays, path)
        return Operator(**arrays, **{key: value for key, value in described.items() if key not in ("schema", "sha256")})
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError, InputError) as error:
        msg = f"{path} is not a whole operator file ({error}); export the operator again."
        raise IntegrityError(msg) from error


def _check(described: dict[str, Any], arrays: dict[str, NDArray], path: Path) -> None:
    if described["schema"] != SCHEMA:
        msg = f"{path} has operator schema {described['schema']!r}, this version reads {SCHEMA}; export it again."
        raise IntegrityError(msg)
    if tuple(sorted(arrays)) not in PARTS:
        msg = f"{path} holds {', '.join(sorted(arrays))}; expected matrix, or left and right. Export it again."
        raise IntegrityError(msg)
    if described["sha256"] != _digest({k: v for k, v in described.items() if k != "sha256"}, arrays):
        msg = f"{path} was changed after it was written: its content has another checksum. Export the operator again."
        raise IntegrityError(msg)


def _digest(described: dict[str, Any], arrays: dict[str, NDArray]) -> str:
    return sha256_json([json.loads(json_text(described)), sha256_arrays(**arrays)])
