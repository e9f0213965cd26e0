"""Every comparison of a verdict in one table: the control, by how much it was beaten, and what was said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

COLUMNS = (
    "endpoint", "control", "draws", "mean", "effect", "lo", "hi", "p_donors", "p_draws", "p", "q", "floor", "minimum",
    "hardest", "status", "detectable", "donors_needed", "donors",
)  # fmt: skip


def controls_table(verdict: Mapping[str, Any]) -> pd.DataFrame:
    """Tabulate every control of every endpoint.

    Parameters
    ----------
    verdict
        From `verdict`, or ``verdict.json`` read back.

    Returns
    -------
    pandas.DataFrame
        One row per endpoint and control, the primary endpoint and in each the hardest control first: draws,
        mean (of the control), effect with its 95 % interval over donors, p over donors and over draws and the larger of
        the two, the endpoint's q, floor, registered minimum and status, whether this control is the endpoint's hardest,
        the effect that the donors show with 80 % power, and the donors that would show this one. Not a number where
        something could not be computed or no number of donors would do.

    Examples
    --------
    >>> controls_table({"endpoints": {}}).shape
    (0, 18)
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    primary = verdict.get("primary")
    # Read back from JSON, the endpoints stand in order of their names.
    for endpoint, found in sorted(verdict["endpoints"].items(), key=lambda item: (item[0] != primary, item[0])):
        specific = found["model_specific"]
        shared = {
            "endpoint": endpoint, "q": specific["q"], "floor": specific["floor"], "minimum": found["minimum_effect"],
            "status": specific["status"], "donors": found["n_donors"],
        }  # fmt: skip
        against = sorted(specific["against"].items(), key=lambda item: (item[1]["effect"], item[0]))
        rows += [
            shared
            | {
                name: c[name]
                for name in ("effect", "lo", "hi", "p_donors", "p_draws", "p", "detectable", "donors_needed")
            }
            | {"control": control, "draws": c["n_draws"], "mean": c["null_mean"]}
            | {"hardest": control == specific.get("hardest")}
            for control, c in against
        ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    numbers = [name for name in COLUMNS if name not in ("endpoint", "control", "hardest", "status")]
    return table.astype(dict.fromkeys(numbers, float)).astype({"draws": int, "donors": int, "hardest": bool})
