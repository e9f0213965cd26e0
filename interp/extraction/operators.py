"""Operators, gathered: the map itself, and where candidates come from."""

from __future__ import annotations

from interp.extraction.attention_operators import attention_operators, operators_from_sums
from interp.extraction.kinds import ATTENTION_KINDS, DEFAULT_KINDS, KINDS, POOLS, WEIGHT_KINDS
from interp.extraction.operator import ORIENTATIONS, Operator

__all__ = [
    "ATTENTION_KINDS",
    "DEFAULT_KINDS",
    "KINDS",
    "ORIENTATIONS",
    "POOLS",
    "WEIGHT_KINDS",
    "Operator",
    "attention_operators",
    "operators_from_sums",
]
