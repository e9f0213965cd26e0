"""How well a model predicts masked values on given cells, beside predictions that need no model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from interp.runs.seeds import stream
from interp.scgpt.tokens import tokenize_ragged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from jaxtyping import Bool, Float, Int

    from interp.scgpt.model import HookedScGPT

MASK_SHARE = 0.4
TOKENS_AT_ONCE = 32_768


def masked_value_scores(
    models: Mapping[str, HookedScGPT],
    cells: AnnData,
    reference: AnnData,
    *,
    max_tokens: int = 512,
    n_cells: int = 1000,
    mask_share: float = MASK_SHARE,
    seed: int = 0,
) -> pd.DataFrame:
    """Return R2 of masked-value prediction for models and for the baselines that could do as well.

    The baselines see what the models see, and are learned on `reference`: the mean bin of a gene; the mean bin of a
    gene in that study (over all studies where the study is new) plus the cell's own mean residual over its visible
    genes; and the mean bin of a gene in that study and true cell type.

    Parameters
    ----------
    models
        Name to model; all must share one vocabulary.
    cells
        Cells to predict, from `read_cells`.
    reference
        Training cells that the baselines learn from.
    max_tokens
        Longest cell in the comparison, `<cls>` included; longer cells keep a seeded random subset.
    n_cells
        At most so many cells, drawn by `seed`.
    mask_share
        Share of a cell's genes that is masked.
    seed
        Of the cells, subsets and masks.

    Returns
    -------
    pandas.DataFrame
        One row per predictor: `predictor`, `r2`, `mse` (bins squared), `n_cells`, `n_values`.
    """
    first = next(iter(models.values()))
    rows = np.sort(stream(seed, "evaluate.cells").permutation(cells.n_obs)[:n_cells])
    cells = cells[rows]
    tokens = tokenize_ragged(cells, first.vocabulary, first.config, seed=seed, max_tokens=max_tokens)
    masked = _masks(cells, tokens.indptr, mask_share, seed)
    truth = tokens.values[masked]
    known = tokenize_ragged(reference, first.vocabulary, first.config, seed=seed, max_tokens=len(first.vocabulary))
    predictions = _baselines(cells, tokens, masked, reference, known, len(first.vocabulary))
    for name, model in models.items():
        predictions[name] = _predict(model, tokens.indptr, tokens.gene_ids, tokens.values, masked)[masked]
    table = []
    for name, predicted in predictions.items():
        ok = np.isfinite(predicted)
        mse = float(np.mean((predicted[ok] - truth[ok]) ** 2)) if ok.any() else np.nan
        r2 = 1 - mse / float(np.var(truth[ok])) if ok.any() else np.nan
        table.append({"predictor": name, "r2": r2, "mse": mse, "n_cells": cells.n_obs, "n_values": int(ok.sum())})
    return pd.DataFrame(table)


def rate_ceiling(
    cells: AnnData,
    model: HookedScGPT,
    *,
    max_tokens: int = 512,
    n_cells: int = 1000,
    mask_share: float = MASK_SHARE,
    seed: int = 0,
) -> pd.DataFrame:
    """Return R2 of predicting masked bins from the true expression rates of simulated cells.

    The bin is regressed on the true rate, its rank inside the cell and the cell's size by boosted trees, half of the
    cells from the other half: about what a model that knew each cell's true state could reach.

    Parameters
    ----------
    cells
        Simulated cells with `layers["rate"]`; the same cells and masks are drawn as by `masked_value_scores`.
    model
        Gives vocabulary and bins.
    max_tokens, n_cells, mask_share, seed
        As in `masked_value_scores`.

    Returns
    -------
    pandas.DataFrame
        One row, `true rate`, with the columns of `masked_value_scores`.
    """
    from scipy.stats import rankdata
    from sklearn.ensemble import HistGradientBoostingRegressor

    rows = np.sort(stream(seed, "evaluate.cells").permutation(cells.n_obs)[:n_cells])
    cells = cells[rows]
    tokens = tokenize_ragged(cells, model.vocabulary, model.config, seed=seed, max_tokens=max_tokens)
    masked = _masks(cells, tokens.indptr, mask_share, seed)
    entry_cell = np.repeat(np.arange(cells.n_obs), np.diff(tokens.indptr))
    column = np.full(len(model.vocabulary), -1)
    column[model.vocabulary.ids(list(tokens.match.matched.values()))] = cells.var_names.get_indexer(
        list(tokens.match.matched)
    )
    rate = np.asarray(cells.layers["rate"])[entry_cell, column[tokens.gene_ids]]
    rank = np.concatenate([rankdata(part) / len(part) for part in np.split(rate, tokens.indptr[1:-1]) if len(part)])
    size = np.log(cells.obs["total_counts"].to_numpy(float))[entry_cell]
    x = np.column_stack([np.log(rate), rank, size, np.log(rate) + size])
    half = entry_cell % 2 == 0
    predicted = np.zeros(len(x))
    for part in (half, ~half):
        predicted[part] = (
            HistGradientBoostingRegressor(random_state=seed).fit(x[~part], tokens.values[~part]).predict(x[part])
        )
    truth = tokens.values[masked]
    mse = float(np.mean((predicted[masked] - truth) ** 2))
    row = {
        "predictor": "true rate",
        "r2": 1 - mse / float(np.var(truth)),
        "mse": mse,
        "n_cells": cells.n_obs,
        "n_values": len(truth),
    }
    return pd.DataFrame([row])


def _masks(cells: AnnData, indptr: Int[np.ndarray, " n"], share: float, seed: int) -> Bool[np.ndarray, " entry"]:
    masked = np.zeros(indptr[-1], bool)
    for name, start, stop in zip(cells.obs_names, indptr[:-1], indptr[1:], strict=True):
        if stop > start:
            order = stream(seed, "evaluate.mask", name).permutation(stop - start)
            masked[start + order[: max(1, round(share * (stop - start)))]] = True
    return masked


def _group_means(
    groups: Int[np.ndarray, " entry"],
    ids: Int[np.ndarray, " entry"],
    values: Float[np.ndarray, " entry"],
    shape: tuple[int, int],
) -> Float[np.ndarray, "group token_id"]:
    """Mean value of each gene in each group of entries; NaN where there is none."""
    flat = groups * shape[1] + ids
    total = np.bincount(flat, values, minlength=shape[0] * shape[1])
    count = np.bincount(flat, minlength=shape[0] * shape[1])
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).reshape(shape)


def _baselines(cells: AnnData, tokens, masked, reference: AnnData, known, n_vocab: int) -> dict[str, np.ndarray]:
    entry_cell = np.repeat(np.arange(cells.n_obs), np.diff(tokens.indptr))
    known_cell = np.repeat(np.arange(reference.n_obs), np.diff(known.indptr))
    genes, values = tokens.gene_ids, tokens.values
    overall = _group_means(np.zeros(len(known_cell), int), known.gene_ids, known.values, (1, n_vocab))[0]
    overall = np.where(np.isnan(overall), np.mean(known.values), overall)

    def of(column: pd.Series, target: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        names = pd.Index(column.unique())
        means = _group_means(names.get_indexer(column)[known_cell], known.gene_ids, known.values, (len(names), n_vocab))
        at = names.get_indexer(target)
        found = np.where(at[entry_cell] >= 0, means[at[entry_cell], genes], np.nan)
        return np.where(np.isnan(found), overall[genes], found), at >= 0

    study, _ = of(reference.obs["study"].astype(str), cells.obs["study"].astype(str))
    residual = np.where(masked, 0.0, values - study)
    visible = np.bincount(entry_cell, ~masked, minlength=cells.n_obs)
    shift = np.bincount(entry_cell, residual, minlength=cells.n_obs) / np.maximum(visible, 1)
    label = [frame.obs["study"].astype(str) + "|" + frame.obs["cell_type"].astype(str) for frame in (reference, cells)]
    typed, has_type = of(*label)
    typed = np.where(has_type[entry_cell], typed, np.nan)
    return {
        "gene mean": overall[genes][masked],
        "gene mean of the study + cell mean": (study + shift[entry_cell])[masked],
        "gene mean of study x true cell type": typed[masked],
    }


@torch.no_grad()
def _predict(model: HookedScGPT, indptr, gene_ids, values, masked) -> Float[np.ndarray, " entry"]:
    """Run the model on cells sorted by length and return a prediction for every entry."""
    config, vocabulary = model.config, model.vocabulary
    lengths = np.diff(indptr)
    order = np.argsort(lengths, kind="stable")
    predicted = np.zeros(len(gene_ids), np.float32)
    start = 0
    while start < len(order):
        size = max(1, TOKENS_AT_ONCE // (int(lengths[order[min(start + 128, len(order)) - 1]]) + 1))
        batch = order[start : start + min(size, 128)]
        start += len(batch)
        width = int(lengths[batch].max()) + 1
        inside = np.arange(1, width)[None] <= lengths[batch][:, None]
        entries = np.concatenate([np.arange(indptr[i], indptr[i + 1]) for i in batch])
        ids = np.full((len(batch), width), vocabulary.pad_id)
        x = np.full((len(batch), width), config.pad_value, np.float32)
        ids[:, 0] = vocabulary.cls_id
        ids[:, 1:][inside] = gene_ids[entries]
        x[:, 1:][inside] = np.where(masked[entries], config.mask_value, values[entries])
        padding = np.arange(width)[None] > lengths[batch][:, None]
        output = model(torch.from_numpy(ids), torch.from_numpy(x), torch.from_numpy(padding))
        predicted[entries] = output.expression[:, 1:].cpu().numpy()[inside]
    return predicted
