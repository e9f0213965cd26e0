"""Scores of a screen as rows: every layer and head, and each site's best, chosen and scored on different donors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interp.probing.table import SCORE, SELECT, Row, mean_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from interp.probing.nested import Folds, Scores
    from interp.probing.sites import Representation
    from interp.probing.targets import Task

# Columns of what each fold chose.
CHOSEN = ("site", "fold", "tested", "name")


@dataclass(frozen=True)
class Draws:
    """Which of the label vectors are what: the first is true, then come those of the two control tasks.

    Attributes
    ----------
    null
        Number of draws within donors.
    maps
        Number of maps of the cell types.
    """

    null: int
    maps: int

    def row(
        self, name: str, site: str, layer: int | None, head: int | None, metric: str, role: str, values: NDArray
    ) -> Row:
        """Make a row of values (draw, donor)."""
        null, maps = values[1 : 1 + self.null], values[1 + self.null :]
        return Row(name, site, layer, head, metric, role, values[0], null, maps)


def screen_rows(screened: Sequence[Representation], scores: Sequence[Scores], draws: Draws) -> list[Row]:
    """Return two rows for each representation and metric: ``score`` and ``select``."""
    rows = []
    for item, found in zip(screened, scores, strict=True):
        place = item.name, item.site, item.layer, item.head
        for metric, values in found.score.items():
            rows.append(draws.row(*place, metric, SCORE, values))
            rows.append(draws.row(*place, metric, SELECT, _over_folds(found.select[metric])))
    return rows


def best_rows(
    screened: Sequence[Representation], scores: Sequence[Scores], task: Task, folds: Folds, draws: Draws
) -> tuple[list[Row], pd.DataFrame]:
    """Choose the best representation of each site on the donors outside a fold, and score it on the fold's donors.

    The control tasks choose by their own labels, so the best of many is compared with the best of as many.

    Returns
    -------
    rows
        One for each site and metric, named ``best z``.
    chosen
        site, fold, tested (donors), name: what was chosen.
    """
    rows: list[Row] = []
    chosen = []
    for site in dict.fromkeys(item.site for item in screened):
        own = [index for index, item in enumerate(screened) if item.site == site]
        if len(own) < 2:
            continue
        primary = next(iter(scores[own[0]].score))
        selected = np.array([_over_donors(scores[index].select[primary]) for index in own])  # (item, draw, fold)
        picked = np.argmax(np.where(np.isfinite(selected), selected, -np.inf), axis=0)
        for metric in scores[own[0]].score:
            values = np.array([scores[index].score[metric] for index in own])  # (item, draw, donor)
            by_donor = picked[:, folds.of_donor]  # (draw, donor)
            best = np.take_along_axis(values, by_donor[None], axis=0)[0]
            rows.append(draws.row(f"best {site}", site, None, None, metric, SCORE, best))
        for fold in range(folds.number):
            tested = [name for name, place in zip(task.donors, folds.of_donor, strict=True) if place == fold]
            name = screened[own[picked[0, fold]]].name
            chosen.append({"site": site, "fold": fold, "tested": ", ".join(tested), "name": name})
    return rows, pd.DataFrame(chosen, columns=list(CHOSEN))


def _over_folds(values: NDArray) -> NDArray[np.float64]:
    """Mean over folds of (draw, fold, donor), NaN left out, (draw, donor)."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=1)
    return np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan)


def _over_donors(values: NDArray) -> NDArray[np.float64]:
    return np.array([[mean_of(fold) for fold in draw] for draw in values])
