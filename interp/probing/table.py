"""From donors' scores to tables: means and intervals over donors, p against the control task, q over the screen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interp.runs.seeds import stream
from interp.stats import benjamini_hochberg, bootstrap_interval, null_floor, sign_flip, tied_with_best

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Columns of scores.csv (design, section 5), and what a probe adds.
COLUMNS = (
    "layer", "head", "name", "metric", "target", "role", "value", "lo", "hi", "p", "q", "n_donors",
    "null_mean", "null_sd", "floor", "tied", "status", "site", "selectivity", "map_mean", "map_p", "reason",
)  # fmt: skip
DONOR_COLUMNS = ("layer", "head", "name", "site", "metric", "target", "role", "donor", "value", "null_mean")
# Layers and heads are whole numbers where there are any.
PLACE = {"layer": "Int64", "head": "Int64"}
SELECT, SCORE = "select", "score"
OK, NOT_COMPUTABLE = "ok", "not computable"
# Draws that a null's mean and sd need, one of them left out.
MIN_DRAWS = 3
# A spread under this is none; scores are of order 1.
NO_SPREAD = 1e-9


@dataclass(frozen=True, eq=False)
class Row:
    """One representation (or the best of several) under one metric and role.

    Attributes
    ----------
    name, site, layer, head, metric, role
        What it is.
    values
        (donor,), NaN where a donor was not scored.
    null
        The same under labels dealt anew within donors, (draw, donor).
    maps
        The same under labels dealt among cell types, (draw, donor).
    """

    name: str
    site: str
    layer: int | None
    head: int | None
    metric: str
    role: str
    values: NDArray[np.float64]
    null: NDArray[np.float64]
    maps: NDArray[np.float64]

    @property
    def pool(self) -> tuple[str, str, bool]:
        """Rows whose nulls are looked at together: the whole screen, or the best of each site."""
        return self.metric, self.role, self.layer is None


def score_rows(rows: Sequence[Row], target: str, *, seed: int) -> pd.DataFrame:
    """Build the table of scores.

    p is the larger of two. The exact sign-flip test asks whether donors exceed their own mean under the control task;
    but donors that are tested by probes trained on each other do not err independently. So the mean over donors is also
    held against the draws of the control task, which were fitted in the same way and err together alike: its distance
    from the null's mean in the null's sd, ranked among those of all draws of all rows of the screen.

    Parameters
    ----------
    rows
        What was measured.
    target
        Its name.
    seed
        Seed of the donor bootstrap.

    Returns
    -------
    pandas.DataFrame
        Columns `COLUMNS`, best first for each metric and role. ``tied``: within the floor of the best of its site.
    """
    tables = []
    pools: dict[tuple, list[Row]] = {}
    for row in rows:
        pools.setdefault(row.pool, []).append(row)
    for part in pools.values():
        table = pd.DataFrame([_line(row, target, seed) for row in part]).astype(PLACE)
        values = [row.values for row in part]
        table["p"] = np.fmax(table["p"], pooled_p(values, [row.null for row in part]))
        table["map_p"] = np.fmax(table["map_p"], pooled_p(values, [row.maps for row in part]))
        table["q"] = benjamini_hochberg(table["p"])
        table["tied"] = False
        for _, own in table.groupby("site"):
            table.loc[own.index, "tied"] = tied_with_best(own["value"], own["floor"])
        tables.append(table.sort_values("value", ascending=False, kind="stable", na_position="last"))
    return pd.concat(tables, ignore_index=True)[list(COLUMNS)]


def pooled_p(values: Sequence[NDArray], draws: Sequence[NDArray]) -> NDArray[np.float64]:
    """Compare each row's mean over donors with the draws of all rows, each in its own null's mean and sd.

    A draw is measured by the other draws of its row, as the observed value is by all of them.

    Parameters
    ----------
    values
        (donor,) of each row.
    draws
        (draw, donor) of each row.

    Returns
    -------
    numpy.ndarray
        p by the add-one rule, (row,); NaN where a row has no value, and everywhere with fewer than three draws.
    """
    observed = np.array([mean_of(row) for row in values])
    null = np.array([[mean_of(draw) for draw in row] for row in draws])
    if null.ndim < 2 or null.shape[1] < MIN_DRAWS:
        return np.full(len(observed), np.nan)
    n = null.shape[1]
    with np.errstate(invalid="ignore"):
        centre, sd = null.mean(axis=1), null.std(axis=1, ddof=1)
        others = (null.sum(axis=1, keepdims=True) - null) / (n - 1)
        rest = ((null - centre[:, None]) ** 2).sum(axis=1, keepdims=True) - (null - centre[:, None]) ** 2 * n / (n - 1)
        distance = (null - others) / np.maximum(np.sqrt(np.maximum(rest, 0.0) / (n - 2)), NO_SPREAD)
        own = (observed - centre) / np.maximum(sd, NO_SPREAD)
        distance *= np.sqrt((n - 1) / n)
        own *= np.sqrt(n / (n + 1))
    pool = np.sort(distance[np.isfinite(distance)])
    as_good = len(pool) - np.searchsorted(pool, own, side="left")
    return np.where(np.isfinite(own), (1 + as_good) / (1 + len(pool)), np.nan)


def donor_rows(rows: Sequence[Row], target: str, donors: Sequence[str]) -> pd.DataFrame:
    """Build the long table of one value per donor, beside its mean under the control task."""
    parts = []
    for row in rows:
        place = {"layer": row.layer, "head": row.head, "name": row.name, "site": row.site, "metric": row.metric}
        own = {"target": target, "role": row.role, "donor": list(donors), "value": row.values}
        part = pd.DataFrame(place | own | {"null_mean": column_means(row.null, len(donors))})
        parts.append(part.astype(PLACE))
    found = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(DONOR_COLUMNS))
    return found[list(DONOR_COLUMNS)]


def empty_rows(names: Sequence[tuple], metrics: Sequence[str], target: str, reason: str) -> pd.DataFrame:
    """Build the table of a target that cannot be probed; `names` hold name, site, layer and head."""
    lines: list[dict[str, Any]] = [
        {"layer": layer, "head": head, "name": name, "site": site, "metric": metric, "target": target, "role": SCORE}
        for metric in metrics
        for name, site, layer, head in names
    ]
    table = pd.DataFrame(lines).reindex(columns=list(COLUMNS))
    table = table.assign(n_donors=0, tied=False, status=NOT_COMPUTABLE, reason=reason)
    return table.astype(PLACE)


def mean_of(values: NDArray[np.float64]) -> float:
    """Mean over the donors that have a value; NaN where none has."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def column_means(draws: NDArray[np.float64], n_donors: int) -> NDArray[np.float64]:
    """Mean over draws of each donor, (donor,); NaN where there is none."""
    if not len(draws):
        return np.full(n_donors, np.nan)
    known = np.isfinite(draws)
    total = np.where(known, draws, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)


