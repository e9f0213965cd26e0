"""Cores of factors under fixed probes: what the strongest carry alone, all subsets of four, and the sparse factors."""

from __future__ import annotations

from itertools import chain, combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interp.evidence.factor_ablation import mean_of_known
from interp.extraction.factors import SIDES, factor_genes
from interp.extraction.surrogates import N_READ, N_WRITE
from interp.runs.seeds import stream
from interp.stats import benjamini_hochberg, bootstrap_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interp.evidence.factor_ablation import Ablation
    from interp.evidence.panel import FloatArray
    from interp.extraction.factors import Factors
    from interp.stats import Split

# Factors whose subsets are all tried, and cores of equal size drawn at random beside each core.
N_SUBSET = 4
N_RANDOM = 20
# The 95th percentile of random cores, as for null families (design, nulls).
PERCENTILE = 0.95


def core_table(measured: Ablation, drops: FloatArray, tops: Sequence[int], seed: int) -> pd.DataFrame:
    """Keep only the factors of largest impact, as the donors of other splits rank them.

    Parameters
    ----------
    measured
        Factors under fixed probes.
    drops
        Its ``drops()``, (factor, endpoint, donor).
    tops
        Core sizes.
    seed
        Seed of random cores and bootstraps.

    Returns
    -------
    pandas.DataFrame
        As `FactorTables.core`.
    """
    n, overall = len(measured), measured.overall(drops)
    others = all(_others(measured, part.probes.split).any() for part in measured.parts)

    def kept(split: Split) -> FloatArray:
        used = _others(measured, split) if others else np.ones(len(measured.donors), dtype=bool)
        ranked = np.argsort(-mean_of_known(overall[:, used], axis=1), kind="stable")
        return np.array([np.isin(np.arange(n), ranked[:top]) for top in tops], dtype=np.float64).reshape(-1, n)

    rng = stream(seed, "evidence random cores")
    drawn = [np.isin(np.arange(n), rng.permutation(n)[:top]) for top in tops for _ in range(N_RANDOM)]
    values, full = measured.values(kept), measured.values(np.ones((1, n)))[0]
    random = measured.values(np.array(drawn, dtype=np.float64).reshape(-1, n))
    random = mean_of_known(random, axis=2).reshape(len(tops), N_RANDOM, -1) if tops else random
    rows = []
    for i, top in enumerate(tops):
        for e, endpoint in enumerate(measured.endpoints):
            row = {"n_top": top, "endpoint": endpoint} | _with_loss(values[i, e], full[e], seed)
            row |= {"random_mean": random[i, :, e].mean(), "random_95": np.quantile(random[i, :, e], PERCENTILE)}
            rows.append(row | {"chosen_on": "donors of other splits" if others else "the same donors"})
    return pd.DataFrame(rows)


def _others(measured: Ablation, split: Split) -> np.ndarray:
    """Donors that a split does not test, bool (donor,)."""
    return ~np.isin(measured.donors, split.test_donors)


def _with_loss(values: FloatArray, full: FloatArray, seed: int) -> dict[str, float]:
    known = np.isfinite(values) & np.isfinite(full)
    values, full = values[known], full[known]
    mean = [float(each.mean()) if len(each) else float("nan") for each in (values, full)]
    rng = stream(seed, "evidence core")
    lo, hi = bootstrap_interval(values, rng=rng)
    loss_lo, loss_hi = bootstrap_interval(full - values, rng=rng)
    return {
        "value": mean[0], "lo": lo, "hi": hi, "full": mean[1],
        "loss": mean[1] - mean[0], "loss_lo": loss_lo, "loss_hi": loss_hi,
    }  # fmt: skip


def subset_table(measured: Ablation, drops: FloatArray, seed: int) -> pd.DataFrame:
    """Ablate, and keep alone, every subset of the four factors of largest impact; parameters as in `core_table`.

    Returns
    -------
    pandas.DataFrame
        As `FactorTables.subsets`.
    """
    n, overall = len(measured), mean_of_known(measured.overall(drops), axis=1)
    top = np.sort(np.argsort(-overall, kind="stable")[: min(N_SUBSET, n)])
    sets = list(chain.from_iterable(combinations(top.tolist(), size) for size in range(len(top) + 1)))
    held = np.array([np.isin(np.arange(n), members) for members in sets], dtype=np.float64)
    without, alone = measured.values(1.0 - held), measured.values(held)
    rows = []
    for i, members in enumerate(sets):
        for e, endpoint in enumerate(measured.endpoints):
            found = _with_loss(without[i, e], without[0, e], seed)
            rows.append({
                "factors": "+".join(map(str, members)) or "none", "endpoint": endpoint, "without": found["value"],
                "alone": mean_of_known(alone[i, e], axis=0).item(), "drop": found["loss"],
                "lo": found["loss_lo"], "hi": found["loss_hi"],
                "sum_of_drops": float(sum(mean_of_known(drops[m, e], axis=0) for m in members)),
            })  # fmt: skip
    return pd.DataFrame(rows)


def overlap_table(low: Ablation, sparse: Ablation, drops: FloatArray, n_core: int) -> pd.DataFrame:
    """Compare the genes of the core's factors with those of a sparse surrogate, both cut to as many a side.

    Parameters
    ----------
    low, sparse
        The two surrogates' factors.
    drops
        Of the first, (factor, endpoint, donor).
    n_core
        Size of the core.

    Returns
    -------
    pandas.DataFrame
        As `FactorTables.overlap`.
    """
    from scipy.stats import hypergeom

    ranked = np.argsort(-mean_of_known(low.overall(drops), axis=1), kind="stable")[:n_core]
    own, other = (_gene_sets(each.factors) for each in (low, sparse))
    n_genes, rows = len(low.factors.genes), []

    def compared(factor: int | str, rank: int, side: str, sparse_factor: int | str, a: set, b: set) -> dict:
        shared, either = len(a & b), len(a | b)
        return {
            "factor": factor, "impact_rank": rank, "side": side, "sparse_factor": sparse_factor, "n_shared": shared,
            "n_own": len(a), "n_sparse": len(b), "jaccard": shared / either if either else np.nan,
            "expected": len(a) * len(b) / n_genes, "p": float(hypergeom.sf(shared - 1, n_genes, len(a), len(b))),
        }  # fmt: skip

    for side in SIDES:
        for rank, factor in enumerate(ranked.tolist(), start=1):
            rows += [compared(factor, rank, side, k, own[factor, side], other[k, side]) for k in range(len(sparse))]
        core = set().union(*(own[factor, side] for factor in ranked.tolist()))
        rows.append(compared("core", 0, side, "all", core, set().union(*(other[k, side] for k in range(len(sparse))))))
    table = pd.DataFrame(rows)
    table["q"] = benjamini_hochberg(table["p"].to_numpy())
    best = table.sort_values("jaccard", ascending=False, kind="stable").drop_duplicates(["factor", "side"])
    return best.sort_values(["side", "impact_rank"], kind="stable").reset_index(drop=True)


def _gene_sets(factors: Factors) -> dict[tuple[int, str], set[str]]:
    table = factor_genes(factors, max(N_READ, N_WRITE))
    return {(int(k), str(side)): set(rows["gene"]) for (k, side), rows in table.groupby(["factor", "side"])}
