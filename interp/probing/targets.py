"""What a probe is to read: classes, a named pair or a number, the cells that count for it, and those left out."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interp.biology.pairs import PAIRS, side_of
from interp.errors import InputError
from interp.runs.seeds import stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A donor's cells of one class count from this number on; the anchors' minimum (design, panel).
MIN_CELLS = 5
# Cells of one class of one donor at most: beyond, a donor's recall is known to within 0.03 anyway.
MAX_CELLS = 200
# One donor is tested, one chooses the penalty, one is trained on.
MIN_DONORS = 3


@dataclass(frozen=True, eq=False)
class Task:
    """A target and the cells that it can be read from.

    Attributes
    ----------
    target
        Its name.
    rows
        Cells that count, row numbers of obs, (cell,).
    values
        Class codes, int64, or numbers, float64, (cell,).
    classes
        Names of the classes; empty for a number.
    donor
        Code of each cell's donor, (cell,).
    donors
        Their names.
    cell_type
        Code of each cell's cell type, (cell,); all one where obs has no such column.
    left_out
        One row per thing left out: what, reason, n_cells.
    reason
        Why the target cannot be probed; None when it can.
    is_number
        Whether the target is a number rather than a class.
    """

    target: str
    rows: NDArray[np.int64]
    values: NDArray
    classes: tuple[str, ...]
    donor: NDArray[np.int64]
    donors: tuple[str, ...]
    cell_type: NDArray[np.int64]
    left_out: pd.DataFrame
    reason: str | None
    is_number: bool


def read_task(
    obs: pd.DataFrame,
    target: str,
    *,
    donor: str = "donor",
    cell_type: str = "cell_type",
    min_cells: int = MIN_CELLS,
    max_cells: int = MAX_CELLS,
    seed: int = 0,
) -> Task:
    """Find the cells from which a target can be probed.

    A class counts in the donors that have at least `min_cells` of it, and is left out when that is one donor alone; a
    donor with one class left, or one value of a number, is left out too, as nothing can be told apart in it.

    Parameters
    ----------
    obs
        Labels of the cells.
    target
        Column of obs: a column of numbers is a number to predict, any other column holds classes. Or a named pair of
        `interp.biology.pairs.PAIRS`, such as ``"CD4/CD8"``.
    donor, cell_type
        Columns with donor and cell type.
    min_cells, max_cells
        Fewest and most cells of one donor and class (or cell type, for a number).
    seed
        Seed of the draw from larger groups.

    Returns
    -------
    Task

    Raises
    ------
    InputError
        There is no such target or donor column, or a cell with a target has no donor.
    """
    if donor not in obs:
        msg = f"obs has no column {donor!r} to group by; it has {', '.join(map(str, obs.columns))}"
        raise InputError(msg)
    labels = _labels(obs, target)
    is_number = pd.api.types.is_numeric_dtype(labels) and not pd.api.types.is_bool_dtype(labels)
    frame = pd.DataFrame({"donor": obs[donor].to_numpy(dtype=object), "value": labels.to_numpy(dtype=object)})
    frame["type"] = obs[cell_type].astype(str).to_numpy(dtype=object) if cell_type in obs else ""
    frame = frame[pd.notna(frame["value"])]
    if frame["donor"].isna().any():
        msg = f"{int(frame['donor'].isna().sum())} cells with a {target} have no {donor}; name it or leave them out"
        raise InputError(msg)
    frame = frame.assign(donor=frame["donor"].astype(str))
    frame = frame.assign(value=frame["value"].astype(np.float64 if is_number else str))
    frame, left_out = _numbers(frame, min_cells) if is_number else _classes(frame, min_cells)
    frame = _capped(frame, "type" if is_number else "value", max_cells, seed)
    donors, classes = sorted(frame["donor"].unique()), [] if is_number else sorted(frame["value"].unique())
    values = frame["value"].to_numpy() if is_number else pd.Categorical(frame["value"], classes).codes.astype(np.int64)
    return Task(
        target=target,
        rows=frame.index.to_numpy(np.int64),
        values=values,
        classes=tuple(classes),
        donor=pd.Categorical(frame["donor"], donors).codes.astype(np.int64),
        donors=tuple(donors),
        cell_type=pd.Categorical(frame["type"]).codes.astype(np.int64),
        left_out=pd.DataFrame(left_out, columns=["what", "reason", "n_cells"]),
        reason=_reason(donors, left_out),
        is_number=bool(is_number),
    )


def _labels(obs: pd.DataFrame, target: str) -> pd.Series:
    if target in obs:
        return obs[target]
    if target in PAIRS:
        from interp.biology import StageGraph, map_labels

        missing = [name for name in ("stage", "branch", "cell_type") if name not in obs]
        if missing:
            msg = f"the pair {target!r} is read from stage, branch and cell_type; obs lacks {', '.join(missing)}"
            raise InputError(msg)
        candidates = map_labels(obs["cell_type"].dropna().astype(str), StageGraph.hematopoiesis())["candidates"]
        return pd.Series(side_of(obs, PAIRS[target], candidates.to_dict()), index=obs.index)
    known = [*map(str, obs.columns), *PAIRS]
    near = get_close_matches(target, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
    msg = f"there is no target {target!r}; {hint}"
    raise InputError(msg)


def _classes(frame: pd.DataFrame, min_cells: int) -> tuple[pd.DataFrame, list[tuple[str, str, int]]]:
    left_out = []
    sizes = frame.groupby(["donor", "value"])["value"].transform("size")
    small = frame[sizes < min_cells]
    for (donor, name), n in small.groupby(["donor", "value"]).size().items():
        left_out.append((f"{name} of {donor}", f"fewer than {min_cells} cells", int(n)))
    frame = frame[sizes >= min_cells]
    while True:
        # a class of one donor teaches the probe that donor, and can be tested on no other
        alone = frame.groupby("value")["donor"].nunique().loc[lambda n: n < 2].index
        rest = frame[~frame["value"].isin(alone)]
        plain = rest.groupby("donor")["value"].nunique().loc[lambda n: n < 2].index
        for column, names, reason in (
            ("value", alone, "in one donor only"),
            ("donor", plain, "one class only"),
        ):
            found = (frame if column == "value" else rest).groupby(column).size()
            left_out += [(str(name), reason, int(found[name])) for name in names]
        if not len(alone) and not len(plain):
            return frame, left_out
        frame = rest[~rest["donor"].isin(plain)]


def _numbers(frame: pd.DataFrame, min_cells: int) -> tuple[pd.DataFrame, list[tuple[str, str, int]]]:
    frame = frame[np.isfinite(frame["value"].to_numpy())]
    found = frame.groupby("donor")["value"].agg(["size", "nunique"])
    few, constant = found["size"] < 2 * min_cells, found["nunique"] < 2
    left_out = [(str(name), f"fewer than {2 * min_cells} cells", int(found["size"][name])) for name in found[few].index]
    left_out += [(str(name), "one value only", int(found["size"][name])) for name in found[constant & ~few].index]
    return frame[~frame["donor"].isin(found[few | constant].index)], left_out


def _capped(frame: pd.DataFrame, column: str, max_cells: int, seed: int) -> pd.DataFrame:
    kept = []
    for (donor, name), rows in frame.groupby(["donor", column]).groups.items():
        places = np.asarray(rows)
        if len(places) > max_cells:
            places = stream(seed, "probe cells", f"{donor}|{name}").choice(places, max_cells, replace=False)
        kept.append(places)
    return frame.loc[np.sort(np.concatenate(kept))] if kept else frame


def _reason(donors: list[str], left_out: list[tuple[str, str, int]]) -> str | None:
    if len(donors) >= MIN_DONORS:
        return None
    shown = "; ".join(f"{what}: {reason}" for what, reason, _ in left_out[:5])
    words = f"{len(donors)} donors can be scored, {MIN_DONORS} are needed"
    return f"{words} ({shown}{'; ...' if len(left_out) > 5 else ''})" if shown else words
