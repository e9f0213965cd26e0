"""Donor folds of a training panel: what is calibrated is calibrated on donors that were held out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interp.stats import donor_folds

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

# Folds that the donors are dealt into at most: three of four donors train, which is near what the whole panel gives.
N_FOLDS = 4


@dataclass(frozen=True, eq=False)
class Fold:
    """One division of the rows of a panel by donor.

    Attributes
    ----------
    held_out
        Rows of the donors held out, (row,) bool.
    latents
        Latents of all rows, (row, latent); best by a map that was fitted without these donors.
    """

    held_out: NDArray[np.bool_]
    latents: NDArray[np.float64]


def held_out_rows(obs: pd.DataFrame, *, seed: int = 0, n_folds: int = N_FOLDS) -> list[NDArray[np.bool_]]:
    """Deal the donors of a panel into folds.

    A donor who is the only one of a study always trains: held out, its cells would show what another study does to
    them, which no calibration on this panel foresees, and not what another donor does.

    Parameters
    ----------
    obs
        Column donor and, where there are several studies, study.
    seed
        Seed of the deal.
    n_folds
        Most folds; with fewer donors there is one fold each. The donors of a study are spread over the folds.

    Returns
    -------
    list of numpy.ndarray
        Rows held out, (row,) bool each; empty when there is no column of donors, or no study with two of them.
    """
    if "donor" not in obs or obs["donor"].isna().any():
        return []
    donors = obs["donor"].astype(str).to_numpy()
    studies = obs["study"].astype(str).to_numpy() if "study" in obs else np.full(len(donors), "one")
    pairs = set(zip(donors.tolist(), studies.tolist(), strict=True))
    size = Counter(study for _, study in pairs)
    dealt = np.flatnonzero([size[study] > 1 for study in studies])
    if len(dealt) == 0:
        return []
    apart = len(pairs) == len(set(donors))  # a donor may be in two studies, which then cannot be spread
    n_splits = min(n_folds, len(set(donors[dealt])))
    if n_splits < 2:
        return []
    folds = donor_folds(donors[dealt], n_splits, seed, strata=studies[dealt] if apart else None)
    return [np.isin(np.arange(len(donors)), dealt[fold.test]) for fold in folds]
