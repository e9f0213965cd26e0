"""Choosing one operator and its settings per split, by an order criterion inside the training donors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interp.evidence.arms import Arm, Candidates, Settings, as_float
from interp.evidence.holdouts import grouped_hold_outs, inner_hold_outs
from interp.evidence.order import hold_out_values, mean_over_donors
from interp.extraction.let import ALPHAS, RIDGES
from interp.runs.workers import one_thread_each

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence
    from pathlib import Path

    from interp.evidence.fits import Solver
    from interp.evidence.holdouts import HoldOut
    from interp.evidence.panel import FloatArray, Panel
    from interp.stats import Split

    # What hold-outs answered, by candidate or setting.
    Answers = dict[Hashable, list[tuple[HoldOut, FloatArray]]]

# The grid of every arm, the default settings first, so that they win ties.
GRID = tuple(sorted((Settings(a, r) for a, r in product(ALPHAS, RIDGES)), key=lambda s: s != Settings()))

SCORES = ("control", "draw", "split", "name", "role", "value")
NO_SCORES = pd.DataFrame(columns=list(SCORES))


@dataclass(frozen=True)
class Choice:
    """What one split chose among candidates.

    Attributes
    ----------
    index, name
        The chosen candidate.
    settings
        Its tuned settings.
    scores
        Inner criterion of every candidate in the screening, at the default settings; NaN where not computable.
    tuned
        Inner criterion of the chosen one over `GRID`, with converged fits.
    """

    index: int
    name: str
    settings: Settings
    scores: tuple[float, ...]
    tuned: tuple[float, ...]


@dataclass(frozen=True)
class Screening:
    """What one split found about every candidate, at the default settings; NaN where not computable.

    Attributes
    ----------
    names
        The candidates.
    select
        Inner criterion, on the training donors, (candidate,).
    score
        The same on the test donors, with a third of the stages left out at a time, (candidate,); None where it was not
        asked for. It shows how well ``select`` foretells what unseen donors show, and never chooses.
    """

    names: tuple[str, ...]
    select: tuple[float, ...]
    score: tuple[float, ...] | None = None


def screen(
    candidates: Candidates, panel: Panel, split: Split, solver: Solver, *, seed: int, held_out: bool = False
) -> Screening:
    """Score every candidate by screening fits.

    Parameters
    ----------
    candidates, panel, split, solver, seed
        As in `choose`.
    held_out
        Score on the test donors as well.

    Returns
    -------
    Screening
    """
    names = candidates.names(split)
    asked = grouped_hold_outs(panel, split, seed) if held_out else []
    refits = [*inner_hold_outs(panel, split, seed), *asked]
    anchors = np.unique(np.concatenate([np.r_[refit.train, refit.asked] for refit in refits] or [[]])).astype(np.intp)
    work = (
        (candidates.features(split, i, anchors), refits, [(panel.labels, Settings(), i)]) for i in range(len(names))
    )
    inner: Answers = {}
    outer: Answers = {}
    for key, refit, values in hold_out_values(panel, work, solver.screening):
        (outer if refit in asked else inner).setdefault(key, []).append((refit, values))
    select, score = (tuple(_criterion(found, i) for i in range(len(names))) for found in (inner, outer))
    return Screening(tuple(names), select, score if held_out else None)


def choose(
    candidates: Candidates, panel: Panel, split: Split, solver: Solver, *, seed: int, screening: Screening | None = None
) -> Choice:
    """Choose the candidate with the best inner criterion among screening fits, then tune it with converged ones.

    Parameters
    ----------
    candidates
        Operators to choose from; one alone is tuned only.
    panel
        The anchors; only those of the split's training donors are looked at.
    split
        A donor split.
    solver
        How adaptors are fitted.
    seed
        Seed of the inner hold-outs.
    screening
        From `screen`, where it was done before.

    Returns
    -------
    Choice
        The first candidate and the default settings win ties, and stand where the criterion is not computable.
    """
    names = candidates.names(split)
    if screening is None and len(names) > 1:
        screening = screen(candidates, panel, split, solver, seed=seed)
    scores = screening.select if screening else (np.nan,) * len(names)
    index = best(scores)
    targets = [(panel.labels, settings, k) for k, settings in enumerate(GRID)]
    work = [(candidates.features(split, index), inner_hold_outs(panel, split, seed), targets)]
    answers: Answers = {}
    for k, refit, values in hold_out_values(panel, work, solver):
        answers.setdefault(k, []).append((refit, values))
    tuned = tuple(_criterion(answers, k) for k in range(len(GRID)))
    return Choice(index, names[index], GRID[best(tuned)], scores, tuned)


def read_choices(path: Path) -> dict[str, Choice]:
    """Read choices that were written as JSON: split id to the fields of `Choice`."""
    found = {}
    for split, fields in json.loads(path.read_text()).items():
        scores, tuned = (
            tuple(float("nan") if v is None else float(v) for v in fields[name]) for name in ("scores", "tuned")
        )
        found[split] = Choice(fields["index"], fields["name"], Settings(**fields["settings"]), scores, tuned)
    return found


def arm_of(candidates: Candidates, chosen: Mapping[str, Choice]) -> Arm:
    """Make the arm that uses, in each split, the candidate and settings chosen there.

    Parameters
    ----------
    candidates
        Operators.
    chosen
        From split id to `Choice`; the arm works in these splits only.

    Returns
    -------
    Arm
        Named like the candidates; its features for the last split asked for are kept.
    """
    kept: dict[str, FloatArray] = {}

    def features(split: Split) -> FloatArray:
        if split.id not in kept:
            kept.clear()
            with one_thread_each():
                kept[split.id] = candidates.features(split, chosen[split.id].index)
        return kept[split.id]

    settings = {split: choice.settings for split, choice in chosen.items()}
    return Arm(candidates.name, features, candidates.family, candidates.draw, settings=settings)


def screening_scores(candidates: Candidates, screened: Mapping[str, Screening]) -> pd.DataFrame:
    """Tabulate what the screening found.

    Parameters
    ----------
    candidates
        What was screened.
    screened
        Split id to `Screening`.

    Returns
    -------
    pandas.DataFrame
        control (the candidates' name), draw, split, name (the candidate), role (``select``, ``score``), value.
    """
    rows = [
        (candidates.name, candidates.draw, split_id, name, role, value)
        for split_id, found in screened.items()
        for role, values in (("select", found.select), ("score", found.score))
        for name, value in zip(found.names, values or (), strict=values is not None)
    ]
    return pd.DataFrame(rows, columns=list(SCORES))


def best(scores: Sequence[float] | FloatArray) -> int:
    """Return the place of the highest score; the first among ties, 0 where none is a number."""
    values = as_float(scores)
    return 0 if np.isnan(values).all() else int(np.nanargmax(values))


def _criterion(answers: Answers, key: Hashable) -> float:
    """Mean over stages, then donors; NaN where nothing was answered."""
    return mean_over_donors(answers[key]) if key in answers else float("nan")
