"""What factors carry: impact, concentration beside rotated bases, cores, subsets of the top four, sparse overlap.

The impact of a factor on an endpoint is the mean over test donors of the drop in that endpoint when the factor is
ablated under fixed probes; its overall impact is that of the mean over endpoints. Shares of the total are given twice:
with negative impacts (noise, or factors that disturb) set to 0, and with all impacts by their size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from interp.evidence.factor_ablation import OVERALL, Ablation, ablation, mean_of_known
from interp.evidence.factor_cores import core_table, overlap_table, subset_table
from interp.extraction.surrogates import N_FACTORS, N_READ, RANKS, sparse_factors, truncated
from interp.runs.progress import progress
from interp.runs.seeds import stream
from interp.stats import bootstrap_interval, permutation_p

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from interp.evidence.campaign import Campaign
    from interp.evidence.panel import FloatArray
    from interp.extraction.factors import Factors

# Sizes of the core whose share and sufficiency are given (arXiv:2603.10261: four, ten and sixteen factors).
TOPS = (4, 10, 16)
# Rotations of the basis; p is then at least 1/21, and a band of 90 % leaves one out at either end.
N_ROTATIONS = 20
BAND = (0.05, 0.95)
# Ways to add up impacts to a total of 1.
MEASURES = ("negative as zero", "absolute")


class FactorTables(NamedTuple):
    """What `factor_tables` found.

    Attributes
    ----------
    impact
        One row per surrogate, factor and endpoint (`OVERALL` among them): surrogate, factor (number in the reference),
        endpoint, impact, lo, hi (bootstrap over donors, 95 %), n_donors, rank (1 has most impact on that endpoint),
        share and share_absolute (of the total), cumulative and cumulative_absolute (of this and all before it, in the
        order of the rank, or of the absolute impact), strength (norm of the factor), likeness (mean over splits of the
        cosine to the reference).
    concentration
        endpoint, measure (`MEASURES`), n_top, observed (share of the top factors), rotated_mean, rotated_lo,
        rotated_hi (5 to 95 % of rotated bases), p (rotated bases at least as concentrated, add-one), n_rotations,
        even (the share that so many factors of equal impact would have).
    curves
        basis (``factors``, ``rotated``), draw, n_top, share, share_absolute, over all sizes, of the overall impact.
    core
        n_top, endpoint, value with only the core kept, lo, hi, full (all factors), loss, loss_lo, loss_hi,
        random_mean and random_95 (cores of as many factors drawn at random), chosen_on (donors that chose the core).
    subsets
        The 16 subsets of the top four: factors, endpoint, without (the value when these are ablated), alone (when
        these alone are kept), drop, lo, hi, sum_of_drops (of its members, each ablated alone).
    overlap
        Of the factors in the largest core, and of the core as a whole (factor ``core``): impact_rank, side, the
        sparse factor most like it (``all`` for the core), n_shared, n_own, n_sparse, jaccard, expected (shared genes
        by chance), p (hypergeometric on the panel's genes), q (over all pairs).
    """

    impact: pd.DataFrame
    concentration: pd.DataFrame
    curves: pd.DataFrame
    core: pd.DataFrame
    subsets: pd.DataFrame
    overlap: pd.DataFrame


def factor_tables(
    campaign: Campaign,
    name: str,
    *,
    rank: int = RANKS[0],
    tops: Sequence[int] = TOPS,
    n_rotations: int = N_ROTATIONS,
    seed: int = 0,
) -> tuple[FactorTables, Factors]:
    """Ablate the factors of an operator's truncation, and of its hard sparse surrogate.

    Parameters
    ----------
    campaign
        The panel, the model's operators per split, and how adaptors are fitted.
    name
        The operator, such as the one chosen on all donors. Each split makes its own from its training donors.
    rank
        Rank of the truncation.
    tops
        Core sizes.
    n_rotations
        Random bases of the same operator that are ablated beside its own factors.
    seed
        Seed of rotations, random cores and bootstraps.

    Returns
    -------
    tables, factors
        The tables, and the reference factors that they number.

    Raises
    ------
    InputError
        The model has no such operator, or the panel has no splits.
    """
    low = ablation(campaign, lambda operator: truncated(operator, rank), name)
    sparse = ablation(campaign, sparse_factors, name)
    drops, sparse_drops = low.drops(), sparse.drops()
    labels = f"rank {rank}", f"sparse {N_FACTORS} x {N_READ}"
    impact = pd.concat(
        [_impact(low, drops, labels[0], seed), _impact(sparse, sparse_drops, labels[1], seed)], ignore_index=True
    )
    tops = tuple(top for top in tops if top <= len(low))
    concentration, curves = _rotations(low, drops, tops, n_rotations, seed)
    return FactorTables(
        impact,
        concentration,
        curves,
        core_table(low, drops, tops, seed),
        subset_table(low, drops, seed),
        overlap_table(low, sparse, drops, tops[-1] if tops else len(low)),
    ), low.factors


def shares(impact: FloatArray, measure: str) -> FloatArray:
    """Turn impacts (factor,) into shares of their total; NaN where the total is 0.

    Examples
    --------
    >>> shares(np.array([3.0, -1.0, 1.0]), "negative as zero").tolist()
    [0.75, 0.0, 0.25]
    """
    counted = np.abs(impact) if measure == MEASURES[1] else np.maximum(impact, 0.0)
    total = counted.sum()
    return counted / total if total > 0 else np.full(len(impact), np.nan)


def _each_endpoint(measured: Ablation, drops: FloatArray) -> Iterator[tuple[str, FloatArray]]:
    """Name and drops (factor, donor) of the overall mean and of every endpoint."""
    yield OVERALL, measured.overall(drops)
    yield from ((name, drops[:, i]) for i, name in enumerate(measured.endpoints))


def _impact(measured: Ablation, drops: FloatArray, surrogate: str, seed: int) -> pd.DataFrame:
    likeness, strength = mean_of_known(measured.likeness, axis=0), measured.factors.strength
    tables = []
    for endpoint, values in _each_endpoint(measured, drops):
        known = values[:, np.isfinite(values).all(axis=0)]
        impact = known.mean(axis=1) if known.size else np.full(len(values), np.nan)
        rng = stream(seed, f"evidence impact {surrogate} {endpoint}")
        bounds = [bootstrap_interval(row, rng=rng) for row in known]
        table = pd.DataFrame({"surrogate": surrogate, "factor": np.arange(len(values)), "endpoint": endpoint})
        table["impact"] = impact
        table["lo"], table["hi"] = zip(*bounds, strict=True)
        table["n_donors"] = known.shape[1]
        order = np.argsort(-impact, kind="stable")
        table["rank"] = np.argsort(order) + 1
        for suffix, measure in zip(("", "_absolute"), MEASURES, strict=True):
            share = shares(impact, measure)
            falling = np.argsort(-share, kind="stable")
            table[f"share{suffix}"] = share
            table[f"cumulative{suffix}"] = np.cumsum(share[falling])[np.argsort(falling)]
        tables.append(table.assign(strength=strength, likeness=likeness))
    return pd.concat(tables, ignore_index=True)


def _rotations(
    measured: Ablation, drops: FloatArray, tops: Sequence[int], n: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cumulative shares of the factors and of rotated bases; p counts the rotations at least as concentrated."""
    from scipy.stats import ortho_group

    rng = stream(seed, "evidence rotations")
    turned = [drops]
    for _ in progress(range(n), description="rotated bases", unit="basis"):
        rotation = ortho_group.rvs(len(measured), random_state=rng) if len(measured) > 1 else np.eye(1)
        turned.append(measured.drops(rotation))
    rows, curves = [], []
    named = [dict(_each_endpoint(measured, each)) for each in turned]
    for endpoint in named[0]:
        impacts = [mean_of_known(each[endpoint], axis=1) for each in named]
        grown = {m: np.array([np.cumsum(np.sort(shares(i, m))[::-1]) for i in impacts]) for m in MEASURES}
        for measure in MEASURES:
            rows += [_row(endpoint, measure, top, grown[measure][:, top - 1], top / len(measured)) for top in tops]
        if endpoint == OVERALL:
            for draw, pair in enumerate(zip(*grown.values(), strict=True)):
                about = {"basis": "rotated" if draw else "factors", "draw": max(draw - 1, 0)}
                sizes = np.arange(1, len(measured) + 1)
                curves.append(pd.DataFrame({**about, "n_top": sizes, "share": pair[0], "share_absolute": pair[1]}))
    return pd.DataFrame(rows), pd.concat(curves, ignore_index=True)


def _row(endpoint: str, measure: str, top: int, found: FloatArray, even: float) -> dict:
    observed, rotated = found[0], found[1:]
    low, high = np.quantile(rotated, BAND) if len(rotated) else (np.nan, np.nan)
    return {
        "endpoint": endpoint, "measure": measure, "n_top": top, "observed": observed,
        "rotated_mean": rotated.mean() if len(rotated) else np.nan, "rotated_lo": low, "rotated_hi": high,
        "p": permutation_p(float(observed), rotated).p if len(rotated) else np.nan, "n_rotations": len(rotated),
        "even": even,
    }  # fmt: skip
