"""Paired losses: what each smaller stand-in loses against a reference, donor by donor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interp.evidence.verdict import ALPHA, DEFAULT_MINIMUM, MINIMUM_EFFECT
from interp.runs.seeds import stream
from interp.stats import benjamini_hochberg, bootstrap_interval, equivalence_interval, sign_flip

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LOST, KEPT, SAME, UNDECIDED, MISSING = "lost", "kept", "the same", "undecided", "not computable"
COLUMNS = (
    "step", "endpoint", "reference", "loss", "lo", "hi", "equivalence_hi", "margin", "p", "q", "smallest_p", "n_donors",
    "status",
)  # fmt: skip


def paired_losses(
    donors: pd.DataFrame,
    *,
    reference: str,
    same: Sequence[str] = (),
    margin: Mapping[str, float] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare every step with a reference, on the donors that both have.

    Parameters
    ----------
    donors
        endpoint, control (the step), donor, value: one number per donor.
    reference
        The step that the others are compared with.
    same
        Steps that are the reference written in another way, and so no test.
    margin
        Loss under which an endpoint counts as kept, in place of the registered minimum effects.
    seed
        Seed of the bootstrap.

    Returns
    -------
    pandas.DataFrame
        step, endpoint, reference; loss (mean over donors of reference - step; below 0 is a gain), lo, hi (bootstrap
        over donors, 95 %); equivalence_hi (upper end of the 90 % equivalence interval), margin; p (one-sided exact
        sign-flip over donors), q (Benjamini-Hochberg over steps and endpoints), smallest_p (that so many donors can
        reach); n_donors; status: ``lost`` (q < 0.05), ``kept`` (equivalence_hi under the margin), ``the same`` (one of
        those named so), else ``undecided``, or ``not computable``. A loss can be sure and still under the margin; then
        ``lost`` is written.
    """
    margins = {**MINIMUM_EFFECT, **(margin or {})}
    wide = donors.pivot_table(index=["control", "endpoint"], columns="donor", values="value", dropna=False)
    rows = []
    for step in dict.fromkeys(donors["control"]):
        for endpoint in dict.fromkeys(donors["endpoint"]):
            pair = [key for key in ((reference, endpoint), (step, endpoint)) if key in wide.index]
            if step == reference or len(pair) < 2:
                continue
            difference = (wide.loc[pair[0]] - wide.loc[pair[1]]).dropna().to_numpy(dtype=np.float64)
            found = _compared(difference, f"{step} {endpoint}", seed, tested=step not in same)
            about = {"step": step, "endpoint": endpoint, "reference": reference}
            rows.append(about | found | {"margin": margins.get(endpoint, DEFAULT_MINIMUM)})
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table["q"] = benjamini_hochberg(table["p"].to_numpy(dtype=np.float64))
    table["status"] = [SAME if row.step in same and row.n_donors else _status(row) for row in table.itertuples()]
    return table


def _compared(difference: np.ndarray, name: str, seed: int, *, tested: bool) -> dict:
    if not len(difference):
        return {"loss": float("nan"), "p": float("nan"), "n_donors": 0}
    lo, hi = bootstrap_interval(difference, rng=stream(seed, f"evidence losses {name}"))
    flips = sign_flip(difference, seed=seed)
    return {
        "loss": float(difference.mean()),
        "lo": lo,
        "hi": hi,
        "equivalence_hi": equivalence_interval(difference)[1],
        "p": flips.p if tested else float("nan"),
        "smallest_p": flips.smallest_p if tested else float("nan"),
        "n_donors": len(difference),
    }


def _status(row: Any) -> str:
    if not row.n_donors:
        return MISSING
    if row.q < ALPHA:
        return LOST
    return KEPT if row.equivalence_hi < row.margin else UNDECIDED
