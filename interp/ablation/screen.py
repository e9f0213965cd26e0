"""Screens of all heads by ablation: exact, by gradients, or by gradients with exact values for the top heads beside."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd

from interp.ablation.bench import MEAN, Bench, Drops, check_replacement
from interp.ablation.frozen import CLASSES, NUMBERS
from interp.ablation.gradient import gradient_readings
from interp.ablation.prepare import MASKED, prepare
from interp.ablation.readings import ALL_ROWS, CLS_ROWS
from interp.ablation.settings import N_CELLS
from interp.ablation.table import SCORE, donor_rows, head_name, head_rows, missing_rows
from interp.errors import InputError
from interp.runs.progress import progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from torch import Tensor

    from interp.ablation.effects import Effect
    from interp.ablation.settings import AblationSettings
    from interp.scgpt.model import HookedScGPT
    from interp.scgpt.tokens import GeneTokens

Method = Literal["exact", "gradient", "both"]
COMPARED = ("layer", "head", "name", "metric", "target", "gradient", "exact")


@dataclass(frozen=True, eq=False, repr=False)
class AblationResult:
    """What a screen found.

    Attributes
    ----------
    table
        In the form of scores.csv: layer, head, name, metric, target, role, value (by how much the score drops without
        the head), lo, hi, p, q, n_donors, null_mean and null_sd (other heads of the layer), floor, tied, status; and
        base (the intact model's score), base_p (p that its readout reads anything; no p is less), reason. Metrics are
        called ``ablation.mean.balanced_accuracy`` (exact) and ``gradient.mean.log_odds`` (predicted); losses stand with
        a minus, so that their drop is their rise.
    exact_vs_gradient
        One row per head and objective: layer, head, name, metric, target, gradient, exact (NaN where it was not asked
        for).
    donors
        One value per head and donor: layer, head, name, metric, target, role, donor, value, base.
    left_out
        Classes and donors that do not count: what, reason, n_cells, target.
    facts
        replacement, method, targets, reasons, n_cells, donors, smallest_p, seed, and ``spearman``: one entry per
        objective with metric, target, value and n_heads.
    bench
        Model, cells and effects, for `interp.ablation.redundancy` and `interp.ablation.head_set_null`.
    """

    table: pd.DataFrame
    exact_vs_gradient: pd.DataFrame
    donors: pd.DataFrame
    left_out: pd.DataFrame
    bench: Bench
    drops: tuple[Drops, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Say what was ablated and which head is missed most."""
        facts = self.facts
        lines = [
            f"AblationResult({facts['method']}, {facts['replacement']} ablation of {facts['n_heads']} heads, "
            f"{facts['n_cells']:,} cells, {len(facts['donors'])} donors)"
        ]
        rows = self.table[self.table["role"] == SCORE]
        for (metric, target), own in rows.groupby(["metric", "target"], sort=False):
            top = own.iloc[0]
            what = f"  {metric}{f' of {target}' if target else ''}: "
            known = np.isfinite(top["value"])
            lines.append(what + (f"{top['name']} {top['value']:.3g}, q {top['q']:.2g}" if known else top["reason"]))
        for row in facts["spearman"]:
            words = f"  gradient against exact, {row['metric']}{' of ' + row['target'] if row['target'] else ''}: "
            lines.append(words + f"Spearman {row['value']:.3f} over {row['n_heads']} heads")
        return "\n".join(lines)


def ablate_heads(
    model: HookedScGPT,
    cells: AnnData,
    readout: str | Sequence[str] | None = None,
    *,
    effects: Sequence[str] = (MASKED,),
    replacement: str = MEAN,
    method: Method = "exact",
    donor: str = "donor",
    n_cells: int = N_CELLS,
    settings: AblationSettings | None = None,
    seed: int = 0,
) -> AblationResult:
    """Ablate every head alone, and see what the model misses.

    Readouts of the `<cls>` row are fitted on the intact model and training donors, frozen, and scored on donors that
    they never saw. Losses and correlations are one number per donor.

    Parameters
    ----------
    model
        The model; it is never changed.
    cells
        A panel from `interp.read_cells`.
    readout
        Targets of frozen readouts: columns of obs (classes or numbers) or named pairs such as ``"CD4/CD8"``.
    effects
        What else judges: ``"masked_loss"`` (the loss of predicting masked values), ``"gates"`` (trustworthiness and
        order of the embedding).
    replacement
        What z of a head becomes: ``"mean"`` over cells, ``"type mean"`` over cells of its type, ``"zero"``,
        ``"resample"`` (a cell of another donor), ``"resample same type"``, ``"resample other type"``.
    method
        ``"exact"``; ``"gradient"``, which predicts all heads from one backward pass and checks the top ones exactly; or
        ``"both"``, for all heads.
    donor
        Column of obs with the unit that is held out and counted.
    n_cells
        Cells that are run for each target, spread evenly over donors and classes.
    settings
        Everything else.
    seed
        Seed of cells, folds, tokens, masks, partners and bootstraps.

    Returns
    -------
    AblationResult
        A target that cannot be read, for lack of donors or classes, has the status ``not computable`` and the reason.

    Raises
    ------
    InputError
        A target, effect, replacement, method or column is unknown.

    Examples
    --------
    >>> import interp
    >>> model = interp.load_model("scgpt-sim", device="cpu")
    >>> cells = interp.simulate(n_donors=2, n_cells=8, n_genes=100, seed=1)
    >>> cells = interp.read_cells(cells, donor="donor", tissue="tissue", cell_type="cell_type")
    >>> found = interp.ablate_heads(model, cells, replacement="zero")
    >>> found.table["metric"].unique().tolist()
    ['ablation.zero.neg_masked_loss']
    """
    check_replacement(replacement)
    if method not in get_args(Method):
        msg = f"there is no method {method!r}; expected one of {', '.join(get_args(Method))}"
        raise InputError(msg)
    bench = prepare(model, cells, readout, effects=effects, donor=donor, n_cells=n_cells, settings=settings, seed=seed)
    return screen_heads(bench, replacement=replacement, method=method)


def screen_heads(bench: Bench, *, replacement: str = MEAN, method: Method = "exact") -> AblationResult:
    """Ablate every head alone on a bench that stands; see `ablate_heads`."""
    heads = [head for (head,) in bench.heads]
    predicted = {} if method == "exact" else _predicted(bench, replacement)
    sets = bench.heads
    if method == "gradient":
        sets = [(head,) for head in _top(predicted, heads, bench.settings.top)]
    measured = bench.measure(sets, replacement, choose=method != "gradient", description="ablate heads")
    tables, donors = [], []
    exact = [head for (head,) in sets]
    for drops in measured:
        tables.append(head_rows(drops, exact, f"ablation.{replacement}", seed=bench.seed))
        donors.append(donor_rows(drops, exact, f"ablation.{replacement}"))
    base_p = {drops.target: drops.base_p for drops in measured}
    for drops in predicted.values():
        guess = replace(drops, base_p=base_p[drops.target])
        tables.append(head_rows(guess, heads, f"gradient.{replacement}", seed=bench.seed))
        donors.append(donor_rows(drops, heads, f"gradient.{replacement}"))
    for target, reason in bench.reasons.items():
        metrics = NUMBERS if pd.api.types.is_numeric_dtype(bench.obs.get(target, pd.Series(dtype=object))) else CLASSES
        tables.append(missing_rows(heads, metrics, target, f"ablation.{replacement}", reason))
    compared = _compared(predicted, measured, heads, exact)
    names = tuple(sorted(set(bench.obs[bench.donor].astype(str))))
    facts = {
        "replacement": replacement, "method": method, "n_heads": len(heads), "n_cells": len(bench.tokens),
        "targets": [effect.target for effect in bench.effects if effect.target], "reasons": dict(bench.reasons),
        "donors": names, "smallest_p": 2.0 ** -len(names), "seed": bench.seed, "spearman": _agreement(compared),
    }  # fmt: skip
    return AblationResult(
        table=pd.concat(tables, ignore_index=True),
        exact_vs_gradient=compared,
        donors=pd.concat(donors, ignore_index=True) if donors else pd.DataFrame(),
        left_out=bench.left_out,
        bench=bench,
        drops=tuple(measured) if method != "gradient" else (),
        facts=facts,
    )


def _predicted(bench: Bench, replacement: str) -> dict[tuple[str, str], Drops]:
    """Predicted drops of all heads by metric and target, under every effect that has a gradient."""
    found = {}
    able = [effect for effect in bench.effects if effect.differentiable is not None]
    total = sum(len(bench.tokens) for _ in able)
    with progress(total=total, description="gradients", unit="cell") as bar:
        for effect in able:
            tokens, ready = bench.cells(masked=effect.masked), bench.given(replacement, masked=effect.masked)
            steps, objective = bench.settings.steps, _Objective(effect)
            change = gradient_readings(bench.model, tokens, ready, objective, steps=steps, progress=bar.update)
            drop = -np.nan_to_num(change).reshape(-1, change.shape[-1]).astype(np.float64) @ effect.weights().T
            metric = str(effect.differentiable)
            none = np.full(len(effect.donors), np.nan)
            fold = np.zeros(len(effect.donors), np.int64)
            nothing = np.zeros((len(drop), 0, len(effect.donors)))
            found[metric, effect.target] = Drops(metric, effect.target, effect.donors, fold, none, drop, nothing)
    return found


class _Objective:
    """An effect's objective, with the rows that it needs."""

    def __init__(self, effect: Effect) -> None:
        self.effect = effect
        self.rows = ALL_ROWS if effect.masked else CLS_ROWS

    def __call__(self, resid: Tensor, tokens: GeneTokens) -> Tensor:
        return self.effect.objective(resid, tokens)


def _top(predicted: dict[tuple[str, str], Drops], heads: Sequence[tuple[int, int]], n: int) -> list[tuple[int, int]]:
    """The heads of the largest predicted drops under any objective, in the order of the model."""
    chosen = set()
    for drops in predicted.values():
        means = _mean(drops.drop)
        chosen |= {heads[place] for place in np.argsort(-np.nan_to_num(means, nan=-np.inf), kind="stable")[:n]}
    return sorted(chosen)


def _compared(
    predicted: dict[tuple[str, str], Drops],
    measured: Sequence[Drops],
    heads: Sequence[tuple[int, int]],
    exact: Sequence[tuple[int, int]],
) -> pd.DataFrame:
    tables = []
    for drops in measured:
        guess = predicted.get((drops.metric, drops.target))
        if guess is None:
            continue
        true = dict(zip(exact, _mean(drops.drop), strict=True))
        rows = [
            {"layer": layer, "head": head, "name": head_name(layer, head), "gradient": value}
            for (layer, head), value in zip(heads, _mean(guess.drop), strict=True)
        ]
        table = pd.DataFrame(rows).assign(metric=drops.metric, target=drops.target)
        tables.append(table.assign(exact=[true.get(head, np.nan) for head in heads]))
    found = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(COMPARED))
    return found[list(COMPARED)]


def _agreement(compared: pd.DataFrame) -> list[dict[str, Any]]:
    from scipy.stats import spearmanr

    found = []
    for (metric, target), rows in compared.groupby(["metric", "target"], sort=False):
        rows = rows[rows["exact"].notna() & rows["gradient"].notna()]
        varies = len(rows) > 2 and rows["exact"].nunique() > 1 and rows["gradient"].nunique() > 1
        value = float(spearmanr(rows["gradient"], rows["exact"]).statistic) if varies else float("nan")
        found.append({"metric": metric, "target": target, "value": value, "n_heads": len(rows)})
    return found


def _mean(values: NDArray) -> NDArray[np.float64]:
    """Mean over donors of (set, donor), NaN left out, (set,)."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=1)
    return np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan)
