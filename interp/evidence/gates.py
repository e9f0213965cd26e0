"""The paper's gates, with the states in which they cannot be computed and the share of null draws that pass each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from interp.evidence.fits import span_of
from interp.evidence.nulls import coherent
from interp.evidence.pairs import GATE_PAIRS, BlockedP, blocked_p, pair_correlations
from interp.extraction.let import LetProblem
from interp.geometry.distances import angles
from interp.runs.seeds import stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from interp.evidence.arms import Arm
    from interp.evidence.fits import Solver
    from interp.evidence.panel import FloatArray, IntArray, Labels, Panel
    from interp.extraction.let import LetFit
    from interp.extraction.span import SpanBasis
    from interp.stats import Split

Status = Literal["pass", "fail", "not computable"]
# Thresholds of arXiv:2603.10261, reported for parity and never loosened (design, paper gates).
TRUST, RANDOM, DONOR, BRANCH, BLOCKED = (
    "trustworthiness",
    "random holdout",
    "donor holdout",
    "branch holdout",
    "blocked permutation p",
)
THRESHOLDS = {TRUST: 0.80, RANDOM: 0.20, DONOR: 0.20, BRANCH: 0.20, BLOCKED: 0.001}
TRUST_NEIGHBOURS = 15
N_REPEATS = 10
HELD_OUT_SHARE = 0.20
MIN_GROUPS = 3
N_PERMUTATIONS = 10_000
# Relabellings per null draw: their floor, 1 / 2001, is under the threshold, which is all that a pass needs.
N_PERMUTATIONS_NULL = 2_000
# Null draws behind the pass rates; a gate that more than half of them pass tells nothing.
N_NULL = 20
UNINFORMATIVE = 0.5
FROZEN = "within group, frozen"


@dataclass(frozen=True)
class GateValue:
    """One gate's outcome on one labelling: value, how many groups or anchors it rests on, why it is missing, p."""

    value: float = float("nan")
    n: int = 0
    reason: str = ""
    p: float = float("nan")
    at_floor: bool = False

    def status(self, gate: str) -> Status:
        """Compare with the threshold of the gate."""
        if self.reason or not np.isfinite(self.value):
            return "not computable"
        passed = self.value <= THRESHOLDS[gate] if gate == BLOCKED else self.value >= THRESHOLDS[gate]
        return "pass" if passed else "fail"


# Outcomes by gate and pairs.
GateValues = dict[tuple[str, str], GateValue]


def gates(panel: Panel, arm: Arm, solver: Solver, *, seed: int, n_null: int = N_NULL) -> list[dict]:
    """Take the gates of the chosen arm, refitted without each group, and of null draws beside it.

    Parameters
    ----------
    panel
        The anchors.
    arm
        The chosen arm; it must give features for every split of the panel and for ``panel.whole``.
    solver
        How adaptors are fitted.
    seed
        Seed of groups, relabellings and null draws.
    n_null
        Coherent permutations of the stages behind ``null_pass_rate``.

    Returns
    -------
    list of dict
        gate, panel, pairs, value, threshold, status, reason, n, p, at_floor, null_pass_rate.
    """
    observed = arm.labels or panel.labels
    nulls = coherent(observed, n_null, seed)
    found = gate_values(panel, arm, [observed, *nulls], solver, seed=seed)
    return gate_rows(panel, found[0], found[1:])


def gate_values(panel: Panel, arm: Arm, labellings: Sequence[Labels], solver: Solver, *, seed: int) -> list[GateValues]:
    """Take all gates under several labellings of the same anchors; the first gets the full number of relabellings.

    Parameters
    ----------
    panel, arm, solver, seed
        As in `gates`.
    labellings
        What the classes are called, each time.

    Returns
    -------
    list of dict
        Gate and pairs to `GateValue`, in the order of the labellings.
    """
    rows = panel.exact(np.arange(len(panel)))
    inside: list[dict[str, list[FloatArray]]] = [{RANDOM: [], DONOR: [], BRANCH: []} for _ in labellings]
    whole: dict[int, tuple[FloatArray, FloatArray]] = {}
    for fit, features, (k, gate, groups) in _refits(panel, arm, labellings, solver, seed):
        if gate == TRUST:
            whole[k] = fit.from_coords(fit.basis.train), fit.basis.standard
            continue
        for asked in groups:
            latents = fit.transform(features[asked])
            inside[k][gate].append(pair_correlations(panel, asked, labellings[k], angles(latents, latents)))
    return [
        _latent_gates(panel, rows, labels, whole.get(k), seed, k) | _group_gates(panel, inside[k])
        for k, labels in enumerate(labellings)
    ]


