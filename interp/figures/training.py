"""The learning curve of a pretraining, with its baselines as horizontal lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from interp.figures.look import (
    COLUMN,
    INK,
    OBSERVED,
    REFERENCE,
    SOFT,
    TINY_SIZE,
    axes_for,
    canvas_scale,
    lay_out,
    number,
    require_columns,
    style,
    surround,
    tidy,
    without_unit,
    wrap,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE_HEIGHT = 1.2
SHORT_CURVE = 30
"""Curves with at most so many points show them."""


def learning_curve(
    history: pd.DataFrame,
    *,
    train: str | None = "train_masked",
    validation: str | None = "masked",
    step: str = "step",
    baselines: Mapping[str, float] | None = None,
    label: str = "masked-value loss",
    higher_is_better: bool = False,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw training and validation curves over steps; baselines are labelled lines beyond the right edge.

    Parameters
    ----------
    history
        Rows of `learning_curve.csv`, one per evaluation.
    train, validation
        Columns of the two curves; None leaves one out.
    step
        Column of the horizontal axis.
    baselines
        Name to value in the unit of the curves, for example {"gene mean": 0.9}; NaN is left out.
    label
        Name of the curves' quantity with its unit.
    higher_is_better
        True for R2: the best evaluation is the highest.
    title
        Own title instead of the default one; "" for none.
    ax
        Where to draw; default a new figure of one column.

    Returns
    -------
    Axes
        The ring marks the best validation value; without validation the note says so.

    Raises
    ------
    InputError
        When a column is missing.
    """
    curves = {"training donors": (train, SOFT, (0, (3, 1.5))), "held-out donors": (validation, OBSERVED, "-")}
    named = [column for column, _, _ in curves.values() if column is not None]
    require_columns(history, [step, *named], what="The learning curve")
    history = history.sort_values(step, kind="stable")
    lines = {name: value for name, value in tidy(baselines).items() if np.isfinite(value)}
    with style():
        ax = axes_for(ax, COLUMN, 2.7)
        marker = "o" if len(history) <= SHORT_CURVE else ""
        handles = []
        for name, (column, colour, dash) in curves.items():
            if column is not None and history[column].notna().any():
                ax.plot(history[step], history[column], color=colour, ls=dash, marker=marker, ms=2)
                handles.append(Line2D([], [], color=colour, ls=dash, marker=marker, ms=2, label=name))
        ax.set_xlabel("training step")
        ax.set_ylabel(wrap(label, 26))
        best = _best(history, validation, higher_is_better=higher_is_better)
        if best is not None:
            ax.plot(best[step], best[str(validation)], "o", ms=6, mfc="none", mec=INK, mew=0.9)
            handles.append(Line2D([], [], ls="", marker="o", ms=6, mfc="none", mec=INK, label="best"))
        for value in lines.values():
            ax.axhline(value, color=REFERENCE, lw=0.8, ls=(0, (1, 1.2)), zorder=1)
        default = f"Learning curve: {without_unit(label).lower()}"
        words = _note(best, step, validation, lines, higher=higher_is_better)
        surround(ax, default if title is None else title, words, handles)
        _name_baselines(ax, lines)
    return ax


def _best(history: pd.DataFrame, validation: str | None, *, higher_is_better: bool) -> pd.Series | None:
    if validation is None or not history[validation].notna().any():
        return None
    values = history[validation]
    return history.loc[values.idxmax() if higher_is_better else values.idxmin()]


def _name_baselines(ax: Axes, lines: Mapping[str, float]) -> None:
    lay_out(ax)
    names = sorted(lines, key=lines.__getitem__)
    texts = [wrap(f"{name} {number(lines[name], digits=3)}", 18) for name in names]
    scale = canvas_scale(ax)
    heights = [TINY_SIZE * LINE_HEIGHT * (text.count("\n") + 1) for text in texts]
    at = [float(ax.transData.transform((0, lines[name]))[1]) * scale for name in names]
    for text, name, here, there in zip(texts, names, at, _spaced(at, heights), strict=True):
        ax.annotate(
            text,
            (1, lines[name]),
            xycoords=("axes fraction", "data"),
            xytext=(10, there - here),
            textcoords="offset points",
            va="center",
            size=TINY_SIZE,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "lw": 0.5,
                "color": REFERENCE,
                "shrinkA": 1,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            },
            gid="baseline",
        )


def _spaced(positions: list[float], heights: list[float]) -> list[float]:
    """Move sorted label positions apart until none overlaps its neighbours, keeping their mean about where it was."""
    placed = list(positions)
    for i in range(1, len(placed)):
        placed[i] = max(placed[i], placed[i - 1] + (heights[i] + heights[i - 1]) / 2)
    shift = float(np.mean(placed) - np.mean(positions)) if placed else 0.0
    return [position - shift for position in placed]


def _note(
    best: pd.Series | None, step: str, validation: str | None, lines: Mapping[str, float], *, higher: bool
) -> str:
    if best is None or validation is None:
        return "no held-out values"
    value = float(best[validation])
    text = f"best held-out {number(value, digits=3)} at step {int(best[step]):,}"
    if lines:
        beaten = sum((value > line) if higher else (value < line) for line in lines.values())
        text += f"; better than {beaten} of {len(lines)} baselines"
    return text
