"""Choosing one operator and its settings per split, by an order criterion inside the training donors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interp.evidence.arms import Arm, Candidates, Settings, as_float
from interp.evidence.fits import one_blas_thread
from interp.evidence.holdouts import grouped_hold_outs, inner_hold_outs
from interp.evidence.order import hold_out_values, mean_over_donors
from interp.extraction.let import ALPHAS, RIDGES

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from interp.evidence.fits import Solver
    from interp.evidence.holdouts import HoldOut
    from interp.evidence.order import Work
    from interp.evidence.panel import FloatArray, Panel
    from interp.stats import Split

# The grid of every arm, the default settings first, so that they win ties.
GRID = tuple(sorted((Settings(a, r) for a, r in product(ALPHAS, RIDGES)), key=lambda s: s != Settings()))


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


def choose(candidates: Candidates, panel: Panel, split: Split, solver: Solver, *, seed: int) -> Choice:
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

    Returns
    -------
    Choice
        The first candidate and the default settings win ties, and stand where the criterion is not computable.
    """
    names = candidates.names(split)
    refits = inner_hold_outs(panel, split, seed)
    work = ((candidates.features(split, i), refits, [(panel.labels, Settings(), i)]) for i in range(len(names)))
    found = criteria(panel, work, solver.screening) if len(names) > 1 else {}
    scores = [found.get(i, np.nan) for i in range(len(names))]
    index = best(scores)
    targets = [(panel.labels, settings, k) for k, settings in enumerate(GRID)]
    tuned = criteria(panel, ((candidates.features(split, i), refits, targets) for i in [index]), solver)
    over_grid = [tuned.get(k, np.nan) for k in range(len(GRID))]
    return Choice(index, names[index], GRID[best(over_grid)], tuple(scores), tuple(over_grid))


def choices(
    candidates: Candidates, panel: Panel, splits: Iterable[Split], solver: Solver, *, seed: int
) -> dict[str, Choice]:
    """Choose in each of several splits; returns split id to `Choice`."""
    return {split.id: choose(candidates, panel, split, solver, seed=seed) for split in splits}


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
        From `choices`; the arm works in these splits only.

    Returns
    -------
    Arm
        Named like the candidates; its features for the last split asked for are kept.
    """
    kept: dict[str, FloatArray] = {}

    def features(split: Split) -> FloatArray:
        if split.id not in kept:
            kept.clear()
            with one_blas_thread():
                kept[split.id] = candidates.features(split, chosen[split.id].index)
        return kept[split.id]

    settings = {split: choice.settings for split, choice in chosen.items()}
    return Arm(candidates.name, features, candidates.family, candidates.draw, settings=settings)


def selection_scores(candidates: Candidates, panel: Panel, chosen: Mapping[str, Choice]) -> pd.DataFrame:
    """Tabulate the inner criterion, the score that heads are selected by.

    Parameters
    ----------
    candidates
        Operators.
    panel
        The anchors.
    chosen
        From `choices`.

    Returns
    -------
    pandas.DataFrame
        split, candidate, role (``select``), value, chosen (bool); one row per split and candidate.
    """
    rows = [
        (split_id, name, "select", value, i == choice.index)
        for split_id, choice in chosen.items()
        for i, (name, value) in enumerate(zip(candidates.names(_split(panel, split_id)), choice.scores, strict=True))
    ]
    return pd.DataFrame(rows, columns=["split", "candidate", "role", "value", "chosen"])


def endpoint_scores(candidates: Candidates, panel: Panel, solver: Solver, *, seed: int) -> pd.DataFrame:
    """Measure every candidate on the test donors, at the default settings, with a third of the stages left out.

    It serves to show how well the selection score foretells what unseen donors show, never to choose.

    Parameters
    ----------
    candidates
        Operators.
    panel
        The anchors.
    solver
        How adaptors are fitted; its screening is used, as for the selection.
    seed
        Seed of the groups of stages.

    Returns
    -------
    pandas.DataFrame
        split, candidate, role (``score``), value: mean over stages, then donors.
    """
    rows = []
    for split in panel.splits:
        refits = grouped_hold_outs(panel, split, seed)
        names = candidates.names(split)
        work = ((candidates.features(split, i), refits, [(panel.labels, Settings(), i)]) for i in range(len(names)))
        found = criteria(panel, work, solver.screening)
        rows += [(split.id, name, "score", found.get(i, np.nan)) for i, name in enumerate(names)]
    return pd.DataFrame(rows, columns=["split", "candidate", "role", "value"])


def criteria(panel: Panel, work: Iterable[Work], solver: Solver) -> dict[Hashable, float]:
    """Average what hold-outs answer, per key of the work: over stages, then donors."""
    answers: dict[Hashable, list[tuple[HoldOut, FloatArray]]] = {}
    for key, refit, values in hold_out_values(panel, work, solver):
        answers.setdefault(key, []).append((refit, values))
    return {key: mean_over_donors(found) for key, found in answers.items()}


def best(scores: Sequence[float] | FloatArray) -> int:
    """Return the place of the highest score; the first among ties, 0 where none is a number."""
    values = as_float(scores)
    return 0 if np.isnan(values).all() else int(np.nanargmax(values))


def _split(panel: Panel, split_id: str) -> Split:
    found: Iterator[Split] = (split for split in (*panel.splits, panel.whole) if split.id == split_id)
    return next(found)
