"""The adaptor's variants side by side: anchor, cell and hybrid, over latent sizes and topology weights.

Each is tuned, and the best is chosen, by the inner criterion on training donors alone; what unseen donors show stands
beside it, donor by donor. Refits without a stage, and inner ones, see fewer cells than the fit to all training donors.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interp.errors import InputError
from interp.evidence.adaptor_fits import Answers, Entry, SplitFits, Target
from interp.evidence.arms import Settings
from interp.evidence.endpoints import read_donors
from interp.evidence.fits import Solver, span_of
from interp.evidence.holdouts import PAIRS, inner_hold_outs, leave_one_stage_out
from interp.evidence.order import ORDER, mean_over_donors
from interp.evidence.selection import GRID, best
from interp.extraction.cell_draw import CELLS_PER_STAGE
from interp.extraction.cell_fit import CellFit
from interp.extraction.cell_problem import CellWeights
from interp.extraction.let import RIDGE, LetProblem
from interp.runs.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from interp.evidence.adaptor_fits import CellSource
    from interp.evidence.holdouts import HoldOut
    from interp.evidence.panel import FloatArray, Panel
    from interp.extraction.let import LetFit
    from interp.runs.workers import Bar
    from interp.stats import Split

# Latent sizes of the method (arXiv:2603.10261 tried these and kept the last).
N_LATENTS = (3, 6, 10)
# Topology weights of the sweep, over three decades: at 0 a hybrid is a cell adaptor, and on a simulated panel order
# rose up to 10 and stayed level beyond.
TOPOLOGIES = (0.1, 1.0, 10.0, 100.0)
# Ridges that cell and hybrid are tuned over: the anchors' grid without its smallest, where fits to cells take thousands
# of iterations, as without a ridge.
CELL_RIDGES = (RIDGE, 1.0)
# Cells of a stage in a refit, a fifth of what the fit to all training donors sees: some 15 refits a split stay cheap.
# Half as many cost order, 0.01 on simulated cells and up to 0.4 in a split of real ones.
REFIT_CELLS = 100
# Iterations at which held-out order is followed.
CHECKPOINTS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
KEYS = ["split", "variant", "n_latent", "topology"]


@dataclass(frozen=True)
class AdaptorGrid:
    """What is compared.

    Attributes
    ----------
    anchor_latents, cell_latents, hybrid_latents
        Latent sizes of each variant.
    topologies
        Weights of the hybrids.
    anchor_settings
        Weights of reconstruction and ridge that anchor adaptors are tuned over.
    ridges
        Ridges that cell and hybrid are tuned over.
    weights
        Weights of the cell loss.
    cells_per_stage
        Cells of a stage in the fit to all training donors.
    refit_cells
        Cells of a stage in refits without a stage, and in inner ones.
    checkpoints
        Iterations at which held-out order is followed; none to leave it out.
    """

    anchor_latents: tuple[int, ...] = N_LATENTS
    cell_latents: tuple[int, ...] = N_LATENTS[-1:]
    hybrid_latents: tuple[int, ...] = N_LATENTS[-1:]
    topologies: tuple[float, ...] = TOPOLOGIES
    anchor_settings: tuple[Settings, ...] = GRID
    ridges: tuple[float, ...] = CELL_RIDGES
    weights: CellWeights = field(default_factory=CellWeights)
    cells_per_stage: int = CELLS_PER_STAGE
    refit_cells: int = REFIT_CELLS
    checkpoints: tuple[int, ...] = CHECKPOINTS

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All adaptors that are compared, anchors first."""
        hybrids = (Entry("hybrid", n, t) for n, t in product(self.hybrid_latents, self.topologies))
        return (
            *(Entry("anchor", n) for n in self.anchor_latents),
            *(Entry("cell", n) for n in self.cell_latents),
            *hybrids,
        )

    def targets(self, entry: Entry) -> list[Target]:
        """Settings that an adaptor is tuned over."""
        if entry.variant == "anchor":
            return [(entry, settings) for settings in self.anchor_settings]
        return [(entry, Settings(self.weights.reconstruction, ridge)) for ridge in self.ridges]


