"""Activations and attention sums out of the model, streamed."""

from interp.capture.attention import AttentionSums, attention_sums
from interp.capture.embedding import cell_embeddings

__all__ = ["AttentionSums", "attention_sums", "cell_embeddings"]
