"""Find where a biological process lives in scGPT, extract it as a compact algorithm, measure who deserves the credit.

Public names are imported on first use, so `import interp` stays light.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp.ablation.screen import AblationResult, ablate_heads
    from interp.biology import StageGraph
    from interp.capture.attention import attention_sums
    from interp.capture.store import ActivationStore
    from interp.capture.stream import capture
    from interp.capture.sums import AttentionSums
    from interp.cells import read_cells
    from interp.discover import discover, extract
    from interp.errors import (
        CheckpointError,
        DependencyError,
        DownloadError,
        InputError,
        IntegrityError,
        InterpError,
        StoreError,
        UnfinishedError,
        VocabularyError,
    )
    from interp.extraction.algorithm import CompactAlgorithm
    from interp.extraction.operators import Operator
    from interp.probing.screen import ProbeResult, probe
    from interp.scgpt.load import load_model
    from interp.scgpt.model import HookedScGPT
    from interp.scgpt.tokens import GeneTokens
    from interp.simulate import simulate

__version__ = "0.1.0"

_MODULE_OF = {
    "AblationResult": "interp.ablation.screen",
    "ActivationStore": "interp.capture.store",
    "AttentionSums": "interp.capture.sums",
    "CheckpointError": "interp.errors",
    "CompactAlgorithm": "interp.extraction.algorithm",
    "DependencyError": "interp.errors",
    "DownloadError": "interp.errors",
    "GeneTokens": "interp.scgpt.tokens",
    "HookedScGPT": "interp.scgpt.model",
    "InputError": "interp.errors",
    "IntegrityError": "interp.errors",
    "InterpError": "interp.errors",
    "Operator": "interp.extraction.operators",
    "ProbeResult": "interp.probing.screen",
    "StageGraph": "interp.biology",
    "StoreError": "interp.errors",
    "UnfinishedError": "interp.errors",
    "VocabularyError": "interp.errors",
    "ablate_heads": "interp.ablation.screen",
    "attention_sums": "interp.capture.attention",
    "capture": "interp.capture.stream",
    "discover": "interp.discover",
    "extract": "interp.discover",
    "load_model": "interp.scgpt.load",
    "probe": "interp.probing.screen",
    "read_cells": "interp.cells",
    "simulate": "interp.simulate",
}

__all__ = [
    "AblationResult",
    "ActivationStore",
    "AttentionSums",
    "CheckpointError",
    "CompactAlgorithm",
    "DependencyError",
    "DownloadError",
    "GeneTokens",
    "HookedScGPT",
    "InputError",
    "IntegrityError",
    "InterpError",
    "Operator",
    "ProbeResult",
    "StageGraph",
    "StoreError",
    "UnfinishedError",
    "VocabularyError",
    "ablate_heads",
    "attention_sums",
    "capture",
    "discover",
    "extract",
    "load_model",
    "probe",
    "read_cells",
    "simulate",
]


# Packages that `import interp` alone makes reachable, as in `interp.figures.gate_board`.
_PACKAGES = frozenset(
    {
        "ablation",
        "baselines",
        "biology",
        "cells",
        "evidence",
        "extraction",
        "figures",
        "geometry",
        "probing",
        "runs",
        "stats",
    }
)


class _Package(ModuleType):
    """The package object; `interp.simulate` stays the function although a subpackage has the same name."""

    def __setattr__(self, name: str, value: Any) -> None:
        # The import system sets each imported submodule on its parent, which would hide the public function.
        if name in _MODULE_OF and isinstance(value, ModuleType):
            return
        super().__setattr__(name, value)


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"interp.{name}")
    if name not in _MODULE_OF:
        msg = f"module 'interp' has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF, *_PACKAGES})


sys.modules[__name__].__class__ = _Package
