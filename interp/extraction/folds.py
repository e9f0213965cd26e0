"""Donor folds of a training panel: what is calibrated is calibrated on donors that were held out."""

from __future__ import annotations

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

    Parameters
    ----------
    obs
        Column donor and, where there are several, study: its donors are spread over the folds.
    seed
        Seed of the deal.
    n_folds
        Most folds; with fewer donors there is one fold each.

    Returns
    -------
    list of numpy.ndarray
        Rows held out, (row,) bool each; empty when there is no column of donors or only one donor.
    """
    if "donor" not in obs or obs["donor"].isna().any() or obs["donor"].nunique() < 2:
        return []
    donors = obs["donor"].astype(str).to_numpy()
    within = "study" in obs and bool((obs.groupby(donors)["study"].nunique() == 1).all())
    strata = obs["study"].astype(str).to_numpy() if within else None
    folds = donor_folds(donors, min(n_folds, len(set(donors))), seed, strata=strata)
    return [np.isin(np.arange(len(donors)), fold.test) for fold in folds]
