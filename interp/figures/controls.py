"""The controls of one endpoint as a forest: the observed arm on top, one row per control, donors as points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from interp.errors import InputError
from interp.figures.look import (
    COLUMN,
    INK,
    OBSERVED,
    REFERENCE,
    SMALL_SIZE,
    SOFT,
    TINY_SIZE,
    axes_for,
    count,
    number,
    p_words,
    require_columns,
    style,
    surround,
    tidy,
    without_unit,
    wrap,
)
from interp.runs.seeds import stream
from interp.stats import bootstrap_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW = 0.27
"""Height of a row in inches."""
DRAWS_BAND = (0.05, 0.95)
"""Quantiles of a random control's draws that its bar spans."""
SPREAD = 0.26
"""Height over which a row's donors are spread, in rows."""


class Arm(NamedTuple):
    """One row of the forest: donor values are means over draws; a donor's NaN is left out and counted."""

    name: str
    donors: np.ndarray
    mean: float
    low: float
    high: float
    draws: np.ndarray
    lost: int


def controls_forest(
    controls: pd.DataFrame,
    *,
    endpoint: str,
    observed: str = "chosen",
    null_95: float | None = None,
    p: Mapping[str, float] | None = None,
    verdict: str | None = None,
    label: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the observed arm over its controls: donor points, mean with 95 % interval, the null's 95th percentile.

    Parameters
    ----------
    controls
        Rows of `controls.csv`: endpoint, control, draw, donor, value.
    endpoint
        Which endpoint to draw.
    observed
        Name of the observed arm in the column `control`.
    null_95
        95th percentile of the label null (the largest, when there are several families).
    p
        Control to the p of observed against it, written beside its row.
    verdict
        Words of the verdict, for example "readable, not model-specific"; they go into the note.
    label
        Name of the endpoint with its unit on the axis; default the endpoint's name.
    title
        Own title instead of the default one; "" for none.
    ax
        Where to draw; default a new figure of one column.

    Returns
    -------
    Axes
        Controls in falling order of their mean; intervals are percentile bootstraps over donors, none with one donor.

    Raises
    ------
    InputError
        When a column is missing or no row has the endpoint.
    """
    require_columns(controls, ["endpoint", "control", "draw", "donor", "value"], what="The table of controls")
    rows = controls[controls["endpoint"] == endpoint]
    if rows.empty:
        known = ", ".join(sorted(set(map(str, controls["endpoint"]))))
        msg = f"No row has the endpoint {endpoint!r}; the table has {known or 'no rows'}."
        raise InputError(msg)
    arms = [_arm(str(name), part) for name, part in rows.groupby("control", sort=True)]
    arms.sort(key=lambda arm: (arm.name != observed, -arm.mean if np.isfinite(arm.mean) else np.inf))
    label = label or endpoint.replace("_", " ")
    with style():
        ax = axes_for(ax, COLUMN, ROW * len(arms) + 1.35)
        for y, arm in enumerate(arms):
            _draw(ax, y, arm, colour=OBSERVED if arm.name == observed else SOFT)
        _lines(ax, arms, observed, null_95)
        _axes(ax, arms, label, p=tidy(p), observed=observed)
        default = f"{without_unit(label)} against its controls"
        handles = _legend(arms, observed, null_95)
        surround(ax, default if title is None else title, _note(arms, observed, verdict), handles, columns=2)
    return ax


def _arm(name: str, rows: pd.DataFrame) -> Arm:
    values = pd.to_numeric(rows["value"], errors="coerce")
    per_donor = values.groupby(rows["donor"].astype(str), sort=True).mean()
    donors = per_donor.dropna().to_numpy()
    draws = values.groupby(rows["draw"], sort=True).mean().dropna().to_numpy()
    low, high = bootstrap_interval(donors, rng=stream(0, f"figures/controls/{name}"))
    mean = float(donors.mean()) if donors.size else float("nan")
    return Arm(name, donors, mean, low, high, draws if draws.size > 1 else draws[:0], int(per_donor.isna().sum()))


def _draw(ax: Axes, y: int, arm: Arm, *, colour: str) -> None:
    if not arm.donors.size:
        ax.text(0.02, y, "not computable", transform=ax.get_yaxis_transform(), va="center", size=SMALL_SIZE, color=SOFT)
        return
    if arm.draws.size:
        low, high = np.quantile(arm.draws, DRAWS_BAND)
        ax.fill_between([low, high], y - 0.3, y + 0.3, color="#D9D9D9", lw=0, zorder=1)
    spread = np.linspace(-SPREAD, SPREAD, arm.donors.size) if arm.donors.size > 1 else np.zeros(1)
    order = stream(0, f"figures/strip/{arm.name}").permutation(arm.donors.size)
    ax.plot(arm.donors, y + spread[order], "o", ms=2.4, mfc="white", mec=colour, mew=0.6, alpha=0.9, zorder=2)
    if np.isfinite(arm.low):
        ax.plot([arm.low, arm.high], [y, y], color=INK, lw=1.3, zorder=3, solid_capstyle="butt")
    ax.plot(arm.mean, y, "D", ms=4.0, mfc=colour, mec="white", mew=0.5, zorder=4)


def _lines(ax: Axes, arms: list[Arm], observed: str, null_95: float | None) -> None:
    top = next((arm for arm in arms if arm.name == observed), None)
    if top is not None and np.isfinite(top.mean):
        ax.axvline(top.mean, color=OBSERVED, lw=0.9, ls=(0, (4, 2)), zorder=0)
        ax.axhline(0.5, color="#D9D9D9", lw=0.6, zorder=0)
    if null_95 is not None and np.isfinite(null_95):
        ax.axvline(null_95, color=REFERENCE, lw=1.0, ls=(0, (1, 1.2)), zorder=0)


def _axes(ax: Axes, arms: list[Arm], label: str, *, p: Mapping[str, float], observed: str) -> None:
    ax.set_ylim(len(arms) - 0.4, -1.1)
    names = [wrap(arm.name.replace("_", " "), 22) for arm in arms]
    ax.set_yticks(range(len(arms)), names)
    for arm, tick in zip(arms, ax.get_yticklabels(), strict=True):
        tick.set_weight("bold" if arm.name == observed else "normal")
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel(label)
    if not any(arm.donors.size for arm in arms):
        ax.set_xticks([])
    look = {"transform": ax.get_yaxis_transform(), "va": "center", "ha": "left", "size": TINY_SIZE, "color": INK}
    ax.text(1.03, -0.85, "mean, p against it" if p else "mean", **{**look, "color": SOFT})
    for y, arm in enumerate(arms):
        words = number(arm.mean) if np.isfinite(arm.mean) else ""
        if arm.name in p:
            words += f"  {p_words(p[arm.name])}"
        ax.text(1.03, y, words.strip(), **look)


def _legend(arms: list[Arm], observed: str, null_95: float | None) -> list[Line2D | Patch]:
    handles: list[Line2D | Patch] = [
        Line2D([], [], marker="o", ls="", ms=2.8, mfc="white", mec=SOFT, mew=0.6, label="donor (mean over draws)"),
        Line2D([], [], marker="D", ms=3.6, color=INK, mfc=SOFT, mew=0, lw=1.2, label="mean, 95 % interval"),
    ]
    if any(arm.draws.size for arm in arms):
        handles.append(Patch(facecolor="#D9D9D9", lw=0, label="5 to 95 % of draws"))
    if any(arm.name == observed and arm.donors.size for arm in arms):
        handles.append(Line2D([], [], color=OBSERVED, lw=0.9, ls=(0, (4, 2)), label="observed mean"))
    if null_95 is not None and np.isfinite(null_95):
        handles.append(
            Line2D([], [], color=REFERENCE, lw=1.0, ls=(0, (1, 1.2)), label=f"null 95th percentile {number(null_95)}")
        )
    return handles


def _note(arms: list[Arm], observed: str, verdict: str | None) -> str:
    top = next((arm for arm in arms if arm.name == observed), None)
    if top is None:
        first = f"no observed arm ({observed!r}) in the table"
    elif not top.donors.size:
        first = "observed: not computable"
    else:
        first = f"observed {number(top.mean)}"
        first += f" [{number(top.low)}, {number(top.high)}]" if np.isfinite(top.low) else " (no interval)"
        first += f", {count(top.donors.size, 'donor')}"
    draws = max((arm.draws.size for arm in arms), default=0)
    parts = [first, f"up to {draws} draws a control" if draws else "", f"verdict: {verdict}" if verdict else ""]
    lost = sum(arm.lost for arm in arms)
    parts.append(f"{count(lost, 'donor value')} not computable" if lost else "")
    return "; ".join(part for part in parts if part)