def frozen_gates(
    panel: Panel, latents: FloatArray, inputs: FloatArray, *, seed: int, n_null: int = N_NULL
) -> list[dict]:
    """Take the gates of a panel under an algorithm that is not refitted: nothing is held out, and the names say so.

    Parameters
    ----------
    panel
        Anchors of the other panel; its splits are not used.
    latents
        The frozen algorithm's latents of all its anchors, (anchor, latent).
    inputs
        What the algorithm saw of them, (anchor, feature), for trustworthiness.
    seed
        Seed of groups, relabellings and null draws.
    n_null
        Coherent permutations of the stages, evaluated on the same latents.

    Returns
    -------
    list of dict
        As from `gates`; the three group gates are called ``donor (within group, frozen)`` and so on.
    """
    rows = panel.exact(np.arange(len(panel)))
    found = []
    for k, labels in enumerate([panel.labels, *coherent(panel.labels, n_null, seed)]):
        inside: dict[str, list[FloatArray]] = {RANDOM: [], DONOR: [], BRANCH: []}
        groups = [(DONOR, rows[panel.donors[rows] == donor]) for donor in sorted(set(panel.donors[rows]))]
        for gate, asked in [*_random_groups(rows, seed), *groups, *_branch_groups(panel, rows, labels)]:
            distances = angles(latents[asked], latents[asked])
            inside[gate].append(pair_correlations(panel, asked, labels, distances))
        both = latents[rows], inputs[rows]
        found.append(_latent_gates(panel, rows, labels, both, seed, k) | _group_gates(panel, inside))
    names = {gate: f"{gate.removesuffix(' holdout')} ({FROZEN})" for gate in (RANDOM, DONOR, BRANCH)}
    table = gate_rows(panel, found[0], found[1:])
    return [row | {"gate": names.get(row["gate"], row["gate"])} for row in table]


def gate_rows(panel: Panel, observed: GateValues, nulls: Sequence[GateValues]) -> list[dict]:
    """Lay outcomes out as the rows of ``gates.json``.

    Parameters
    ----------
    panel
        Gives the name.
    observed
        Outcomes under the true labels.
    nulls
        Outcomes of the null draws; a draw that is not computable counts neither way.

    Returns
    -------
    list of dict
        As from `gates`.
    """
    rows = []
    for (gate, pairs), outcome in observed.items():
        states = [null[gate, pairs].status(gate) for null in nulls]
        known = [state for state in states if state != "not computable"]
        rate = known.count("pass") / len(known) if known else float("nan")
        reason = outcome.reason
        if rate > UNINFORMATIVE and outcome.status(gate) == "pass":
            reason = f"uninformative: {rate:.0%} of {len(known)} null draws pass"
        rows.append(
            {
                "gate": gate,
                "panel": panel.name,
                "pairs": pairs,
                "value": outcome.value,
                "threshold": THRESHOLDS[gate],
                "status": outcome.status(gate),
                "reason": reason,
                "n": outcome.n,
                "p": outcome.p,
                "at_floor": outcome.at_floor,
                "null_pass_rate": rate,
            }
        )
    return rows


def _refits(
    panel: Panel, arm: Arm, labellings: Sequence[Labels], solver: Solver, seed: int
) -> Iterator[tuple[LetFit, FloatArray, tuple[int, str, list[IntArray]]]]:
    """Every refit, with the features of all anchors, its labelling, its gate and the groups to ask about."""
    rows = panel.exact(np.arange(len(panel)))

    def jobs() -> Iterator[tuple[LetProblem, tuple[FloatArray, tuple[int, str, list[IntArray]]]]]:
        for split in (panel.whole, *panel.splits):
            features = arm.features(split)
            settings = arm.setting(split)
            shared: dict[bytes, SpanBasis] = {}
            for k, labels in enumerate(labellings):
                for gate, train, groups in _groups(panel, rows, labels, split, seed):
                    ruler = panel.ruler(train, labels)
                    if not ruler.any():
                        continue
                    span = shared.get(train.tobytes()) or span_of(features[train])
                    if span is None:
                        continue
                    if gate != BRANCH:  # branches differ between labellings; their spans would only fill memory
                        shared[train.tobytes()] = span
                    yield LetProblem(span, ruler, settings.alpha, settings.ridge), (features, (k, gate, groups))

    for fit, (features, beside) in solver.stream(jobs()):
        yield fit, features, beside