def against(values: NDArray, other: NDArray, *, seed: int) -> float:
    """One-sided p of the exact sign-flip test that donors' values exceed their others; NaN without a pair."""
    pair = np.isfinite(values) & np.isfinite(other)
    return sign_flip(values[pair] - other[pair], seed=seed).p if pair.any() else float("nan")


def interval(values: NDArray, *, seed: int, name: str) -> tuple[float, float]:
    """95 % bootstrap interval over donors; NaN twice with fewer than two."""
    return bootstrap_interval(values[np.isfinite(values)], rng=stream(seed, "probe bootstrap", name))


def _line(row: Row, target: str, seed: int) -> dict[str, Any]:
    n_donors = int(np.isfinite(row.values).sum())
    value = mean_of(row.values)
    lo, hi = interval(row.values, seed=seed, name=f"{row.name}.{row.metric}.{target}.{row.role}")
    draws = np.array([mean_of(draw) for draw in row.null])
    null_mean = float(draws.mean()) if len(draws) else float("nan")
    null, maps = (column_means(part, len(row.values)) for part in (row.null, row.maps))
    return {
        "layer": row.layer, "head": row.head, "name": row.name, "metric": row.metric, "target": target,
        "role": row.role, "value": value, "lo": lo, "hi": hi, "p": against(row.values, null, seed=seed),
        "n_donors": n_donors, "null_mean": null_mean,
        "null_sd": float(draws.std(ddof=1)) if len(draws) > 1 else float("nan"),
        "floor": null_floor(draws), "status": OK if n_donors else NOT_COMPUTABLE, "site": row.site,
        "selectivity": value - null_mean, "map_mean": mean_of(maps),
        "map_p": against(row.values, maps, seed=seed), "reason": "" if n_donors else "no donor could be scored",
    }  # fmt: skip
