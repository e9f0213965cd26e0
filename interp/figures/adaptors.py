"""The adaptor's variants: learning curves, and sweeps with the training criterion beside what unseen donors show."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from interp.errors import InputError
from interp.figures.look import (
    DONOR_COLOURS,
    PAGE,
    SMALL_SIZE,
    SOFT,
    count,
    number,
    require_columns,
    style,
    surround,
    without_unit,
    wrap,
)
from interp.runs.seeds import stream
from interp.stats import bootstrap_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

COLOURS = {"anchor": "#0072B2", "cell": "#D55E00", "hybrid": "#009E73"}
"""Colours of the variants, of the palette of Okabe & Ito."""
KEYS = ["variant", "n_latent", "topology"]
HEIGHT = 2.9
NO_PRIOR = 0.35
"""Place of topology weight 0 on the logarithmic axis, as a share of the smallest weight above it."""


class _Series(NamedTuple):
    """A line of a sweep: places, means, intervals, and the single values behind each."""

    name: str
    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    points: list[np.ndarray]


def adaptor_curves(curves: pd.DataFrame, *, label: str = "order of a left-out stage (Spearman)") -> Figure:
    """Draw training loss, and beside it held-out order of the refits stopped early, over iterations.

    Parameters
    ----------
    curves
        Rows of `adaptor_curves.csv`: split, variant, n_latent, topology, iteration, loss, order.
    label
        Name of the held-out quantity with its unit.

    Returns
    -------
    matplotlib.figure.Figure
        Two panels. Losses of different variants are sums of different terms, so each is divided by its end; one line a
        split. Held-out values are means over splits; a refit that has converged keeps its last value.

    Raises
    ------
    InputError
        A column is missing.
    """
    require_columns(curves, ["split", *KEYS, "iteration", "loss", "order"], what="The learning curves")
    kinds = list(dict.fromkeys(curves[KEYS].itertuples(index=False, name=None)))
    looks = dict(zip(kinds, _looks(kinds), strict=True))
    with style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE, HEIGHT), layout="constrained")
        for kind, rows in curves.groupby(KEYS, sort=False):
            for _, one in rows.groupby("split"):
                left.plot(one["iteration"] + 1, one["loss"] / one["loss"].iloc[-1], lw=0.7, alpha=0.8, **looks[kind])
            followed = _followed(rows)
            right.plot(followed.index + 1, followed, marker="o", ms=2.2, **looks[kind])
        for ax in (left, right):
            _log_axis(ax.xaxis)
            ax.set_xlim(0.9, 1.2 * (curves["iteration"].max() + 1))
            ax.set_xlabel("iteration + 1")
        _log_axis(left.yaxis)
        left.yaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0)))
        left.set_ylabel(wrap("training loss / loss at the end", 18))
        right.set_ylabel(wrap(label, 26))
        handles = [Line2D([], [], label=_name(*kind), **looks[kind]) for kind in kinds]
        surround(
            left, "Training loss", f"{count(curves['split'].nunique(), 'split')}, one line each", handles, columns=2
        )
        surround(right, f"{without_unit(label)} meanwhile", "unseen donors, refits stopped there; mean over splits")
    return figure


def adaptor_sweep(
    table: pd.DataFrame,
    values: pd.DataFrame,
    *,
    over: str,
    endpoint: str = "order",
    label: str | None = None,
    n_latent: int | None = None,
    seed: int = 0,
) -> Figure:
    """Draw a sweep: the criterion on training donors that chooses, and beside it what unseen donors show.

    Parameters
    ----------
    table
        Rows of `adaptors.csv`: split, variant, n_latent, topology, inner, chosen_of_variant.
    values
        Rows of `adaptor_values.csv`: split, variant, n_latent, topology, endpoint, donor, value.
    over
        ``"n_latent"``: a line per variant (a hybrid as its topology weight was chosen); or ``"topology"``: cell as
        weight 0, then hybrids, and the anchor variant as a level.
    endpoint
        Which endpoint to draw.
    label
        Its name with its unit on the axis; default the endpoint's name.
    n_latent
        Latent size of a sweep over topology; default the largest that a hybrid has.
    seed
        Seed of the bootstrap.

    Returns
    -------
    matplotlib.figure.Figure
        Two panels: splits as points and their mean; donors as points, mean and 95 % bootstrap interval over donors.

    Raises
    ------
    InputError
        A column is missing, the endpoint is unknown, or there is nothing to sweep.
    """
    require_columns(table, ["split", *KEYS, "inner", "chosen_of_variant"], what="The table of adaptors")
    require_columns(values, ["split", *KEYS, "endpoint", "donor", "value"], what="The values of adaptors")
    if over not in ("n_latent", "topology"):
        msg = f"A sweep runs over 'n_latent' or 'topology', not {over!r}."
        raise InputError(msg)
    held_out = values[values["endpoint"] == endpoint]
    if held_out.empty:
        msg = f"No row has the endpoint {endpoint!r}; the values have {sorted(set(values['endpoint']))}."
        raise InputError(msg)
    inner = table.rename(columns={"inner": "value"})
    kept = _best_hybrids(table) if over == "n_latent" else _at_size(table, n_latent)
    inner, held_out = (kept.merge(rows, on=["split", *KEYS]) for rows in (inner, held_out))
    with style():
        figure, axes = plt.subplots(1, 2, figsize=(PAGE, HEIGHT), layout="constrained")
        for ax, rows, unit in zip(axes, (inner, held_out), ("split", "donor"), strict=True):
            lines = _series(rows, over, unit, seed)
            _draw(ax, lines, over)
        label = label or endpoint
        axes[0].set_ylabel(wrap("order within training donors (Spearman)", 34))
        axes[1].set_ylabel(wrap(label, 34))
        what = "latent size" if over == "n_latent" else "topology weight"
        unit_handle = Line2D([], [], marker="o", ls="", ms=2.4, mfc="white", mec=SOFT, mew=0.6)
        handles = [*_handles(kept), _relabelled(unit_handle, "split, donor")]
        surround(axes[0], f"Training criterion by {what}", _chosen_words(table, kept, over), handles)
        n = held_out["donor"].nunique()
        surround(axes[1], f"{without_unit(label)} by {what}", f"unseen donors ({n}), mean and 95 % interval")
    return figure


def _looks(kinds: Sequence[tuple]) -> list[dict]:
    """Colour by variant; the members of a variant differ in the dash."""
    dashes = ["-", (0, (4, 1.5)), (0, (1.5, 1.2)), (0, (5, 1, 1, 1)), (0, (1, 2.5)), (0, (7, 2))]
    seen: dict[str, int] = {}
    looks = []
    for variant, *_ in kinds:
        place = seen.setdefault(variant, 0)
        seen[variant] += 1
        looks.append({"color": COLOURS.get(variant, DONOR_COLOURS[3]), "ls": dashes[place % len(dashes)]})
    return looks


def _name(variant: str, n_latent: int, topology: float) -> str:
    return f"{variant}, {n_latent} latents" + (f", topology {topology:g}" if variant == "hybrid" else "")


def _followed(rows: pd.DataFrame) -> pd.Series:
    """Mean over splits of the held-out value, each carried on from its last, by iteration."""
    known = rows.dropna(subset=["order"])
    wide = known.pivot_table(index="iteration", columns="split", values="order").sort_index()
    return wide.ffill().dropna().mean(axis=1)


def _best_hybrids(table: pd.DataFrame) -> pd.DataFrame:
    """Keep of each split, variant and latent size the topology weight with the best training criterion."""
    ranked = table.sort_values("inner", ascending=False, kind="stable")
    return ranked.drop_duplicates(["split", "variant", "n_latent"])[["split", *KEYS]]


def _at_size(table: pd.DataFrame, n_latent: int | None) -> pd.DataFrame:
    sizes = table.loc[table["variant"] == "hybrid", "n_latent"]
    if sizes.empty:
        msg = "The table has no hybrid, so there is no topology weight to sweep over."
        raise InputError(msg)
    return table.loc[table["n_latent"] == (sizes.max() if n_latent is None else n_latent), ["split", *KEYS]]


def _series(rows: pd.DataFrame, over: str, unit: str, seed: int) -> list[_Series]:
    """Average by donor or split at each place of each line; cell and hybrid are one line over topology."""
    line = rows["variant"] if over == "n_latent" else rows["variant"].replace("cell", "hybrid")
    found = []
    for name, some in rows.groupby(line, sort=False):
        points = {
            float(x): at.groupby(unit)["value"].mean().dropna().to_numpy() for x, at in some.groupby(over, sort=True)
        }
        points = {x: known for x, known in points.items() if len(known)}
        ends = [bootstrap_interval(p, rng=stream(seed, f"figures/adaptors/{name} {x}")) for x, p in points.items()]
        if unit == "split":  # a handful of splits that share donors has no interval
            ends = [(float("nan"), float("nan"))] * len(points)
        low, high = np.array(ends).reshape(-1, 2).T
        means = np.array([p.mean() for p in points.values()])
        found.append(_Series(str(name), np.array(list(points)), means, low, high, list(points.values())))
    return found


def _draw(ax: Axes, lines: list[_Series], over: str) -> None:
    positive = np.concatenate([line.x[line.x > 0] for line in lines] or [np.ones(0)])
    zero = NO_PRIOR * positive.min() if over == "topology" and positive.size else 0.0
    for k, line in enumerate(lines):
        colour = COLOURS.get(line.name, DONOR_COLOURS[3])
        if over == "topology" and line.name == "anchor":
            ax.axhline(line.mean[0], color=colour, lw=1.0, ls=(0, (4, 2)), zorder=1)
            if np.isfinite(line.low[0]):
                ax.axhspan(line.low[0], line.high[0], color=colour, alpha=0.10, lw=0, zorder=0)
            continue
        # Lines of several variants stand beside each other, so that intervals do not cover one another.
        x = np.where(line.x > 0, line.x, zero) * (1.0 + (0.0 if over == "topology" else 0.035 * (k - 1)))
        for place, points in zip(x, line.points, strict=True):
            ax.plot(np.full(len(points), place), points, "o", ms=2.2, mfc="white", mec=colour, mew=0.5, alpha=0.7)
        if np.isfinite(line.low).any():
            ax.vlines(x, line.low, line.high, color=colour, lw=1.3, zorder=3)
        ax.plot(x, line.mean, "-D", ms=3.6, color=colour, mec="white", mew=0.4, lw=1.0, zorder=4)
        if over == "topology" and (line.x == 0).any():
            ax.plot(zero, line.mean[line.x == 0], "D", ms=3.6, color=COLOURS["cell"], mec="white", mew=0.4, zorder=5)
    _ticks(ax, lines, over, zero)


def _ticks(ax: Axes, lines: list[_Series], over: str, zero: float) -> None:
    places = sorted({float(x) for line in lines for x in line.x if not (over == "topology" and line.name == "anchor")})
    _log_axis(ax.xaxis)
    shown = ["0 (cell)" if x == 0 else f"{x:g}" for x in places]
    ax.set_xticks([x if x > 0 else zero for x in places], shown, fontsize=SMALL_SIZE)
    ax.set_xlabel("latent dimensions" if over == "n_latent" else "topology weight")
    ax.margins(x=0.12)


def _log_axis(axis: Axis) -> None:
    """Make an axis logarithmic with plain numbers."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _handles(kept: pd.DataFrame) -> list[Line2D]:
    there = [variant for variant in COLOURS if (kept["variant"] == variant).any()]
    return [Line2D([], [], color=COLOURS[v], marker="D", ms=3.4, lw=1.0, label=v) for v in there]


def _relabelled(handle: Line2D, label: str) -> Line2D:
    handle.set_label(label)
    return handle


def _chosen_words(table: pd.DataFrame, kept: pd.DataFrame, over: str) -> str:
    """Say what the training criterion chose in each split."""
    rows = kept.merge(table[table["chosen_of_variant"]], on=["split", *KEYS])
    if over == "topology":
        rows = rows[rows["variant"] == "hybrid"]
    parts = []
    for variant, some in rows.groupby("variant", sort=True):
        picked = ", ".join(number(x, digits=1) if over == "topology" else f"{x:g}" for x in some[over])
        parts.append(f"{variant} {picked}")
    return "chosen, split by split: " + "; ".join(parts) if parts else "nothing of this size was chosen"