def _groups(
    panel: Panel, rows: IntArray, labels: Labels, split: Split, seed: int
) -> Iterator[tuple[str, IntArray, list[IntArray]]]:
    """Gate, anchors to fit and groups to ask about: donors in the split that tests them, the rest in the whole."""
    if split.test_donors:
        donors = [rows[panel.donors[rows] == donor] for donor in split.test_donors]
        yield DONOR, panel.exact(panel.train(split)), [asked for asked in donors if len(asked)]
        return
    yield TRUST, rows, [rows]
    for gate, asked in [*_random_groups(rows, seed), *_branch_groups(panel, rows, labels)]:
        yield gate, np.setdiff1d(rows, asked), [asked]


def _random_groups(rows: IntArray, seed: int) -> list[tuple[str, IntArray]]:
    rng = stream(seed, "evidence random holdout")
    size = round(HELD_OUT_SHARE * len(rows))
    return [(RANDOM, np.sort(rng.choice(rows, size, replace=False))) for _ in range(N_REPEATS)]


def _branch_groups(panel: Panel, rows: IntArray, labels: Labels) -> list[tuple[str, IntArray]]:
    branch = np.array(labels.branch, dtype=object)[panel.classes[rows]]
    return [(BRANCH, rows[branch == name]) for name in sorted(set(branch))]


def _group_gates(panel: Panel, inside: dict[str, list[FloatArray]]) -> GateValues:
    found: GateValues = {}
    for gate, values in inside.items():
        table = np.array(values).reshape(-1, len(GATE_PAIRS))
        for column, pairs in enumerate(GATE_PAIRS):
            counted = table[np.isfinite(table[:, column]), column]
            reason = ""
            if gate == DONOR and len(set(panel.donors)) < 2:
                reason = "one donor only; nothing is left to fit when it is held out"
            elif len(counted) < MIN_GROUPS:
                reason = f"{len(counted)} of {len(table)} groups have 4 stages and a ruler that varies; 3 are needed"
            value = float("nan") if reason else float(counted.mean())
            found[gate, pairs] = GateValue(value, len(counted), reason)
    return found


def _latent_gates(
    panel: Panel, rows: IntArray, labels: Labels, whole: tuple[FloatArray, FloatArray] | None, seed: int, draw: int
) -> GateValues:
    """Trustworthiness and the blocked permutation, which look at the fit of all anchors."""
    if whole is None:
        missing = GateValue(n=len(rows), reason="one stage or constant features, so nothing can be fitted")
        return {(TRUST, GATE_PAIRS[0]): missing} | {(BLOCKED, pairs): missing for pairs in GATE_PAIRS}
    latents, inputs = whole
    found = {(TRUST, GATE_PAIRS[0]): _trust(inputs, latents)}
    n = N_PERMUTATIONS_NULL if draw else N_PERMUTATIONS
    rng = stream(seed, f"evidence blocked permutation {draw}")
    outcomes = blocked_p(panel, rows, labels, angles(latents, latents), n=n, rng=rng)
    return found | {(BLOCKED, pairs): _blocked(p, len(rows)) for pairs, p in zip(GATE_PAIRS, outcomes, strict=True)}


def _trust(inputs: FloatArray, latents: FloatArray) -> GateValue:
    from interp.geometry import trustworthiness

    found = trustworthiness(inputs, latents, k=TRUST_NEIGHBOURS)
    return GateValue(found.value, len(latents), found.reason)


def _blocked(outcome: BlockedP, n_anchors: int) -> GateValue:
    if outcome.reason:
        return GateValue(n=n_anchors, reason=outcome.reason)
    if outcome.floor > THRESHOLDS[BLOCKED]:
        reason = f"the labels can be laid out in too few ways: the smallest p is {outcome.floor:.2g}"
        return GateValue(n=outcome.n, reason=reason, p=outcome.p, at_floor=outcome.at_floor)
    return GateValue(outcome.p, outcome.n, p=outcome.p, at_floor=outcome.at_floor)
