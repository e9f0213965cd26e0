"""A frozen algorithm on the cells of donors it has never seen: what it reads, donor by donor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from interp.evidence.endpoints import BRANCH, MIN_DEPTHS, STAGE, balanced

if TYPE_CHECKING:
    import pandas as pd

    from interp.evidence.panel import FloatArray
    from interp.extraction.algorithm import CompactAlgorithm

DEPTH = "pseudotime with depth"
TRUE_PSEUDOTIME = "pseudotime with true pseudotime"


def read_cells_by_donor(
    algorithm: CompactAlgorithm, latents: FloatArray, obs: pd.DataFrame
) -> list[tuple[str, str, float, int]]:
    """Compare predictions of single cells with their labels.

    Parameters
    ----------
    algorithm
        The frozen algorithm.
    latents
        Its latents of the cells, (cell, latent).
    obs
        Their columns donor, stage, branch, depth and, for simulated cells, true_pseudotime.

    Returns
    -------
    list of tuple
        metric, donor, value, n_cells; balanced accuracies and signed Spearman correlations. NaN where a donor has fewer
        than two classes or three depths. Stages that the algorithm has never seen count as missed.
    """
    predicted = {STAGE: algorithm.predict_stage(latents), BRANCH: algorithm.predict_branch(latents)}
    truth = {STAGE: "stage", BRANCH: "branch"}
    pseudotime = algorithm.pseudotime(latents)
    numbers = {DEPTH: "depth", TRUE_PSEUDOTIME: "true_pseudotime"}
    rows = []
    donors = obs["donor"].astype(str).to_numpy()
    for donor in sorted(set(donors)):
        mine = donors == donor
        for metric, column in truth.items():
            known = mine & obs[column].notna().to_numpy()
            true = obs[column].astype(object).to_numpy()[known]
            rows.append(
                (metric, donor, balanced(true, np.asarray(predicted[metric], dtype=object)[known]), int(known.sum()))
            )
        for metric, column in numbers.items():
            if column in obs:
                values = obs[column].to_numpy(np.float64)
                known = mine & np.isfinite(values)
                rows.append((metric, donor, _correlation(pseudotime[known], values[known]), int(known.sum())))
    return rows


def _correlation(pseudotime: FloatArray, values: FloatArray) -> float:
    from scipy.stats import spearmanr

    if len(set(values.tolist())) < MIN_DEPTHS or np.ptp(pseudotime) == 0:
        return float("nan")
    return float(spearmanr(pseudotime, values).statistic)
