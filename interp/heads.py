"""The head table: every score of every head with its interval, its null and its ties, long and wide."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from interp.errors import InputError
from interp.runs.files import write_csv
from interp.runs.seeds import stream
from interp.stats import benjamini_hochberg, bootstrap_interval, null_floor, permutation_p, tied_with_best

if TYPE_CHECKING:
    import os
    from collections.abc import Hashable

    import pandas as pd
    from numpy.typing import NDArray

# "select": measured on training donors, used to choose; "score": measured on donors that took no part in the choice.
ROLES = ("select", "score")
# Columns of scores.csv (design, section 5).
COLUMNS = (
    "layer", "head", "name", "metric", "target", "role", "value", "lo", "hi", "p", "q", "n_donors",
    "null_mean", "null_sd", "floor", "tied", "status",
)  # fmt: skip
SERIES = ["metric", "target", "role"]
# Columns of the long table that the wide one keeps of the score that counts.
DETAILS = ("lo", "hi", "q", "floor", "tied")
NOT_COMPUTABLE, OK = "not computable", "ok"
_HEAD = re.compile(r"L(\d+)H(\d+)(?![0-9])")


def score_table(
    candidates: pd.DataFrame,
    *,
    nulls: pd.DataFrame | None = None,
    floor: float | Mapping[str, float] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Build `scores.csv` from the scores of every candidate in every split.

    A donor's splits are averaged first, then donors: one number per donor, donors weigh alike.

    Parameters
    ----------
    candidates
        One row per candidate and split (and donor): name, metric, target, role, value; ``donor`` where the values are
        per donor. NaN: could not be computed there.
    nulls
        Draws that the scores are held against: metric, target, value, and where they differ by candidate or role, name
        and role. Gives null_mean, null_sd, floor, p and, over the candidates of one metric, target and role, q.
    floor
        Difference under which two scores are tied, for all metrics or by metric; default from the nulls.
    seed
        Seed of the donor bootstrap.

    Returns
    -------
    pandas.DataFrame
        Columns `COLUMNS`, best first in each metric, target and role; ``layer`` and ``head`` are missing for operators
        of several heads. ``tied``: within the floor of the best one, and not alone there.

    Raises
    ------
    InputError
        Columns are missing, or a role is unknown.
    """
    import pandas as pd

    _require(candidates, ["name", *SERIES, "value"], "The candidates' scores")
    unknown = sorted(set(candidates["role"]) - set(ROLES))
    if unknown:
        msg = f"There is no role {', '.join(map(repr, unknown))}; expected {' or '.join(ROLES)}."
        raise InputError(msg)
    if nulls is not None:
        _require(nulls, ["metric", "target", "value"], "The null draws")
    candidates = candidates.assign(target=candidates["target"].astype(object).where(candidates["target"].notna(), ""))
    tables = []
    for key, rows in candidates.groupby(SERIES, sort=True):
        series = dict(zip(SERIES, key, strict=True))
        table = pd.DataFrame([_row(str(name), part, series, seed) for name, part in rows.groupby("name", sort=False)])
        table = _against_null(table, nulls, series)
        given = floor.get(series["metric"]) if isinstance(floor, Mapping) else floor
        if given is not None:
            table["floor"] = float(given)
        table["tied"] = tied_with_best(table["value"], table["floor"])
        tables.append(table.sort_values("value", ascending=False, kind="stable", na_position="last"))
    scores = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)
    return scores.astype({"layer": "Int64", "head": "Int64"})[list(COLUMNS)]


