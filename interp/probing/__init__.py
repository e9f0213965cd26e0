"""Probes: what can be read linearly from a representation of cells."""

from interp.probing.probes import probe_classes, probe_value

__all__ = ["probe_classes", "probe_value"]
