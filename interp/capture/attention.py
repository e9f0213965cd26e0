"""Attention of every head between the genes of a panel, summed over cells; no per-cell map is ever stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from interp.errors import InputError, StoreError
from interp.runs.files import new_folder
from interp.runs.progress import progress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jaxtyping import Float, Int

    from interp.scgpt.model import HookedScGPT
    from interp.scgpt.tokens import GeneTokens

# Entries of the patterns held at once in one layer (cell x head x query x key); 4 MiB in float32 stay in the cache, and
# larger batches were slower.
PATTERN_ENTRIES = 2**20
SCHEMA = 1


@dataclass(frozen=True)
class AttentionSums:
    """Sums of attention patterns over cells, between the genes of a panel.

    Attributes
    ----------
    sum
        Sum of `pattern[query, key]` over the cells that hold both genes, float64 (layer, head, gene, gene).
    uniform
        The same sum for a pattern that attends evenly to every token of a cell, float64 (gene, gene).
    count
        Cells in which both genes were tokens, int64 (gene, gene).
    genes
        Symbols of the panel.
    n_cells
        Number of cells.
    """

    sum: Float[np.ndarray, "layer head gene gene"]
    uniform: Float[np.ndarray, "gene gene"]
    count: Int[np.ndarray, "gene gene"]
    genes: tuple[str, ...]
    n_cells: int

    def __add__(self, other: AttentionSums) -> AttentionSums:
        """Return the sums over the cells of both."""
        if self.genes != other.genes or self.sum.shape != other.sum.shape:
            msg = f"sums over {len(self.genes)} and {len(other.genes)} genes, or of different models, cannot be added"
            raise InputError(msg)
        return AttentionSums(
            self.sum + other.sum,
            self.uniform + other.uniform,
            self.count + other.count,
            self.genes,
            self.n_cells + other.n_cells,
        )

    def subset(self, genes: Sequence[str]) -> AttentionSums:
        """Return the sums between some of the genes, in the given order."""
        at = {gene: i for i, gene in enumerate(self.genes)}
        missing = [gene for gene in genes if gene not in at]
        if missing:
            msg = f"{len(missing)} genes are not in these sums, such as {missing[:3]}; sum over a panel that holds them"
            raise InputError(msg)
        keep = np.array([at[gene] for gene in genes])
        pairs = np.ix_(keep, keep)
        return AttentionSums(
            self.sum[:, :, keep[:, None], keep], self.uniform[pairs], self.count[pairs], tuple(genes), self.n_cells
        )

    def save(self, folder: Path) -> None:
        """Write the sums as a zarr group."""
        import zarr

        with new_folder(folder) as aside:
            group = zarr.open_group(aside, mode="w")
            for name in ("sum", "uniform", "count"):
                array = getattr(self, name)
                chunks = (1, 1, *array.shape[2:]) if array.ndim == 4 else array.shape
                group.create_array(name, data=array, chunks=chunks)
            group.attrs.update({"schema": SCHEMA, "genes": list(self.genes), "n_cells": self.n_cells})

    @classmethod
    def load(cls, folder: Path) -> AttentionSums:
        """Read sums written by `save`.

        Raises
        ------
        StoreError
            The folder holds none, or of another schema version.
        """
        import zarr

        try:
            group = zarr.open_group(folder, mode="r")
            attrs: dict[str, Any] = dict(group.attrs)
        except (OSError, ValueError) as error:
            msg = f"{folder} holds no attention sums ({error}); make them with interp.capture.attention_sums"
            raise StoreError(msg) from error
        if attrs.get("schema") != SCHEMA:
            msg = f"{folder} has schema {attrs.get('schema')!r}, this version reads {SCHEMA}; make the sums again"
            raise StoreError(msg)
        total, uniform, count = (np.asarray(group[name]) for name in ("sum", "uniform", "count"))
        return cls(total, uniform, count, tuple(map(str, attrs["genes"])), int(attrs["n_cells"]))


class _Accumulator:
    """Adds one layer's patterns at a time to the sums."""

    def __init__(self, n_layers: int, n_heads: int, n_genes: int) -> None:
        self.sum = np.zeros((n_layers, n_heads, n_genes, n_genes))
        self.uniform = np.zeros((n_genes, n_genes))
        self.count = np.zeros((n_genes, n_genes), np.int64)

    def locate(self, columns: Int[np.ndarray, "cell token"], lengths: Int[np.ndarray, " cell"]) -> None:
        """Note where the batch's tokens lie in the panel (-1 = outside) and count the pairs."""
        from interp.capture.kernel import add_pairs

        self.columns = columns
        add_pairs(self.count, self.uniform, columns, lengths)

    def add(self, layer: int, pattern: torch.Tensor) -> None:
        """Add the patterns of one layer, (cell, head, query, key)."""
        from interp.capture.kernel import add_patterns

        add_patterns(self.sum[layer], pattern.detach().cpu().numpy(), self.columns)


def attention_sums(
    model: HookedScGPT, tokens: GeneTokens, genes: Sequence[str], *, description: str = "attention"
) -> AttentionSums:
    """Sum the attention of every head between genes of a panel, over cells, in one pass.

    Parameters
    ----------
    model
        The model.
    tokens
        Cells, tokenised by this model on all the genes that their study measured.
    genes
        The panel; every gene must be in the vocabulary.
    description
        What the progress line says.

    Returns
    -------
    AttentionSums
        `sum` is (layer, head, gene, gene); rows attend to columns.

    Raises
    ------
    VocabularyError
        A gene is not in the model's vocabulary.
    """
    config = model.config
    column = np.full(len(model.vocabulary), -1)
    column[model.vocabulary.ids(list(genes))] = np.arange(len(genes))
    sums = _Accumulator(config.n_layers, config.n_heads, len(genes))
    hooks = [
        (f"blocks.{layer}.attn.hook_pattern", lambda pattern, hook, layer=layer: sums.add(layer, pattern))
        for layer in range(config.n_layers)
    ]
    order = np.argsort(tokens.lengths, kind="stable")
    with torch.no_grad(), progress(total=len(tokens), description=description, unit="cell") as bar:
        start = 0
        while start < len(order):
            batch = tokens[order[start : start + _batch_size(tokens.lengths[order], start, config.n_heads)]]
            sums.locate(np.where(batch.padding.numpy(), -1, column[batch.gene_ids.numpy()]), batch.lengths)
            with model.hooks(fwd_hooks=hooks):
                model.encode(*(part.to(model.device) for part in (batch.gene_ids, batch.values, batch.padding)))
            start += len(batch)
            bar.update(len(batch))
    return AttentionSums(sums.sum, sums.uniform, sums.count, tuple(genes), len(tokens))


def _batch_size(lengths: Int[np.ndarray, " cell"], start: int, n_heads: int) -> int:
    """Return how many of the cells from `start` on (ascending lengths) fit the pattern budget."""
    longest = lengths[start : start + 64]
    fits = np.arange(1, len(longest) + 1) * n_heads * longest.astype(float) ** 2 <= PATTERN_ENTRIES
    return max(1, int(fits.sum()))
