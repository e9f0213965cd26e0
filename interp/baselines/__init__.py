"""Representations of cells that owe nothing to training: what an embedding has to beat."""

from interp.baselines.folds import without_model
from interp.baselines.representations import model_free
from interp.baselines.untrained import untrained_activations

__all__ = ["model_free", "untrained_activations", "without_model"]
