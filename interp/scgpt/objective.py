"""What pretraining asks of the model: masked values, and the whole profile from the `<cls>` row (MVC)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from interp.runs.seeds import stream

if TYPE_CHECKING:
    from anndata import AnnData
    from jaxtyping import Bool, Float, Int
    from scipy.sparse import csr_matrix

    from interp.scgpt.model import HookedScGPT
    from interp.scgpt.tokens import RaggedTokens


@dataclass(frozen=True)
class Corpus:
    """Binned cells in the form that batches are cut from.

    Attributes
    ----------
    binned
        Bin values, sparse (cell, token id).
    study
        Index of each cell's study, (cell,).
    measured
        Whether a study measured a gene, (study, token id).
    frequency
        Share of the cells that measured a gene and express it, (token id,).
    """

    binned: csr_matrix
    study: Int[np.ndarray, " cell"]
    measured: Bool[np.ndarray, "study token_id"]
    frequency: Float[np.ndarray, " token_id"]

    @classmethod
    def from_tokens(cls, tokens: RaggedTokens, cells: AnnData, n_vocab: int, gene_to_id: dict[str, int]) -> Corpus:
        """Build the corpus of a panel from its tokens (made without truncation)."""
        from scipy.sparse import csr_matrix

        binned = csr_matrix((tokens.values, tokens.gene_ids, tokens.indptr), shape=(cells.n_obs, n_vocab))
        studies = list(cells.varm["measured"].columns)
        measured = np.zeros((len(studies), n_vocab), bool)
        known = [gene in tokens.match.matched for gene in cells.var_names]
        ids = [gene_to_id[tokens.match.matched[gene]] for gene in cells.var_names[known]]
        measured[:, ids] = cells.varm["measured"].to_numpy()[known].T
        study = np.array([studies.index(name) for name in cells.obs["study"]])
        could = np.bincount(study, minlength=len(studies)) @ measured
        seen = np.asarray((binned > 0).sum(0)).ravel()
        return cls(binned, study, measured, seen / np.maximum(could, 1))

    def __len__(self) -> int:
        """Return the number of cells."""
        return self.binned.shape[0]


@dataclass(frozen=True)
class Batch:
    """One training batch.

    `values` are the true bins, `masked` says which of them the model must not see; `profile` holds the true bins of
    `profile_genes` (0 where not expressed) and `profile_known` where the cell's study measured them.
    """

    gene_ids: Int[torch.Tensor, "cell token"]
    values: Float[torch.Tensor, "cell token"]
    padding: Bool[torch.Tensor, "cell token"]
    masked: Bool[torch.Tensor, "cell token"]
    profile_genes: Int[torch.Tensor, " gene"]
    profile: Float[torch.Tensor, "cell gene"]
    profile_known: Bool[torch.Tensor, "cell gene"]


def make_batch(
    corpus: Corpus,
    rows: Int[np.ndarray, " cell"],
    *,
    rng: np.random.Generator,
    n_tokens: int,
    mask_share: float,
    n_profile: int,
    special: tuple[int, int, int],
) -> Batch:
    """Cut a batch: a random subset of at most `n_tokens` of each cell's genes, `mask_share` of them masked.

    `special` holds the ids of `<pad>` and `<cls>` and the pad value. Half of the profile's genes are drawn evenly
    from the measured ones, half by how often they are expressed.
    """
    pad_id, cls_id, pad_value = special
    lengths = np.minimum(np.diff(corpus.binned.indptr)[rows], n_tokens - 1)
    width = int(lengths.max()) + 1
    gene_ids = np.full((len(rows), width), pad_id, np.int64)
    values = np.full((len(rows), width), pad_value, np.float32)
    masked = np.zeros((len(rows), width), bool)
    gene_ids[:, 0] = cls_id
    for i, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        start, stop = corpus.binned.indptr[row : row + 2]
        pick = start + rng.permutation(stop - start)[:length]
        gene_ids[i, 1 : length + 1] = corpus.binned.indices[pick]
        values[i, 1 : length + 1] = corpus.binned.data[pick]
        masked[i, 1 : 1 + max(1, round(mask_share * length))] = length > 0  # the order is random already
    seen = corpus.measured[np.unique(corpus.study[rows])].any(0)
    evenly = seen / seen.sum()
    often = seen * corpus.frequency
    genes = rng.choice(
        len(seen), size=min(n_profile, int(seen.sum())), replace=False, p=(evenly + often / often.sum()) / 2
    )
    return Batch(
        gene_ids=torch.from_numpy(gene_ids),
        values=torch.from_numpy(values),
        padding=torch.from_numpy(np.arange(width)[None] > lengths[:, None]),
        masked=torch.from_numpy(masked),
        profile_genes=torch.from_numpy(genes),
        profile=torch.from_numpy(corpus.binned[rows][:, genes].toarray()),
        profile_known=torch.from_numpy(corpus.measured[corpus.study[rows]][:, genes]),
    )


def losses(model: HookedScGPT, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the masked-value and whole-profile losses, and the predictions at the masked positions.

    Both are mean squared errors over bins, in units of the variance of a uniform bin, so that 1 is about the loss of
    a constant.
    """
    config = model.config
    unit = (config.n_bins - 1) ** 2 / 12
    device = model.device
    masked, padding = batch.masked.to(device), batch.padding.to(device)
    values = batch.values.to(device)
    x, _ = model.encode(batch.gene_ids.to(device), values.masked_fill(masked, config.mask_value), padding)
    predicted = model.decoder(x[masked])
    masked_loss = F.mse_loss(predicted, values[masked]) / unit
    queries = model.mvc_decoder.queries(model.encoder(batch.profile_genes.to(device)))
    known = batch.profile_known.to(device)
    profile_loss = F.mse_loss((x[:, 0] @ queries.T)[known], batch.profile.to(device)[known]) / unit
    return masked_loss, profile_loss, predicted


def validation_batches(
    corpus: Corpus,
    *,
    seed: int,
    n_cells: int,
    batch_cells: int,
    n_tokens: int,
    mask_share: float,
    special: tuple[int, int, int],
) -> list[Batch]:
    """Return fixed batches of held-out cells: the same cells, subsets and masks whenever they are asked for."""
    rng = stream(seed, "pretrain.validation")
    rows = rng.permutation(len(corpus))[:n_cells]
    return [
        make_batch(
            corpus,
            rows[i : i + batch_cells],
            rng=rng,
            n_tokens=n_tokens,
            mask_share=mask_share,
            n_profile=500,
            special=special,
        )
        for i in range(0, len(rows), batch_cells)
    ]
