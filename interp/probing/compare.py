"""The same probe on representations that owe nothing to training, and how far the model's best is from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interp.probing.table import NOT_COMPUTABLE, OK, PLACE, against, interval, mean_of
from interp.stats import benjamini_hochberg

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from interp.probing.table import Row

COLUMNS = (
    "name", "layer", "head", "metric", "target", "value", "lo", "hi", "n_donors", "against", "difference",
    "difference_lo", "difference_hi", "p", "q", "status", "reason",
)  # fmt: skip
UNTRAINED = "untrained"


def comparison(
    controls: Sequence[Row], model: Sequence[Row], target: str, *, missing: Mapping[str, str], seed: int
) -> pd.DataFrame:
    """Compare rows of the model with those of its controls, donor by donor.

    Parameters
    ----------
    controls
        Rows of the controls. One named ``untrained X`` is held against the model's ``X``, any other against the best of
        every site.
    model
        Rows of the model, role ``score``.
    target
        Name of the target.
    missing
        Name of a control that could not be made to the reason.
    seed
        Seed of the bootstrap.

    Returns
    -------
    pandas.DataFrame
        Columns `COLUMNS`: the control's value, and ``difference``: the model's (``against``) minus the control's over
        the donors that both have, with p of the one-sided sign-flip test that the model's is higher and q over the
        metric.
    """
    bests = [row for row in model if row.layer is None]
    named = {(row.name, row.metric): row for row in model}
    lines: list[dict[str, Any]] = []
    for row in controls:
        own = named.get((row.name.removeprefix(f"{UNTRAINED} "), row.metric))
        others = [own] if row.name.startswith(UNTRAINED) else [best for best in bests if best.metric == row.metric]
        lines += [_line(row, other, target, seed) for other in others or [None]]
    for name, reason in missing.items():
        lines += [{"name": name, "target": target, "status": NOT_COMPUTABLE, "reason": reason, "n_donors": 0}]
    table = pd.DataFrame(lines, columns=list(COLUMNS))
    if lines:
        table["q"] = table.groupby("metric", dropna=False)["p"].transform(lambda p: benjamini_hochberg(p.astype(float)))
    return table.astype(PLACE)


def _line(row: Row, other: Row | None, target: str, seed: int) -> dict[str, Any]:
    lo, hi = interval(row.values, seed=seed, name=f"{row.name}.{row.metric}.{target}")
    line: dict[str, Any] = {
        "name": row.name, "layer": row.layer, "head": row.head, "metric": row.metric, "target": target,
        "value": mean_of(row.values), "lo": lo, "hi": hi, "n_donors": int(np.isfinite(row.values).sum()),
        "status": OK, "reason": "", "p": np.nan,
    }  # fmt: skip
    if other is None:
        return line
    difference: NDArray = other.values - row.values
    lo, hi = interval(difference, seed=seed, name=f"{row.name}.{other.name}.{row.metric}.{target}")
    p = against(other.values, row.values, seed=seed)
    found = {"against": other.name, "difference": mean_of(difference), "difference_lo": lo, "difference_hi": hi}
    return line | found | {"p": p}
