"""Probes: what can be read linearly from a representation of cells, and from which layers and heads."""

from interp.probing.logistic import LogisticFit, LogisticPaths
from interp.probing.probes import probe_classes, probe_value
from interp.probing.ridge import RidgeFits, ridge_paths
from interp.probing.screen import ProbeResult, probe
from interp.probing.settings import ProbeSettings

__all__ = [
    "LogisticFit",
    "LogisticPaths",
    "ProbeResult",
    "ProbeSettings",
    "RidgeFits",
    "probe",
    "probe_classes",
    "probe_value",
    "ridge_paths",
]