@dataclass(frozen=True, eq=False)
class AdaptorTables:
    """The comparison.

    Attributes
    ----------
    table
        One row per split and adaptor: split, variant, n_latent, topology; alpha (weight of the reconstruction) and
        ridge as tuned; inner (criterion on training donors), chosen (best of the split by it), chosen_of_variant; of
        the fit to all training donors training_loss, ruler_loss, converged, n_iter, seconds, n_rows (anchors or cells)
        and n_parameters; and every endpoint, mean over unseen donors.
    values
        Long: split, variant, n_latent, topology, chosen, chosen_of_variant, endpoint, donor, value.
    curves
        Learning curves: split, variant, n_latent, topology, iteration, loss of the fit to all training donors, and
        order: held-out, mean over donors, of the refits stopped there; NaN between checkpoints.
    """

    table: pd.DataFrame
    values: pd.DataFrame
    curves: pd.DataFrame


def adaptor_table(
    panel: Panel,
    features: Callable[[Split], FloatArray],
    cells: CellSource,
    solver: Solver | None = None,
    grid: AdaptorGrid | None = None,
    *,
    seed: int = 0,
) -> AdaptorTables:
    """Tune, fit and measure every adaptor of a grid in every split.

    Parameters
    ----------
    panel
        The anchors; each of its splits is measured.
    features
        From a split to features of all anchors, (anchor, feature); the operator is the same for all adaptors.
    cells
        The cells and their features under the same operators.
    solver
        How adaptors are fitted; its latent dimensions are replaced.
    grid
        What is compared.
    seed
        Seed of the inner hold-outs.

    Returns
    -------
    AdaptorTables

    Raises
    ------
    InputError
        The panel has no splits, as with one donor; training cells are missing, of one stage, or do not vary; or a
        value is not finite.
    """
    if not panel.splits:
        donors = sorted(set(panel.donors))
        msg = f"The panel of donors {donors} has no splits: nothing is held out. Give at least two donors and splits."
        raise InputError(msg)
    solver, grid = solver or Solver(), grid or AdaptorGrid()
    plans = [(split, inner_hold_outs(panel, split, seed), leave_one_stage_out(panel, split)) for split in panel.splits]
    total = sum(len(inner) + len(outer) + 1 for _, inner, outer in plans)
    parts = []
    with progress(total=total, description="adaptors", unit="refit") as bar:
        for split, inner, outer in plans:
            fits = SplitFits(panel, split, features(split), cells, grid.weights, solver)
            parts.append(_of_split(fits, grid, inner, outer, bar))
    table, values, curves = (pd.concat(found, ignore_index=True) for found in zip(*parts, strict=True))
    marks = table[[*KEYS, "chosen", "chosen_of_variant"]]
    means = values.groupby([*KEYS, "endpoint"], sort=False)["value"].mean().unstack("endpoint").reset_index()
    columns = [*KEYS, "chosen", "chosen_of_variant", "endpoint", "donor", "value"]
    return AdaptorTables(table.merge(means, on=KEYS, how="left"), values.merge(marks, on=KEYS)[columns], curves)


