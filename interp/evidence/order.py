"""The order endpoint: refit without a stage, then ask unseen donors where that stage lies among the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pandas as pd

from interp.evidence.fits import span_of
from interp.evidence.holdouts import PAIRS, HoldOut, leave_one_stage_out
from interp.extraction.let import LetProblem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from interp.evidence.arms import Arm, Settings
    from interp.evidence.fits import Solver
    from interp.evidence.panel import FloatArray, Labels, Panel

    K = TypeVar("K")
    # Features of all anchors, the refits, and what to fit each of them to.
    Work = tuple[FloatArray, Sequence[HoldOut], Sequence[tuple[Labels, Settings, K]]]

ORDER = "order"
COLUMNS = ("arm", "draw", "split", "donor", "stage", "pairs", "value")


def order_endpoint(panel: Panel, arms: Iterable[Arm], solver: Solver) -> pd.DataFrame:
    """Measure leave-one-stage-out order for many arms; arms that share a feature function share their bases.

    Parameters
    ----------
    panel
        The anchors.
    arms
        What to measure; neighbours with the same ``features`` are evaluated together.
    solver
        How adaptors are fitted.

    Returns
    -------
    pandas.DataFrame
        Long: arm, draw, split, donor, stage, pairs (``all`` or ``within-study``), value (Spearman, NaN where not
        computable). The stage is the true one, also under permuted labels.
    """
    arms = list(arms)
    records = []
    for split in panel.splits:
        refits = leave_one_stage_out(panel, split)
        work = (
            (group[0].features(split), refits, [(arm.labels or panel.labels, arm.setting(split), arm) for arm in group])
            for group in sharing(arms)
        )
        for arm, refit, values in hold_out_values(panel, work, solver):
            records += [
                (arm.name, arm.draw, split.id, donor, panel.labels.stages[stage], pairs, value)
                for donor, stage, row in zip(refit.donors, refit.stages, values.tolist(), strict=True)
                for pairs, value in zip(PAIRS, row, strict=True)
            ]
    return pd.DataFrame(records, columns=list(COLUMNS))


def donor_values(order: pd.DataFrame, pairs: str = PAIRS[0]) -> pd.DataFrame:
    """Average the order endpoint to one number per donor.

    Parameters
    ----------
    order
        From `order_endpoint`.
    pairs
        Which pairs count.

    Returns
    -------
    pandas.DataFrame
        endpoint, control (the arm), draw, donor, value: the mean over stages in a split, then over the donor's splits.
        The endpoint is ``order`` for all pairs, else it names the pairs.
    """
    rows = order[order["pairs"] == pairs]
    keys = ["arm", "draw", "donor"]
    by_split = rows.groupby([*keys, "split"], sort=True)["value"].mean()
    table = by_split.groupby(level=keys, sort=True).mean().reset_index().rename(columns={"arm": "control"})
    table.insert(0, "endpoint", ORDER if pairs == PAIRS[0] else f"{ORDER}, {pairs}")
    return table


def hold_out_values(panel: Panel, work: Iterable[Work[K]], solver: Solver) -> Iterator[tuple[K, HoldOut, FloatArray]]:
    """Refit and ask, for a stream of features.

    Parameters
    ----------
    panel
        The anchors.
    work
        Features of all anchors, hold-outs, and the labels and settings to fit, each with a key.
    solver
        How adaptors are fitted.

    Yields
    ------
    tuple
        The key, the hold-out and its values (question, pairs), in the order of the work; nothing where the features
        do not vary or the ruler is zero.
    """

    def jobs() -> Iterator[tuple[LetProblem, tuple[K, Labels, HoldOut, FloatArray]]]:
        for features, refits, targets in work:
            for refit in refits:
                span = span_of(features[refit.train])
                if span is None:
                    continue
                asked = span.coords(features[refit.asked])
                for labels, settings, key in targets:
                    ruler = panel.ruler(refit.train, labels)
                    if ruler.any():  # under branches alone nothing may be left to fit once a stage is out
                        yield LetProblem(span, ruler, settings.alpha, settings.ridge), (key, labels, refit, asked)

    for fit, (key, labels, refit, asked) in solver.stream(jobs()):
        yield key, refit, refit.order(labels, fit.from_coords(fit.basis.train), fit.from_coords(asked))


def sharing(arms: Sequence[Arm]) -> list[list[Arm]]:
    """Group neighbouring arms that have the same feature function."""
    groups: list[list[Arm]] = []
    for arm in arms:
        if groups and groups[-1][0].features is arm.features:
            groups[-1].append(arm)
        else:
            groups.append([arm])
    return groups


def mean_over_donors(answers: Iterable[tuple[HoldOut, FloatArray]], column: int = 0) -> float:
    """Average answers (question, pairs) over the stages of each donor, then over donors; NaN when there is none."""
    by_donor: dict[str, list[float]] = {}
    for refit, values in answers:
        for donor, value in zip(refit.donors, values[:, column].tolist(), strict=True):
            by_donor.setdefault(donor, []).append(value)
    means = [float(np.mean(known)) for donor in sorted(by_donor) if (known := [v for v in by_donor[donor] if v == v])]
    return float(np.mean(means)) if means else float("nan")
