"""Representations of cells that need no model: what an embedding has to beat."""

from interp.baselines.representations import model_free

__all__ = ["model_free"]
