"""Readouts side by side, linear and two-layer, on the cells of donors that neither they nor the adaptor have seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interp.biology.pairs import PAIRS
from interp.evidence.fits import span_of
from interp.extraction.folds import Fold, held_out_rows
from interp.extraction.let import LetProblem
from interp.extraction.readout import N_HIDDEN, fit_readouts, readout_labels
from interp.runs.progress import progress
from interp.runs.seeds import stream
from interp.stats import bootstrap_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from interp.biology.pairs import Pairs
    from interp.evidence.arms import Settings
    from interp.evidence.fits import Solver
    from interp.evidence.panel import FloatArray, Panel
    from interp.extraction.runner.algorithm import Readout
    from interp.stats import Split

# Cells of a class that a donor needs for the class to count; the anchors' minimum (design, panel).
MIN_CELLS = 5
LAYERS = {"linear": 0, "two layers": N_HIDDEN}
COLUMNS = ("readout", "layers", "n_parameters", "split", "donor", "metric", "value", "n_cells")


def readout_values(
    panel: Panel,
    anchors: Callable[[Split], FloatArray],
    cells: Callable[[Split], FloatArray],
    obs: pd.DataFrame,
    settings: Mapping[str, Settings],
    solver: Solver,
    *,
    pairs: Pairs = PAIRS,
    candidates: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Fit adaptor and readouts on the training donors of each split, and read the cells of the others.

    Parameters
    ----------
    panel
        The anchors and the donor splits.
    anchors, cells
        From a split to the operator's features of all anchors (anchor, feature), and of all cells (cell, feature).
    obs
        One row per cell: donor, study, stage, branch, depth, cell_type.
    settings
        Weights of the adaptor's loss by split id.
    solver
        How adaptors are fitted.
    pairs, candidates
        As in `interp.extraction.readout.fit_readouts`.
    seed
        Seed of the draws.

    Returns
    -------
    pandas.DataFrame
        readout, layers (``linear``, ``two layers``), n_parameters, split, donor, metric, value, n_cells. Metrics of
        classes: balanced accuracy, macro F1, log loss and log loss uncalibrated (both with every class of the donor
        weighing alike), AUROC of pairs; Spearman of depth. A donor's classes with fewer than five cells, or that no
        training donor has, are left out; nothing stands for a donor with fewer than two.
    """
    rows = []
    donors = obs["donor"].astype(str).to_numpy()
    labels = readout_labels(obs, pairs, candidates or {})
    for split in progress(panel.splits, description="readouts", unit="split"):
        train = np.isin(donors, split.train_donors)
        known = panel.exact(panel.train(split))
        span, ruler = span_of(anchors(split)[known]), panel.ruler(known)
        if span is None or not ruler.any():
            continue
        chosen = settings[split.id]
        fit = solver.fit([LetProblem(span, ruler, chosen.alpha, chosen.ridge)])[0]
        latents = fit.transform(cells(split))
        folds = [Fold(held, latents[train]) for held in held_out_rows(obs[train], seed=seed)]
        for layers, hidden in LAYERS.items():
            found = fit_readouts(
                latents[train], obs[train], pairs=pairs, candidates=candidates, hidden=hidden, folds=folds, seed=seed
            )
            for name, readout in found.items():
                for donor in split.test_donors:
                    mine = np.flatnonzero(donors == donor)
                    about = (name, layers, readout.n_parameters, split.id, donor)
                    values = _of_donor(readout, latents[mine], labels[name][mine])
                    rows += [(*about, metric, value, n) for metric, value, n in values]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def readout_table(values: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Average to one row per readout, layers and metric.

    Parameters
    ----------
    values
        From `readout_values`.
    seed
        Seed of the bootstrap.

    Returns
    -------
    pandas.DataFrame
        readout, metric, layers, n_parameters (most of a split), value (mean over donors), lo, hi (95 % bootstrap over
        donors), n_donors.
    """
    rows = []
    for (name, metric, layers), found in values.groupby(["readout", "metric", "layers"], sort=False):
        donors = found.groupby("donor")["value"].mean().to_numpy()
        lo, hi = bootstrap_interval(donors, rng=stream(seed, f"readouts {name} {metric} {layers}"))
        rows.append((name, metric, layers, int(found["n_parameters"].max()), donors.mean(), lo, hi, len(donors)))
    columns = ["readout", "metric", "layers", "n_parameters", "value", "lo", "hi", "n_donors"]
    return pd.DataFrame(rows, columns=columns)


def _of_donor(readout: Readout, latents: FloatArray, labels: NDArray) -> Iterator[tuple[str, float, int]]:
    """Metric, value and cells of one donor."""
    if not readout.classes:
        yield from _of_number(readout, latents, labels.astype(np.float64))
        return
    from sklearn.metrics import f1_score, log_loss, recall_score, roc_auc_score

    counts = {name: int((labels == name).sum()) for name in readout.classes}
    present = [name for name, n in counts.items() if n >= MIN_CELLS]
    if len(present) < 2:
        return
    rows = np.isin(labels, np.array(present, dtype=object))
    z, true, n = latents[rows], labels[rows].astype(str), int(rows.sum())
    predicted = readout.predict(z)
    over = {"labels": present, "average": "macro", "zero_division": 0}
    yield "balanced accuracy", float(recall_score(true, predicted, **over)), n
    yield "macro F1", float(f1_score(true, predicted, **over)), n
    weights = np.array([1.0 / counts[name] for name in true])
    order = np.argsort(readout.classes)
    names = [readout.classes[i] for i in order]
    for metric, used in (("log loss", readout), ("log loss uncalibrated", _cold(readout))):
        probabilities = used.predict_proba(z)[:, order]
        yield metric, float(log_loss(true, probabilities, labels=names, sample_weight=weights)), n
    if len(readout.classes) == 2:
        yield "AUROC", float(roc_auc_score(true == readout.classes[1], readout.predict_proba(z)[:, 1])), n


def _of_number(readout: Readout, latents: FloatArray, values: FloatArray) -> Iterator[tuple[str, float, int]]:
    from scipy.stats import spearmanr

    known = np.isfinite(values)
    if len(np.unique(values[known])) > 1:
        found = float(spearmanr(readout.predict(latents[known]), values[known]).statistic)
        yield "Spearman", found, int(known.sum())


def _cold(readout: Readout) -> Readout:
    from dataclasses import replace

    return replace(readout, temperature=None)
