"""From a model and a panel to a bench: cells drawn evenly, tokens with and without masks, effects ready to judge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interp.ablation.bench import Bench
from interp.ablation.effects import Gates, MaskedValues, Readout
from interp.ablation.frozen import fit_readouts
from interp.ablation.masking import mask_tokens
from interp.ablation.settings import N_CELLS, AblationSettings
from interp.biology.pairs import PAIRS
from interp.capture.embedding import cell_embeddings
from interp.errors import InputError
from interp.probing.given import strata_of
from interp.probing.metrics import AUROC
from interp.probing.nested import make_folds
from interp.probing.targets import Task, read_task
from interp.runs.seeds import stream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from interp.ablation.effects import Effect
    from interp.scgpt.model import HookedScGPT
    from interp.scgpt.tokens import GeneTokens

MASKED, GATES = "masked_loss", "gates"
# What can be judged beside readouts.
EFFECTS = (MASKED, GATES)


def prepare(
    model: HookedScGPT,
    cells: AnnData,
    readout: str | Sequence[str] | None = None,
    *,
    effects: Sequence[str] = (MASKED,),
    donor: str = "donor",
    n_cells: int = N_CELLS,
    settings: AblationSettings | None = None,
    seed: int = 0,
) -> Bench:
    """Draw cells, fit readouts of the intact model, and put masks on.

    Parameters
    ----------
    model
        The model.
    cells
        A panel from `interp.read_cells`.
    readout
        Targets, as of `interp.probe`: columns of obs or named pairs; none when None.
    effects
        What judges beside them, of `EFFECTS`.
    donor
        Column of obs with the unit that is held out and counted.
    n_cells
        Cells that are run for each target, spread evenly over donors and classes. Readouts are trained on more.
    settings
        Everything else.
    seed
        Seed of cells, folds, tokens and masks.

    Returns
    -------
    Bench
        A target that cannot be read, as it has too few donors or one class, is noted in `reasons`.

    Raises
    ------
    InputError
        A target, effect or column is unknown, or nothing is left to judge by.
    """
    settings = settings or AblationSettings()
    targets = [readout] if isinstance(readout, str) else list(readout or ())
    effects = [effects] if isinstance(effects, str) else list(effects)
    _check(cells, targets, effects, donor, n_cells)
    tasks = {name: _task(cells.obs, name, donor, settings, seed) for name in dict.fromkeys(targets)}
    ready = {name: task for name, task in tasks.items() if task.reason is None}
    drawn = {name: _even(task.donor, _class_of(task), n_cells, seed) for name, task in ready.items()}
    run = _union([task.rows[drawn[name]] for name, task in ready.items()])
    if not len(run):
        run = _any_cells(cells.obs, donor, settings.probes.cell_type, n_cells, seed)
    every = _union([run, *(task.rows for task in ready.values())])
    tokens = model.tokenize(cells[every], seed=seed, max_tokens=settings.max_tokens)
    judged = _readouts(model, cells, tokens, every, run, ready, drawn, settings, seed)
    tokens, own = tokens[np.searchsorted(every, run)], cells[run]
    codes, names = pd.factorize(own.obs[donor].astype(str), sort=True)
    masked = None
    if MASKED in effects:
        masked, truth = mask_tokens(tokens, model.config, share=settings.mask_share, seed=seed)
        judged.append(MaskedValues(model, truth, tokens.cell_ids, codes.astype(np.int64), tuple(names)))
    if GATES in effects:
        judged.append(_gates(own, codes.astype(np.int64), tuple(names)))
    empty = pd.DataFrame(columns=["what", "reason", "n_cells", "target"])
    left_out = [task.left_out.assign(target=name) for name, task in tasks.items() if len(task.left_out)]
    reasons = {name: task.reason for name, task in tasks.items() if task.reason is not None}
    return Bench(
        model=model, obs=own.obs.copy(), tokens=tokens, masked=masked, effects=tuple(judged),
        left_out=pd.concat(left_out, ignore_index=True) if left_out else empty, reasons=reasons, donor=donor,
        settings=settings, seed=seed,
    )  # fmt: skip


def _readouts(
    model: HookedScGPT,
    cells: AnnData,
    tokens: GeneTokens,
    every: NDArray[np.int64],
    run: NDArray[np.int64],
    ready: Mapping[str, Task],
    drawn: Mapping[str, NDArray[np.int64]],
    settings: AblationSettings,
    seed: int,
) -> list[Effect]:
    """Fit the readouts of all targets on the embeddings of the rows `every`; the rows `run` are scored."""
    if not ready:
        return []
    embedding, probes = cell_embeddings(model, tokens), settings.probes
    names = tuple(cells.obs_names[run])
    found: list[Effect] = []
    for target, task in ready.items():
        strata = strata_of(cells.obs, task, probes.study)
        folds = make_folds(task, max_folds=probes.max_folds, strata=strata, seed=seed)
        x = embedding[np.searchsorted(every, task.rows)]
        frozen = fit_readouts(x, task, folds, probes.penalties, scored=drawn[target])
        rows = np.searchsorted(run, task.rows[drawn[target]])
        found.append(Readout(target, frozen, rows, names, AUROC if target in PAIRS else frozen.metrics[0]))
    return found


def _check(cells: AnnData, targets: list[str], effects: Sequence[str], donor: str, n_cells: int) -> None:
    unknown = [name for name in effects if name not in EFFECTS]
    if unknown:
        msg = f"there is no effect {unknown[0]!r}; expected some of {', '.join(map(repr, EFFECTS))}, beside readouts"
        raise InputError(msg)
    if not targets and not effects:
        msg = "nothing to judge ablation by was given; give readout= (a target) or effects="
        raise InputError(msg)
    if donor not in cells.obs:
        msg = f"obs has no column {donor!r} to group by; it has {', '.join(map(str, cells.obs.columns))}"
        raise InputError(msg)
    if n_cells < 1:
        msg = f"n_cells is {n_cells}; give at least one cell to run"
        raise InputError(msg)


def _task(obs: pd.DataFrame, name: str, donor: str, settings: AblationSettings, seed: int) -> Task:
    probes = settings.probes
    return read_task(
        obs, name, donor=donor, cell_type=probes.cell_type, min_cells=probes.min_cells, max_cells=probes.max_cells,
        seed=seed,
    )  # fmt: skip


def _class_of(task: Task) -> NDArray:
    return task.cell_type if task.is_number else task.values


def _even(donor: NDArray, group: NDArray, n: int, seed: int) -> NDArray[np.int64]:
    """Places of at most `n` cells: one of every donor and group, then a second, and so on, each drawn by the seed."""
    lot = stream(seed, "ablation cells").permutation(len(donor))
    frame = pd.DataFrame({"donor": donor, "group": group, "lot": lot})
    rank = frame.sort_values("lot").groupby(["donor", "group"]).cumcount().reindex(frame.index)
    return np.sort(np.lexsort([lot, rank])[:n])


def _any_cells(obs: pd.DataFrame, donor: str, cell_type: str, n: int, seed: int) -> NDArray[np.int64]:
    known = np.flatnonzero(obs[donor].notna())
    if not len(known):
        msg = f"no cell has a {donor}; name it, or leave the cells without one out"
        raise InputError(msg)
    frame = obs.iloc[known]
    group = frame[cell_type].astype(str).to_numpy() if cell_type in frame else np.zeros(len(frame))
    return known[_even(frame[donor].astype(str).to_numpy(), group, n, seed)]


def _union(rows: Sequence[NDArray]) -> NDArray[np.int64]:
    return np.unique(np.concatenate([np.zeros(0, np.int64), *rows])).astype(np.int64)


def _gates(cells: Any, codes: NDArray[np.int64], donors: tuple[str, ...]) -> Gates:
    from interp.biology import StageGraph
    from interp.cells.panel import expression

    if "stage" not in cells.obs:
        msg = "the gate statistics go by stages, and obs has no column 'stage'; read the cells with interp.read_cells"
        raise InputError(msg)
    stage = cells.obs["stage"].astype(object)
    stage = stage.where(stage.notna(), None).to_numpy(dtype=object)
    genes = cells.var_names[cells.varm["measured"].all(axis=1)]
    inputs = expression(cells, genes).toarray()
    return Gates(inputs, stage, StageGraph.hematopoiesis().ruler, codes, donors)
