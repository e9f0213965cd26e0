"""Rows of what owes nothing to training: representations without the model, and untrained models."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from interp.probing.compare import UNTRAINED
from interp.probing.rows import Draws, best_rows, screen_rows
from interp.probing.sites import Representation, representations
from interp.probing.table import SCORE, Row, column_means

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from interp.capture.store import ActivationStore
    from interp.probing.nested import Folds, Scores
    from interp.probing.settings import ProbeSettings
    from interp.probing.targets import Task
    from interp.scgpt.model import HookedScGPT

# Width of the adaptor's latents (design, the adaptor), beside the widths of the model's own activations.
LATENTS = 10
# Baselines have no control tasks of their own.
TRUE_ALONE = Draws(0, 0)


class Screen(Protocol):
    """What is needed of a screen of one target."""

    task: Task
    folds: Folds
    settings: ProbeSettings
    seed: int
    labels: NDArray

    def run(self, screened: Sequence[Representation], labels: NDArray) -> list[Scores]:
        """Score representations."""


def rows_without_model(screen: Screen, own: AnnData, widths: Sequence[int]) -> tuple[list[Row], dict[str, str]]:
    """Score the representations that need no model.

    Parameters
    ----------
    screen
        The target, its folds and labels.
    own
        The task's cells.
    widths
        Widths of the model's activations.

    Returns
    -------
    rows
        Role ``score``.
    missing
        Name of what could not be made to the reason.
    """
    from interp.baselines import without_model

    made = without_model(own, widths=sorted({LATENTS, *widths}), seed=screen.seed)
    items = [Representation(n, n, None, None, cast("Any", x)) for n, x in made.items() if not isinstance(x, str)]
    missing = {name: reason for name, reason in made.items() if isinstance(reason, str)}
    rows = screen_rows(items, screen.run(items, screen.labels[:1]), TRUE_ALONE)
    return [row for row in rows if row.role == SCORE], missing


def rows_untrained(
    screen: Screen, own: AnnData, model: HookedScGPT, like: ActivationStore, sites: Sequence[str]
) -> list[Row]:
    """Score every layer and head of untrained models, and the best of each site.

    Parameters
    ----------
    screen
        The target, its folds and labels.
    own
        The task's cells.
    model
        The trained model.
    like
        Its activations.
    sites
        Hook points.

    Returns
    -------
    list of Row
        Role ``score``, named ``untrained L2H5.z``; each donor's mean over the seeds.
    """
    from interp.baselines import untrained_activations

    found: dict[tuple[str, str], list[Row]] = {}
    for number in screen.settings.untrained_seeds:
        store = untrained_activations(model, own, like, sites=sites, seed=number)
        items = representations(store, np.arange(own.n_obs), None)
        scores = screen.run(items, screen.labels[:1])
        best, _ = best_rows(items, scores, screen.task, screen.folds, TRUE_ALONE)
        for row in [*screen_rows(items, scores, TRUE_ALONE), *best]:
            if row.role == SCORE:
                found.setdefault((row.name, row.metric), []).append(row)
    return [_averaged(rows) for rows in found.values()]


def _averaged(rows: list[Row]) -> Row:
    values = np.array([row.values for row in rows])
    return replace(rows[0], name=f"{UNTRAINED} {rows[0].name}", values=column_means(values, values.shape[1]))
