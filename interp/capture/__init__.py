"""Activations and attention sums out of the model, streamed."""

from interp.capture.attention import attention_sums
from interp.capture.embedding import cell_embeddings
from interp.capture.groups import GroupedSums, attention_sums_by_group
from interp.capture.store import ActivationStore, StoredActivation
from interp.capture.stream import capture
from interp.capture.sums import AttentionSums

__all__ = [
    "ActivationStore",
    "AttentionSums",
    "GroupedSums",
    "StoredActivation",
    "attention_sums",
    "attention_sums_by_group",
    "capture",
    "cell_embeddings",
]
