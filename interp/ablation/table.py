"""From donors' drops to the table of heads: means, intervals and tests over donors, q over the screen, ties."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interp.probing.table import NOT_COMPUTABLE, OK, PLACE, SCORE, SELECT
from interp.runs.seeds import stream
from interp.stats import benjamini_hochberg, bootstrap_interval, null_floor, sign_flip, tied_with_best

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from interp.ablation.bench import Drops

# Columns of scores.csv (design, section 5), and what ablation adds: the intact model's score, p that it reads anything,
# and why there is no row.
COLUMNS = (
    "layer", "head", "name", "metric", "target", "role", "value", "lo", "hi", "p", "q", "n_donors",
    "null_mean", "null_sd", "floor", "tied", "status", "base", "base_p", "reason",
)  # fmt: skip
DONOR_COLUMNS = ("layer", "head", "name", "metric", "target", "role", "donor", "value", "base")
# Scores are of order 1, and sums of many cells in another order differ by less than this.
ROUNDING = 1e-12
# An interval and a test over donors need two of them.
MIN_DONORS = 2
# Draws of donors behind a floor: its 95th percentile then rests on some hundred pairs.
N_FLOOR = 100


def head_name(layer: int, head: int) -> str:
    """Write a head as ``L2H5``."""
    return f"L{layer}H{head}"


def set_name(heads: Sequence[tuple[int, int]]) -> str:
    """Write a set of heads as ``L2H5 + L3H0``."""
    return " + ".join(head_name(*head) for head in heads) or "no head"


def head_rows(drops: Drops, heads: Sequence[tuple[int, int]], prefix: str, *, seed: int) -> pd.DataFrame:
    """Build the table of single heads under one metric.

    p is that of the exact sign-flip test that donors miss the head, and no less than that of the intact model's readout
    reading its target at all: by luck a readout of nothing scores above chance, and then drops whatever is ablated.
    ``null_mean`` and ``null_sd`` are of the other heads of the same layer. ``floor`` is the difference that drawing
    other donors makes: the 95th percentile of absolute differences between draws of the donors' deviations from their
    mean.

    Parameters
    ----------
    drops
        Of these heads, (set, donor).
    heads
        The head of each set.
    prefix
        Start of the metric's name, such as ``"ablation.mean"``.
    seed
        Seed of the donor bootstrap.

    Returns
    -------
    pandas.DataFrame
        Columns `COLUMNS`, best first, first for role ``score``, then for ``select`` where heads can be chosen.
    """
    tables = []
    for role, values in ((SCORE, drops.drop), (SELECT, _over_folds(drops.select))):
        if role == SELECT and not drops.select.shape[1]:
            continue
        metric = f"{prefix}.{drops.metric}"
        rows = [
            _row(own, head, {"metric": metric, "target": drops.target, "role": role}, drops, seed)
            for head, own in zip(heads, values, strict=True)
        ]
        table = pd.DataFrame(rows).reindex(columns=list(COLUMNS)).astype(PLACE)
        table["q"] = benjamini_hochberg(table["p"].astype(float))
        table[["null_mean", "null_sd"]] = _same_layer(table)
        table["tied"] = tied_with_best(table["value"], table["floor"])
        tables.append(table.sort_values("value", ascending=False, kind="stable", na_position="last"))
    return pd.concat(tables, ignore_index=True)


def donor_rows(drops: Drops, heads: Sequence[tuple[int, int]], prefix: str) -> pd.DataFrame:
    """Build the long table of one value per head and donor, `DONOR_COLUMNS`."""
    n_donors = len(drops.donors)
    places = np.repeat(np.array(heads, np.int64).reshape(-1, 2), n_donors, axis=0)
    table = pd.DataFrame({"layer": places[:, 0], "head": places[:, 1]})
    table["name"] = [head_name(*head) for head in heads for _ in range(n_donors)]
    table["metric"], table["target"], table["role"] = f"{prefix}.{drops.metric}", drops.target, SCORE
    table["donor"] = list(drops.donors) * len(heads)
    table["value"], table["base"] = drops.drop.ravel(), np.tile(drops.base, len(heads))
    return table.astype(PLACE)[list(DONOR_COLUMNS)]


def missing_rows(
    heads: Sequence[tuple[int, int]], metrics: Sequence[str], target: str, prefix: str, reason: str
) -> pd.DataFrame:
    """Build the table of a target that cannot be read."""
    rows = [
        {"layer": layer, "head": head, "name": head_name(layer, head), "metric": f"{prefix}.{metric}"}
        for metric in metrics
        for layer, head in heads
    ]
    table = pd.DataFrame(rows).assign(target=target, role=SCORE).reindex(columns=list(COLUMNS))
    return table.assign(n_donors=0, tied=False, status=NOT_COMPUTABLE, reason=reason).astype(PLACE)


def summary(values: NDArray, *, seed: int, name: str) -> dict[str, float]:
    """Sum up one number per donor: value, lo, hi, n_donors.

    Parameters
    ----------
    values
        (donor,), NaN where there is none.
    seed, name
        Seed and name of the bootstrap.

    Returns
    -------
    dict
        NaN where nothing can be said.
    """
    known = values[np.isfinite(values)]
    lo, hi = bootstrap_interval(known, rng=stream(seed, "ablation bootstrap", name))
    value = float(known.mean()) if len(known) else np.nan
    found = {"value": value, "lo": lo, "hi": hi}
    return {end: 0.0 if abs(at) < ROUNDING else at for end, at in found.items()} | {"n_donors": len(known)}


def _row(values: NDArray, head: tuple[int, int], series: dict[str, str], drops: Drops, seed: int) -> dict[str, Any]:
    name = head_name(*head)
    found = summary(values, seed=seed, name=".".join((name, *series.values())))
    known = values[np.isfinite(values)]
    row = {"layer": head[0], "head": head[1], "name": name, **series, **found, "floor": _floor(known, seed)}
    base = drops.base[np.isfinite(drops.base)]
    row |= {"status": OK, "reason": "", "base": float(base.mean()) if len(base) else np.nan, "base_p": drops.base_p}
    if len(known) < MIN_DONORS:
        what = "no donor could be scored" if not len(known) else "one donor: no interval or test over donors"
        return row | {"p": np.nan, "status": NOT_COMPUTABLE, "reason": what}
    return row | {"p": max(sign_flip(known, seed=seed).p, drops.base_p)}


def _floor(values: NDArray, seed: int) -> float:
    if len(values) < MIN_DONORS:
        return float("nan")
    # the same donors are drawn for every head, so that equal drops have equal floors
    drawn = stream(seed, "ablation floor").integers(0, len(values), size=(N_FLOOR, len(values)))
    return null_floor((values - values.mean())[drawn].mean(axis=1))


def _same_layer(table: pd.DataFrame) -> NDArray:
    found = np.full((len(table), 2), np.nan)
    value, layer = table["value"].to_numpy(float), table["layer"].to_numpy(int)
    for row in range(len(table)):
        others = value[(layer == layer[row]) & (np.arange(len(table)) != row)]
        others = others[np.isfinite(others)]
        if len(others):
            found[row] = others.mean(), others.std(ddof=1) if len(others) > 1 else np.nan
    return found


def _over_folds(select: NDArray) -> NDArray[np.float64]:
    """Mean over folds of (set, fold, donor), NaN left out, (set, donor)."""
    known = np.isfinite(select)
    total = np.where(known, select, 0.0).sum(axis=1)
    return np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan)
