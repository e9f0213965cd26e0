"""Probes of every layer and head, each beside its control tasks and the same probe on what owes nothing to training."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from interp.probing.baselines import rows_untrained, rows_without_model
from interp.probing.compare import UNTRAINED, comparison
from interp.probing.given import check_given, labels_of, places_of, strata_of
from interp.probing.metrics import CLASS_METRICS, NUMBER_METRICS
from interp.probing.nested import Folds, Scores, cross_validate, make_folds
from interp.probing.relabel import mapped, relabelled, unit_of
from interp.probing.rows import CHOSEN, Draws, best_rows, screen_rows
from interp.probing.settings import ProbeSettings
from interp.probing.sites import Representation, chosen_sites, representations
from interp.probing.table import SCORE, Row, donor_rows, empty_rows, score_rows
from interp.probing.targets import Task, read_task
from interp.runs.progress import progress
from interp.runs.workers import each

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from interp.capture.store import ActivationStore
    from interp.scgpt.model import HookedScGPT


@dataclass(frozen=True, eq=False, repr=False)
class ProbeResult:
    """What a screen found.

    Attributes
    ----------
    table
        In the form of scores.csv: layer, head, name, metric, target, role, value, lo, hi, p, q, n_donors, null_mean,
        null_sd, floor, tied, status; and site, selectivity (value - null_mean), map_mean and map_p (the control task
        whose labels are one map of the cell types), reason. Role ``score``: donors never seen; ``select``: training
        donors, by inner folds. ``best z``: in every fold the head that is best on its training donors.
    baselines
        The same probe without the model and on untrained models: name, layer, head, metric, target, value, lo, hi,
        n_donors, against, difference (model minus baseline), its bounds, p, q, status, reason. Empty without cells.
    donors
        One value per donor, also of the baselines: layer, head, name, site, metric, target, role, donor, value,
        null_mean.
    chosen
        Which head or layer each fold chose: site, fold, tested, name.
    left_out
        Classes and donors that do not count: what, reason, n_cells.
    facts
        target, kind, classes, donors, n_cells, folds, unit (what keeps its label together when labels are dealt anew),
        draws, map_reason (why there is no map of the cell types), smallest_p, seed.
    """

    table: pd.DataFrame
    baselines: pd.DataFrame
    donors: pd.DataFrame
    chosen: pd.DataFrame
    left_out: pd.DataFrame
    facts: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Say what was probed, and what the best of every site reads."""
        facts = self.facts
        if facts["reason"]:
            return f"ProbeResult({facts['target']}, not computable: {facts['reason']})"
        metric = (NUMBER_METRICS if facts["kind"] == "number" else CLASS_METRICS)[0]
        rows = self.table[(self.table["metric"] == metric) & (self.table["role"] == SCORE)]
        bests = rows[rows["layer"].isna()] if rows["layer"].isna().any() else rows.head(1)
        kind = f"{len(facts['classes'])} classes" if facts["classes"] else "a number"
        lines = [f"ProbeResult({facts['target']}, {kind}, {facts['n_cells']:,} cells, {len(facts['donors'])} donors)"]
        for _, row in bests.iterrows():
            lines.append(f"  {metric}: {row['name']} {row['value']:.3g}, control task {row['null_mean']:.3g}")
        return "\n".join(lines)


def probe(
    activations: ActivationStore | Mapping[str, Any],
    target: str,
    *,
    groups: str = "donor",
    sites: str | Sequence[str] | None = None,
    obs: pd.DataFrame | None = None,
    cells: AnnData | None = None,
    model: HookedScGPT | None = None,
    controls: bool = True,
    settings: ProbeSettings | None = None,
    seed: int = 0,
) -> ProbeResult:
    """Probe every layer and head for a target, on donors that the probe never saw.

    Classes are read by multinomial logistic regression, named pairs by binary, numbers by ridge. The penalty is chosen
    by inner folds of the training donors.

    Parameters
    ----------
    activations
        A store of `interp.capture`, or arrays by name, (cell, feature) or (cell, head, feature).
    target
        Column of obs, or a named pair such as ``"CD4/CD8"``. A column of numbers is predicted as a number.
    groups
        Column of obs with the unit that is held out and counted.
    sites
        Activations, by short or full name; all when None.
    obs
        Labels of the cells; by default those of the store, and of `cells` where it lacks them.
    cells
        The panel that was captured, for representations without a model: without it there are no `baselines`.
    model
        The model that was captured, for untrained ones of its architecture; needs `cells` and a store.
    controls
        Whether to fit the control tasks, without which there is no p.
    settings
        How probes are trained and scored.
    seed
        Seed of folds, draws and bootstraps.

    Returns
    -------
    ProbeResult
        A target that cannot be probed, for lack of donors or classes, has the status ``not computable`` and the reason.

    Raises
    ------
    InputError
        A target, site or column is unknown, or cells, labels and activations do not fit together.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> obs = pd.DataFrame({"donor": np.repeat(list("abcdef"), 40), "state": np.tile(["low", "high"], 120)})
    >>> z = rng.standard_normal((240, 2, 3))
    >>> z[:, 1, 0] += 3.0 * (obs["state"] == "high")
    >>> found = probe({"blocks.0.attn.hook_z": z}, "state", obs=obs)
    >>> found.table.iloc[0][["name", "metric"]].tolist()
    ['L0H1.z', 'balanced_accuracy']
    """
    settings = settings or ProbeSettings()
    labels = labels_of(activations, obs, cells)
    check_given(activations, labels, cells, model, settings)
    task = read_task(
        labels, target, donor=groups, cell_type=settings.cell_type, min_cells=settings.min_cells,
        max_cells=settings.max_cells, seed=seed,
    )  # fmt: skip
    if task.reason is not None:
        return _not_computable(activations, sites, task, _facts(task, seed))
    screen = _Screen(task, labels, settings, controls=controls, seed=seed)
    screened = representations(activations, task.rows, sites)
    scores = screen.run(screened, screen.labels)
    best, chosen = best_rows(screened, scores, task, screen.folds, screen.draws)
    rows = [*screen_rows(screened, scores, screen.draws), *best]
    beside, missing = _beside(screen, screened, activations, chosen_sites(list(activations), sites), cells, model)
    return ProbeResult(
        table=score_rows(rows, target, seed=seed),
        baselines=comparison(beside, [row for row in rows if row.role == SCORE], target, missing=missing, seed=seed),
        donors=donor_rows([*rows, *beside], target, task.donors),
        chosen=chosen,
        left_out=task.left_out,
        facts=_facts(task, seed) | screen.facts(),
    )


