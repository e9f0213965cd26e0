"""Counts to tokens: `<cls>` and a cell's expressed genes with values in per-cell quantile bins."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from interp.cells.genes import match_genes
from interp.errors import InputError
from interp.runs.seeds import stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from jaxtyping import Bool, Float, Int

    from interp.cells.genes import GeneMatch
    from interp.scgpt.config import ScGPTConfig
    from interp.scgpt.vocabulary import Vocabulary

log = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False, eq=False)
class GeneTokens:
    """Padded tokens of some cells; slicing by rows trims the padding.

    Attributes
    ----------
    gene_ids
        Token ids, int64 (cell, token); `<cls>` first.
    values
        Bin values, float32 (cell, token); the pad value at `<cls>` and at padding.
    padding
        True where padded, (cell, token).
    cell_ids
        Names of the cells.
    vocab_sha256
        Vocabulary that the ids belong to.
    seed
        Seed of the tie-breaking and subset streams.
    truncated
        True for cells that were longer than the model's limit, (cell,).
    match
        How the panel's genes met the vocabulary.
    """

    gene_ids: Int[torch.Tensor, "cell token"]
    values: Float[torch.Tensor, "cell token"]
    padding: Bool[torch.Tensor, "cell token"]
    cell_ids: tuple[str, ...]
    vocab_sha256: str
    seed: int
    truncated: Bool[np.ndarray, " cell"]
    match: GeneMatch | None = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.cell_ids)

    def __repr__(self) -> str:
        """Say how many cells and tokens there are."""
        width, cut = self.gene_ids.shape[1], int(self.truncated.sum())
        return f"GeneTokens({len(self):,} cells, at most {width:,} tokens, {cut:,} truncated)"

    @property
    def lengths(self) -> Int[np.ndarray, " cell"]:
        """Tokens of each cell, `<cls>` included."""
        return (~self.padding).sum(1).numpy()

    def __getitem__(self, index: slice | int | Sequence[int] | np.ndarray) -> GeneTokens:
        """Return the tokens of some cells, padded to the longest of them."""
        rows = np.atleast_1d(np.arange(len(self))[index])
        width = int(self.lengths[rows].max(initial=1))
        pick = torch.from_numpy(rows)
        return GeneTokens(
            gene_ids=self.gene_ids[pick, :width],
            values=self.values[pick, :width],
            padding=self.padding[pick, :width],
            cell_ids=tuple(self.cell_ids[i] for i in rows),
            vocab_sha256=self.vocab_sha256,
            seed=self.seed,
            truncated=self.truncated[rows],
            match=self.match,
        )


@dataclass(frozen=True)
class RaggedTokens:
    """Tokens of many cells without padding, as a compressed sparse row layout (no `<cls>`).

    `gene_ids` and `values` hold the expressed genes of cell `i` at `indptr[i]:indptr[i + 1]`, by ascending token id.
    """

    indptr: Int[np.ndarray, " cell_plus_1"]
    gene_ids: Int[np.ndarray, " entry"]
    values: Float[np.ndarray, " entry"]
    truncated: Bool[np.ndarray, " cell"]
    match: GeneMatch


def bin_values(counts: Float[np.ndarray, " gene"], n_bins: int, rng: np.random.Generator) -> Int[np.ndarray, " gene"]:
    """Return the quantile bin, 1 to `n_bins - 1`, of each positive count of one cell.

    The edges are `n_bins - 1` equally spaced quantiles of the counts (scGPT's rule). A count that spans several
    edges takes one of its bins at random, from `rng`.
    """
    edges = np.quantile(counts, np.linspace(0, 1, n_bins - 1))
    high = np.searchsorted(edges, counts, side="right")
    low = np.searchsorted(edges, counts, side="left")
    return np.ceil(high - rng.random(len(counts)) * (high - low)).astype(np.int64)


def longest_cell(max_tokens: int | None, config: ScGPTConfig) -> int:
    """Return the most tokens that a cell may have, `<cls>` included; the model's limit when None.

    Raises
    ------
    InputError
        There is no room for a gene.
    """
    limit = config.max_tokens if max_tokens is None else int(max_tokens)
    if limit < 2:
        msg = f"max_tokens = {max_tokens} leaves no room for a gene beside <cls>; give at least 2"
        raise InputError(msg)
    return limit


def tokenize_ragged(
    cells: AnnData,
    vocabulary: Vocabulary,
    config: ScGPTConfig,
    *,
    seed: int = 0,
    max_tokens: int | None = None,
    match: GeneMatch | None = None,
) -> RaggedTokens:
    """Bin the counts of every cell over the genes that the vocabulary knows.

    Parameters
    ----------
    cells
        Panel with raw counts in X (cell, gene).
    vocabulary, config
        Of the model that will read the tokens.
    seed
        Seed of the per-cell streams; a cell's tokens depend on nothing but its counts, its name and this.
    max_tokens
        Longest cell, `<cls>` included; longer ones keep a random subset. Default: the model's limit.
    match
        How these genes met the vocabulary, where it is known already.

    Raises
    ------
    InputError
        `max_tokens` leaves no room for a gene.
    VocabularyError
        Too few genes match: the wrong organism or kind of id.
    """
    from scipy.sparse import csr_matrix

    limit = longest_cell(max_tokens, config) - 1
    counts = csr_matrix(cells.X)
    if match is None:
        match = match_genes(cells.var_names, vocabulary.genes, counts_per_gene=np.asarray(counts.sum(0)).ravel())
    columns = np.flatnonzero([gene in match.matched for gene in cells.var_names])
    ids = vocabulary.ids([match.matched[gene] for gene in cells.var_names[columns]])
    order = np.argsort(ids)
    counts = counts[:, columns[order]].sorted_indices()
    counts.eliminate_zeros()
    ids = ids[order]
    kept_ids, kept_values = [], []
    lengths = np.zeros(cells.n_obs, np.int64)
    truncated = np.zeros(cells.n_obs, bool)
    for row, name in enumerate(cells.obs_names):
        start, stop = counts.indptr[row], counts.indptr[row + 1]
        genes, row_counts = ids[counts.indices[start:stop]], counts.data[start:stop]
        if len(genes):
            binned = bin_values(row_counts, config.n_bins, stream(seed, "tokens.ties", name))
            if len(genes) > limit:
                keep = np.sort(stream(seed, "tokens.subset", name).permutation(len(genes))[:limit])
                genes, binned, truncated[row] = genes[keep], binned[keep], True
            kept_ids.append(genes)
            kept_values.append(binned)
            lengths[row] = len(genes)
    if not lengths.all():
        log.warning(
            "%d of %d cells express no gene of the vocabulary: they hold <cls> alone",
            (lengths == 0).sum(),
            len(lengths),
        )
    return RaggedTokens(
        indptr=np.concatenate([[0], np.cumsum(lengths)]),
        gene_ids=np.concatenate(kept_ids) if kept_ids else np.zeros(0, np.int64),
        values=np.concatenate(kept_values).astype(np.float32) if kept_values else np.zeros(0, np.float32),
        truncated=truncated,
        match=match,
    )


def tokenize(cells: AnnData, vocabulary: Vocabulary, config: ScGPTConfig, **options: Any) -> GeneTokens:
    """Turn a panel of cells into padded tokens, `<cls>` first.

    Parameters
    ----------
    cells
        Panel with raw counts in X (cell, gene).
    vocabulary, config
        Of the model that will read the tokens.
    options
        `seed`, `max_tokens` and `match`, as in `tokenize_ragged`.

    Raises
    ------
    VocabularyError
        Too few genes match: the wrong organism or kind of id.
    """
    ragged = tokenize_ragged(cells, vocabulary, config, **options)
    lengths = np.diff(ragged.indptr) + 1
    width = int(lengths.max(initial=1))
    padding = np.arange(width)[None, :] >= lengths[:, None]
    gene_ids = np.full(padding.shape, vocabulary.pad_id, np.int64)
    values = np.full(padding.shape, config.pad_value, np.float32)
    gene_ids[:, 0] = vocabulary.cls_id
    inside = ~padding
    inside[:, 0] = False
    gene_ids[inside] = ragged.gene_ids
    values[inside] = ragged.values
    return GeneTokens(
        gene_ids=torch.from_numpy(gene_ids),
        values=torch.from_numpy(values),
        padding=torch.from_numpy(padding),
        cell_ids=tuple(cells.obs_names),
        vocab_sha256=vocabulary.sha256,
        seed=options.get("seed", 0),
        truncated=ragged.truncated,
        match=ragged.match,
    )
