"""What the summary says of the order endpoint: the headline beside its base level, nulls, branches and rulers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from interp.evidence import ALPHA, ORDER
from interp.evidence.nulls import FAMILIES
from interp.report.tables import markdown, shown

if TYPE_CHECKING:
    from pathlib import Path


def headline(judged: dict[str, Any]) -> str:
    """Say what came out, and never the order without the level that it has by itself on this panel.

    Parameters
    ----------
    judged
        Contents of ``verdict.json``.

    Returns
    -------
    str
        Markdown.
    """
    found = judged["endpoints"].get(ORDER)
    if found is None:
        return "**Undecided.** The order endpoint could not be computed in any donor."
    readable, specific, base = found["readable"], found["model_specific"], found["base"]
    level = "no null was drawn, so its base level is not known"
    note = (
        "the order of a left-out stage has a base level of its own on every panel, so 0 is not what to read it against"
    )
    if base["family"] is not None:
        level = f"{shown(base['above_by'])} above the largest null mean, {shown(base['mean'])}"
        note += f"; here {base['family']} centre at {shown(base['mean'])}"
    return (
        f"**Order of a left-out stage in unseen donors: {shown(found['value'])} (95 % interval {shown(found['lo'])} to "
        f"{shown(found['hi'])}, {found['n_donors']} donors), {level}: {readable['status']}, {specific['status']}.**\n\n"
        f"- {readable['status']}: {readable['reason']}\n- {specific['status']}: {specific['reason']}\n- {note}"
    )


def null_tables(judged: dict[str, Any]) -> str:
    """Tabulate every endpoint's null families, and their maximum beside the observed value."""
    rows, lines = [], []
    for name, found in judged["endpoints"].items():
        against = found["readable"]["against"]
        rows += [_family(name, found["value"], family, c) for family, c in against.items()]
        if against:
            hardest = max(against, key=lambda family: against[family]["percentile"])
            lines.append(
                f"- {name}: observed {shown(found['value'])}; over {len(against)} families the largest mean is "
                f"{shown(found['base']['mean'])} ({found['base']['family']}) and the largest 95th percentile "
                f"{shown(against[hardest]['percentile'])} ({hardest})"
            )
    if not rows:
        return f"None of {', '.join(FAMILIES)} could be drawn."
    return (
        markdown(pd.DataFrame(rows)) + "\n\nThe maximum over the families; the decision stays with each family, all of "
        "which a readable result passes:\n\n" + "\n".join(lines)
    )


def _family(endpoint: str, value: float, family: str, c: dict[str, Any]) -> dict[str, Any]:
    return {
        "endpoint": endpoint, "family": family, "draws": c["n_draws"], "mean": c["null_mean"], "sd": c["null_sd"],
        "95th percentile": c["percentile"], "observed": value, "above the mean by": c["effect"],
        "p over draws": c["p_draws"], "at floor": c["at_floor"], "p over donors": c["p_donors"],
        "passes": value > c["percentile"] and c["p_donors"] < ALPHA,
    }  # fmt: skip


def branches(run: Path) -> str:
    """Tabulate ``branches.csv``."""
    table = pd.read_csv(run / "branches.csv")
    headings = {
        "branch": "branch", "anchors": "anchors", "stages": "stages", "donors": "donors", "pairs": "pairs",
        "order": "order", "lo": "lo", "hi": "hi", "donors_measured": "donors measured",
        "stages_measured": "stages measured", "null_mean": "largest null mean",
        "null_95": "largest null 95th percentile",
        "hardest_null": "of", "above_all_nulls": "above all", "status": "status", "reason": "reason",
    }  # fmt: skip
    return (
        "The order endpoint, split by the branch of the stage that was left out; its distances go to the stages of all "
        "branches. No fit is new, and no branch is judged by itself: small branches are above or below by chance.\n\n"
        + markdown(table, headings)
    )


def rulers(run: Path) -> str:
    """Tabulate ``rulers.csv``."""
    table = pd.read_csv(run / "rulers.csv")
    headings = {
        "ruler": "ruler", "status": "status", "with_main": "Spearman with the main ruler", "order": "order", "lo": "lo",
        "hi": "hi", "donors": "donors", "stages": "stages measured", "reason": "reason",
    }  # fmt: skip
    main = table.iloc[0]
    return (
        f"The main ruler is {main['ruler']} ({main['source']}). Under each other one the adaptor is refitted, with the "
        "operator and the settings that were chosen under the main ruler, and asked for the order of its own ruler, "
        "whose base level is its own too: nulls were drawn for the main ruler alone.\n\n" + markdown(table, headings)
    )