def head_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Build the wide view, `heads.csv`: one row per head, the best of its operators for each metric and target.

    Which operator of a head counts is decided by its ``select`` score where there is one, so that a held-out score is
    never the best of several. Rows of whole layers, such as probes of the residual stream, have no place here.

    Parameters
    ----------
    scores
        From `score_table`, or in its form.

    Returns
    -------
    pandas.DataFrame
        Columns layer, head, name (``L2H5``; ``drift`` for the pooled drift), then per metric and target, as far as
        there are such scores, ``<metric>.<target>.operator`` (what stands for the head), ``.select`` and ``.score``;
        and of the held-out score, or of ``select`` where there is none, ``.lo``, ``.hi``, ``.q``, ``.floor``, ``.tied``
        and ``.rank`` (1 is the best).

    Raises
    ------
    InputError
        Columns are missing.
    """
    import pandas as pd

    _require(scores, ["name", "layer", "head", *SERIES, "value", "tied"], "The table of scores")
    scores = scores[scores["head"].notna() | scores["layer"].isna()]
    scores = scores.assign(target=scores["target"].astype(object).where(scores["target"].notna(), ""))
    owner = scores["name"].map(_owner)
    heads = scores.assign(owner=owner).drop_duplicates("owner").sort_values(["layer", "head", "owner"])
    wide = heads[["layer", "head"]].assign(name=heads["owner"]).set_index("name", drop=False)
    columns: dict[str, pd.Series] = {}
    for (metric, target), rows in scores.assign(owner=owner).groupby(["metric", "target"], sort=True):
        stem = ".".join(part for part in (str(metric), str(target)) if part)
        chosen = _chosen(rows)
        columns[f"{stem}.operator"] = chosen
        for role in ROLES:
            part = rows[rows["role"] == role].set_index("name")
            if not part.empty:
                columns[f"{stem}.{role}"] = chosen.map(part["value"])
        deciding = rows[rows["role"] == ("score" if (rows["role"] == "score").any() else "select")].set_index("name")
        columns |= {f"{stem}.{name}": chosen.map(deciding[name]) for name in DETAILS if name in deciding}
        columns[f"{stem}.rank"] = chosen.map(deciding["value"]).rank(ascending=False, method="min").astype("Int64")
    return pd.concat([wide, pd.DataFrame(columns)], axis=1).loc[wide.index].reset_index(drop=True)


def best_heads(table: pd.DataFrame, n: int, *, by: str) -> list[tuple[int, int]]:
    """Name the best heads of a head table.

    Parameters
    ----------
    table
        From `head_table`, or `heads.csv` read again.
    n
        Heads wanted.
    by
        Column that ranks them, higher is better, such as ``"order.stage.select"``.

    Returns
    -------
    list of tuple of int
        (layer, head), best first, at most `n`; heads without a number there are left out.

    Raises
    ------
    InputError
        There is no such column.
    """
    _require(table, ["layer", "head", by], "The head table")
    known = table[table["head"].notna() & table[by].notna()]
    ranked = known.sort_values([by, "layer", "head"], ascending=[False, True, True], kind="stable").head(n)
    return [(int(layer), int(head)) for layer, head in zip(ranked["layer"], ranked["head"], strict=True)]


def write_head_tables(scores: pd.DataFrame, folder: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Write `scores.csv` and its wide view `heads.csv` into a folder; returns both paths."""
    folder = Path(folder)
    return write_csv(folder / "scores.csv", scores), write_csv(folder / "heads.csv", head_table(scores))


def head_of(name: str) -> tuple[int, int] | None:
    """Read layer and head from the name of a head or of an operator made of one head; None for all others.

    Examples
    --------
    >>> head_of("L2H5.mean.out"), head_of("drift.mean.out")
    ((2, 5), None)
    """
    found = _HEAD.match(name)
    return (int(found[1]), int(found[2])) if found else None


def _row(name: str, rows: pd.DataFrame, series: Mapping[str, Hashable], seed: int) -> dict[str, object]:
    layer, head = head_of(name) or (None, None)
    units, n_donors = _units(rows)
    lo, hi = float("nan"), float("nan")
    if n_donors > 1:
        rng = stream(seed, "heads-bootstrap", ".".join(map(str, (name, *series.values()))))
        lo, hi = bootstrap_interval(units, rng=rng)
    value = float(units.mean()) if len(units) else float("nan")
    status = OK if len(units) else NOT_COMPUTABLE
    place = {"layer": layer, "head": head, "name": name, **series}
    return place | {"value": value, "lo": lo, "hi": hi, "n_donors": n_donors, "status": status}


def _units(rows: pd.DataFrame) -> tuple[NDArray, int]:
    """Donors' means over their splits, or the bare values where no donors are given; and the number of donors."""
    rows = rows[rows["value"].notna()]
    if "donor" not in rows or rows["donor"].isna().all():
        return rows["value"].to_numpy(dtype=np.float64), 0
    means = rows.groupby(rows["donor"].astype(str), sort=True)["value"].mean().to_numpy(dtype=np.float64)
    return means, len(means)


def _against_null(table: pd.DataFrame, nulls: pd.DataFrame | None, series: Mapping[str, Hashable]) -> pd.DataFrame:
    found = []
    for name, value in zip(table["name"], table["value"], strict=True):
        draws = _draws(nulls, {**series, "name": name})
        p = permutation_p(value, draws).p if len(draws) and np.isfinite(value) else float("nan")
        sd = float(draws.std(ddof=1)) if len(draws) > 1 else float("nan")
        found.append((float(draws.mean()) if len(draws) else float("nan"), sd, null_floor(draws), p))
    means, sds, floors, ps = (np.array(column) for column in zip(*found, strict=True))
    return table.assign(null_mean=means, null_sd=sds, floor=floors, p=ps, q=benjamini_hochberg(ps))


def _draws(nulls: pd.DataFrame | None, key: Mapping[str, Hashable]) -> NDArray:
    if nulls is None:
        return np.array([])
    rows = nulls[nulls["value"].notna()]
    for column in ("metric", "target", "role", "name"):
        if column in rows:
            rows = rows[rows[column] == key[column]]
    return rows["value"].to_numpy(dtype=np.float64)


def _chosen(rows: pd.DataFrame) -> pd.Series:
    """Name of the operator that stands for each head: best ``select`` score, else best score."""
    order = rows.assign(selected=rows["role"] == "select")
    order = order.sort_values(["selected", "value"], ascending=False, kind="stable", na_position="last")
    return order.drop_duplicates("owner").set_index("owner")["name"]


def _owner(name: str) -> str:
    return name.split(".", 1)[0]


def _require(table: pd.DataFrame, columns: list[str], what: str) -> None:
    missing = [column for column in columns if column not in table]
    if missing:
        msg = f"{what} lack the columns {', '.join(missing)}; there are: {', '.join(map(str, table.columns))}."
        raise InputError(msg)
