"""Operators, gathered: the map itself, and where candidates come from."""

from __future__ import annotations

from interp.extraction.attention_operators import attention_operators, operators_from_sums
from interp.extraction.combined import top_k
from interp.extraction.kinds import ATTENTION_KINDS, DEFAULT_KINDS, KINDS, POOLS, WEIGHT_KINDS
from interp.extraction.operator import ORIENTATIONS, Operator
from interp.extraction.spectrum import Spectrum, Support, operator_table
from interp.extraction.weight_operators import ModelWeights, weight_operators

__all__ = [
    "ATTENTION_KINDS",
    "DEFAULT_KINDS",
    "KINDS",
    "ORIENTATIONS",
    "POOLS",
    "WEIGHT_KINDS",
    "ModelWeights",
    "Operator",
    "Spectrum",
    "Support",
    "attention_operators",
    "operator_table",
    "operators_from_sums",
    "top_k",
    "weight_operators",
]
