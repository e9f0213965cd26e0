"""The compaction chain: pooled drift, one head, low rank, hard sparse, folded; each step tuned and fitted anew."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from interp.evidence.arms import Arm, Candidates, Settings, as_float
from interp.evidence.fixed_probes import endpoint_names
from interp.evidence.folded import FLOAT_BYTES, folded_values
from interp.evidence.losses import paired_losses
from interp.evidence.selection import best, choose
from interp.extraction.surrogates import RANKS, n_parameters, size_on_disk, surrogates
from interp.runs.progress import progress
from interp.runs.seeds import stream
from interp.stats import bootstrap_interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from interp.evidence.campaign import Campaign
    from interp.evidence.panel import FloatArray
    from interp.evidence.selection import Choice
    from interp.extraction.operator import Operator
    from interp.stats import Split

DRIFT, TOP, FOLDED = "pooled drift", "top head", "folded map"
# Name of the pooled drift among a model's operators.
DRIFT_NAME = "drift.mean.out"
STEP_COLUMNS = (
    "step", "operator", "endpoint", "value", "lo", "hi", "n_donors", "size_bytes", "n_parameters", "chain_bytes",
    "settings", "latent_difference", "reason",
)  # fmt: skip


class Chain(NamedTuple):
    """What the chain found.

    Attributes
    ----------
    steps
        One row per step and endpoint: step; operator (of how many splits); endpoint; value (mean over donors), lo, hi
        (bootstrap over donors, 95 %), n_donors; size_bytes (the operator's file in float32, gene names included);
        n_parameters (numbers it holds); chain_bytes (the numbers of operator and adaptor together, in float32, which
        is what turns expression into latents); settings (alpha and ridge of each split); latent_difference (of the
        folded map: largest difference from the latents of operator and adaptor, relative to the largest latent);
        reason (why a step was not measured).
    losses
        From `paired_losses`, against the top head.
    donors
        endpoint, control (the step), draw, donor, value: one number per donor, as in `controls.csv`.
    """

    steps: pd.DataFrame
    losses: pd.DataFrame
    donors: pd.DataFrame


@dataclass(frozen=True, eq=False)
class Rung:
    """One step in one split: the operator as it is saved, and the settings tuned for it."""

    operator: Operator
    features: FloatArray
    settings: Settings


def chain_table(
    campaign: Campaign,
    choices: Mapping[str, Choice],
    *,
    ranks: Sequence[int] = RANKS,
    drift: str = DRIFT_NAME,
) -> Chain:
    """Measure every step of the chain, each with an adaptor tuned and fitted anew in every split.

    Parameters
    ----------
    campaign
        The panel, the model's operators per split, and how adaptors are fitted.
    choices
        What each split of the panel chose, by its id.
    ranks
        Ranks of the truncated steps.
    drift
        Name of the pooled drift among the operators.

    Returns
    -------
    Chain
        The top head of a split is its best candidate of a single head, as the choice scored them on training donors;
        surrogates are made of that operator. Empty without splits.
    """
    splits = campaign.panel.splits
    rungs: dict[str, dict[str, Rung]] = {}  # step to split id to rung
    with progress(total=len(splits) * (len(ranks) + 3), description="compaction chain", unit="fit") as bar:
        for split in splits:
            for step, rung in _rungs(campaign, split, choices[split.id], ranks, drift):
                rungs.setdefault(step, {})[split.id] = rung
                bar.update()
    whole = {step: found for step, found in rungs.items() if len(found) == len(splits)}
    tables = [] if not whole else [campaign.endpoints([_arm(step, found) for step, found in whole.items()])[0]]
    weights = {step: _weights(found, campaign.solver.n_latent) for step, found in whole.items()}
    if TOP in whole:
        values, saved = folded_values(campaign, whole[TOP])
        tables.append(values.assign(control=FOLDED, draw=0))
        weights[FOLDED] = weights[TOP] | saved
    columns = ["endpoint", "control", "draw", "donor", "value"]
    donors = pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)
    names = dict.fromkeys([DRIFT, TOP, *rungs, *weights]) if splits else {}
    steps = [row for step in names for row in _rows(step, donors, endpoint_names(campaign.panel), weights.get(step))]
    losses = paired_losses(donors, reference=TOP, same=(FOLDED,), seed=campaign.seed)
    losses = losses.sort_values(
        "step", key=lambda step: step.map({name: i for i, name in enumerate(names)}), kind="stable"
    )
    return Chain(pd.DataFrame(steps, columns=list(STEP_COLUMNS)), losses.reset_index(drop=True), donors)


def top_head(operators: Sequence[Operator], choice: Choice) -> int:
    """Find the best candidate of a single head, by the scores of a choice.

    Parameters
    ----------
    operators
        The candidates, as the choice saw them.
    choice
        Its own pick where that is a single head's; else the best-scored one of those.

    Returns
    -------
    int
        Place of the candidate; -1 where none is a single head's.
    """
    single = [i for i, operator in enumerate(operators) if len(operator.heads) == 1]
    if choice.index in single or not single:
        return choice.index if single else -1
    return single[best([choice.scores[i] for i in single])]


def _rungs(
    campaign: Campaign, split: Split, choice: Choice, ranks: Sequence[int], drift: str
) -> Iterator[tuple[str, Rung]]:
    """Every step of one split; its operators come from its training donors."""
    operators = campaign.source.operators(split)
    index = top_head(operators, choice)
    pooled = next((operator for operator in operators if operator.name == drift), None)
    steps = {} if pooled is None else {DRIFT: pooled}
    if index >= 0:
        top = operators[index].astype(np.float32)
        steps |= {TOP: top} | {each.kind: each for each in surrogates(top, ranks)}
    x = as_float(campaign.source.expression(split))
    for step, operator in steps.items():
        saved = operator.astype(np.float32)
        alone = Candidates(step, lambda _, saved=saved: [saved], lambda _: x)  # type: ignore[misc]
        settings = choice.settings
        if step != TOP or index != choice.index:
            settings = choose(alone, campaign.panel, split, campaign.solver, seed=campaign.seed).settings
        yield step, Rung(saved, alone.features(split, 0), settings)


def _arm(step: str, found: Mapping[str, Rung]) -> Arm:
    settings = {split: rung.settings for split, rung in found.items()}
    return Arm(step, lambda split: found[split.id].features, settings=settings)


def _weights(found: Mapping[str, Rung], n_latent: int) -> dict[str, Any]:
    """Name, sizes and settings of a step; sizes are those of its first split."""
    names = Counter(rung.operator.name for rung in found.values())
    rung = next(iter(found.values()))
    n, n_features = n_parameters(rung.operator), rung.features.shape[1]
    return {
        "operator": "; ".join(f"{name} ({count} of {len(found)} splits)" for name, count in sorted(names.items())),
        "size_bytes": size_on_disk(rung.operator),
        "n_parameters": n,
        "chain_bytes": FLOAT_BYTES * (n + (n_features + 1) * n_latent),
        "settings": "; ".join(f"{s}: alpha {r.settings.alpha:g}, ridge {r.settings.ridge:g}" for s, r in found.items()),
    }


def _rows(step: str, donors: pd.DataFrame, endpoints: Sequence[str], weights: dict[str, Any] | None) -> list[dict]:
    if weights is None:
        return [{"step": step, "reason": "the model has no such operator in every split"}]
    mine = donors[donors["control"] == step]
    rows = []
    for endpoint in endpoints:
        values = mine.loc[mine["endpoint"] == endpoint, "value"].dropna().to_numpy(dtype=np.float64)
        lo, hi = bootstrap_interval(values, rng=stream(0, f"evidence chain {endpoint}"))
        found = {"value": float(values.mean()) if len(values) else float("nan"), "lo": lo, "hi": hi}
        reason = "" if len(values) else "no donor in which it can be computed"
        rows.append({"step": step, "endpoint": endpoint, "n_donors": len(values), "reason": reason} | found | weights)
    return rows
