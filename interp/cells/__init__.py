"""Panels of cells: read and combine files, match genes, choose the operator panel, make anchors, check disjointness."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp.cells.anchors import Anchors
    from interp.cells.disjoint import check_disjoint
    from interp.cells.files import write_cells
    from interp.cells.genes import GeneMatch, match_genes
    from interp.cells.panel import expression, operator_genes
    from interp.cells.read import read_cells
    from interp.cells.reader import CellReader, open_cells

__all__ = [
    "Anchors",
    "CellReader",
    "GeneMatch",
    "check_disjoint",
    "expression",
    "match_genes",
    "open_cells",
    "operator_genes",
    "read_cells",
    "write_cells",
]

_HOME = {
    "Anchors": "anchors",
    "CellReader": "reader",
    "GeneMatch": "genes",
    "check_disjoint": "disjoint",
    "expression": "panel",
    "match_genes": "genes",
    "open_cells": "reader",
    "operator_genes": "panel",
    "read_cells": "read",
    "write_cells": "files",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