def _of_split(
    fits: SplitFits, grid: AdaptorGrid, inner: list[HoldOut], outer: list[HoldOut], bar: Bar
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return rows of the three tables for one split."""
    candidates = [target for entry in grid.entries for target in grid.targets(entry)]
    scores = _criteria(fits.answers(inner, candidates, grid.refit_cells, bar))
    tuned = [_tuned(grid.targets(entry), scores) for entry in grid.entries]
    final, early = fits.answers_at(outer, tuned, grid.refit_cells, grid.checkpoints, bar)
    whole = _fit_whole(fits, tuned, grid.cells_per_stage)
    bar.update()
    followed = {at: _criteria(answers) for at, answers in early.items()}
    ends = _criteria(final)
    table = _rows(fits.split.id, tuned, scores, whole)
    values = [_values(fits, target, final.get(target, []), whole[target][0]) for target in tuned]
    curves = [
        _curve(fits.split.id, target, whole[target][0], {at: found.get(target) for at, found in followed.items()}, ends)
        for target in tuned
    ]
    return table, pd.concat(values, ignore_index=True), pd.concat(curves, ignore_index=True)


def _criteria(answers: Answers) -> dict[Target, float]:
    return {target: mean_over_donors(found) for target, found in answers.items()}


def _tuned(targets: list[Target], scores: dict[Target, float]) -> Target:
    return targets[best([scores.get(target, np.nan) for target in targets])]


def _fit_whole(fits: SplitFits, tuned: Sequence[Target], per_stage: int) -> dict[Target, tuple[LetFit, float]]:
    """Fit to all training donors; each fit with its seconds."""
    panel, train = fits.panel, fits.panel.exact(fits.panel.train(fits.split))
    found: dict[Target, tuple[LetFit, float]] = {}
    for target in tuned:
        entry, settings = target
        if entry.variant == "anchor":
            basis = span_of(fits.features[train])
            if basis is None:
                msg = f"No feature varies between the {len(train)} training anchors of split {fits.split.id!r}."
                raise InputError(msg)
            problem = LetProblem(basis, panel.ruler(train), settings.alpha, settings.ridge)
            began = time.perf_counter()
            fit = replace(fits.solver, n_latent=entry.n_latent).fit([problem])[0]
            found[target] = fit, time.perf_counter() - began
    over_cells = [target for target in tuned if target[0].variant != "anchor"]
    for target, cell_fit in zip(over_cells, fits.fit_cells(over_cells, per_stage), strict=True):
        found[target] = cell_fit, cell_fit.seconds_
    return found


def _rows(
    split: str, tuned: Sequence[Target], scores: dict[Target, float], whole: dict[Target, tuple[LetFit, float]]
) -> pd.DataFrame:
    records = []
    for target in tuned:
        (entry, settings), (fit, seconds) = target, whole[target]
        records.append(
            {
                **_keys(split, entry),
                "alpha": settings.alpha,
                "ridge": settings.ridge,
                "inner": scores.get(target, float("nan")),
                "training_loss": fit.loss_,
                "ruler_loss": fit.ruler_loss_,
                "converged": fit.converged_,
                "n_iter": fit.n_iter_,
                "seconds": seconds,
                "n_rows": fit.basis.n_rows,
                "n_parameters": _n_parameters(fit),
            }
        )
    table = pd.DataFrame(records)
    table.insert(7, "chosen", np.arange(len(table)) == best(table["inner"]))
    firsts = {rows.index[best(rows["inner"])] for _, rows in table.groupby("variant")}
    table.insert(8, "chosen_of_variant", table.index.isin(firsts))
    return table


def _values(
    fits: SplitFits, target: Target, answers: Iterable[tuple[HoldOut, FloatArray]], fit: LetFit
) -> pd.DataFrame:
    """Tabulate what each unseen donor shows."""
    panel, split, features = fits.panel, fits.split, fits.features
    train, test = panel.exact(panel.train(split)), panel.test(split)
    read = read_donors(panel, split, panel.labels, fit.transform(features[train]), fit.transform(features[test]))
    found = [*_order_by_donor(panel, answers), *read]
    keys = _keys(split.id, target[0])
    return pd.DataFrame([{**keys, "endpoint": name, "donor": donor, "value": value} for name, donor, value in found])


def _order_by_donor(panel: Panel, answers: Iterable[tuple[HoldOut, FloatArray]]) -> Iterator[tuple[str, str, float]]:
    """Average the order endpoint over the stages of each donor, for each way to count pairs."""
    by_donor: dict[str, list[FloatArray]] = {}
    for hold_out, values in answers:
        for donor, row in zip(hold_out.donors, values, strict=True):
            by_donor.setdefault(donor, []).append(row)
    # With one study the pairs within a study are all pairs, and would count as a second endpoint.
    kinds = PAIRS if len(set(panel.studies)) > 1 else PAIRS[:1]
    for donor in sorted(by_donor):
        rows = np.array(by_donor[donor])
        for column, pairs in enumerate(kinds):
            known = rows[np.isfinite(rows[:, column]), column]
            name = ORDER if pairs == PAIRS[0] else f"{ORDER}, {pairs}"
            yield name, donor, float(known.mean()) if len(known) else float("nan")


def _curve(
    split: str, target: Target, fit: LetFit, followed: dict[int, float | None], ends: dict[Target, float]
) -> pd.DataFrame:
    """Tabulate the learning curve, and held-out order where it was followed."""
    order = {at: value for at, value in followed.items() if value is not None and at < fit.n_iter_}
    if followed:
        order[fit.n_iter_] = ends.get(target, float("nan"))
    iterations = np.arange(len(fit.losses_))
    columns = {
        "iteration": iterations,
        "loss": fit.losses_,
        "order": [order.get(int(at), float("nan")) for at in iterations],
    }
    return pd.DataFrame({**_keys(split, target[0]), **columns})


def _n_parameters(fit: LetFit) -> int:
    """Count the numbers that training adjusted: map, offset, beta, and a stage head where there is one."""
    return fit.n_parameters_ if isinstance(fit, CellFit) else fit.weights.size + fit.offset.size + 1


def _keys(split: str, entry: Entry) -> dict[str, str | int | float]:
    return {"split": split, "variant": entry.variant, "n_latent": entry.n_latent, "topology": entry.topology}