class _Screen:
    """One target, its folds and its label vectors."""

    def __init__(self, task: Task, obs: pd.DataFrame, settings: ProbeSettings, *, controls: bool, seed: int) -> None:
        self.task, self.settings, self.seed = task, settings, seed
        self.folds: Folds = make_folds(
            task, max_folds=settings.max_folds, strata=strata_of(obs, task, settings.study), seed=seed
        )
        numbers = range(settings.draws if controls else 0)
        null = [relabelled(task, draw, seed=seed) for draw in numbers]
        maps = [mapped(task, draw, seed=seed) for draw in numbers]
        self.map_reason = next((found for found in maps if isinstance(found, str)), "" if maps else "no controls")
        dealt = [] if self.map_reason else cast("list[NDArray]", maps)
        self.draws = Draws(len(null), len(dealt))
        self.labels = np.stack([task.values, *null, *dealt])

    def run(self, screened: Sequence[Representation], labels: NDArray) -> list[Scores]:
        """Score representations, several at a time."""
        one = partial(
            cross_validate, task=self.task, folds=self.folds, labels=labels, penalties=self.settings.penalties
        )
        with progress(total=len(screened), description=f"probe {self.task.target}", unit="probe") as bar:
            return each(one, screened, bar=bar)

    def facts(self) -> dict[str, Any]:
        """What the report says of the screen."""
        n = len(self.task.donors)
        facts = {"folds": self.folds.number, "unit": unit_of(self.task), "draws": self.draws.null}
        return facts | {"map_reason": self.map_reason, "smallest_p": 2.0**-n}


def _beside(
    screen: _Screen,
    screened: Sequence[Representation],
    activations: Any,
    sites: Sequence[str],
    cells: AnnData | None,
    model: HookedScGPT | None,
) -> tuple[list[Row], dict[str, str]]:
    """Rows of what owes nothing to training, as far as cells and model are given, and what could not be made."""
    if cells is None:
        return [], {}
    own = cells[places_of(activations, cells)[screen.task.rows]].copy()
    widths = {cast("NDArray", item.features).shape[1] for item in screened}
    rows, missing = rows_without_model(screen, own, sorted(widths))
    if model is None:
        return rows, missing | {UNTRAINED: "no model was given"}
    return rows + rows_untrained(screen, own, model, activations, sites), missing


def _facts(task: Task, seed: int) -> dict[str, Any]:
    kind = "number" if task.is_number else "classes"
    facts = {"target": task.target, "kind": kind, "classes": task.classes, "donors": task.donors}
    return facts | {"n_cells": len(task.rows), "seed": seed, "reason": task.reason}


def _not_computable(activations: Any, sites: Any, task: Task, facts: dict[str, Any]) -> ProbeResult:
    items = representations(activations, np.arange(1), sites)
    names = [(item.name, item.site, item.layer, item.head) for item in items]
    metrics = NUMBER_METRICS if facts["kind"] == "number" else CLASS_METRICS
    table = empty_rows(names, metrics, task.target, str(task.reason))
    return ProbeResult(
        table=table,
        baselines=comparison([], [], task.target, missing={}, seed=0),
        donors=donor_rows([], task.target, ()),
        chosen=pd.DataFrame(columns=list(CHOSEN)),
        left_out=task.left_out,
        facts=facts,
    )
