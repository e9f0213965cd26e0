"""Hold-outs: which anchors an adaptor is refitted on, and which unseen donor's unseen stage it is then asked about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interp.geometry.agreement import MIN_STAGES
from interp.geometry.distances import angles
from interp.geometry.ranks import row_spearman
from interp.runs.seeds import stream
from interp.stats import Split, donor_folds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from interp.evidence.panel import FloatArray, IntArray, Labels, Panel

# Pairs that count: all other stages, or those of the asked donor's own study only.
PAIRS = ("all", "within-study")
# Hold-outs of the inner criterion, each a donor fold times a group of stages.
N_INNER = 3


@dataclass(frozen=True, eq=False)
class HoldOut:
    """One refit.

    Attributes
    ----------
    train
        Anchors that the adaptor is fitted on, (train,).
    asked
        Anchors of donors and stages that it has not seen, (asked,).
    donors, stages
        The questions: one per unseen donor and stage, (question,).
    weights
        Mean over a question's anchors, (question, asked).
    views
        For each way to count pairs, the questions and the stages they are compared with.
    """

    train: IntArray
    asked: IntArray
    donors: tuple[str, ...]
    stages: IntArray
    weights: FloatArray
    views: tuple[View, ...]

    def order(self, labels: Labels, trained: FloatArray, asked: FloatArray) -> FloatArray:
        """Correlate the distances from each asked group to the other stages with the ruler.

        Parameters
        ----------
        labels
            Labels the adaptor was fitted to.
        trained, asked
            Latents of the training and of the asked anchors, (train, latent) and (asked, latent).

        Returns
        -------
        numpy.ndarray
            Spearman correlation, (question, pairs); NaN where there are too few stages or the ruler is constant.
        """
        means = self.weights @ angles(asked, trained)
        values = np.full((len(self.donors), len(PAIRS)), np.nan)
        for view in self.views:
            hops = labels.ruler[np.ix_(self.stages[view.questions], view.stages)]
            found = row_spearman(means[view.questions] @ view.average, hops)
            values[np.ix_(view.questions, view.columns)] = found[:, None]
        return values


@dataclass(frozen=True, eq=False)
class View:
    """One way to count pairs: columns of `PAIRS`, the questions, the stages and the mean over each stage's anchors.

    ``columns`` (some pairs,), ``questions`` (some question,), ``stages`` (other stage,), ``average`` (train, other
    stage).
    """

    columns: IntArray
    questions: IntArray
    stages: IntArray
    average: FloatArray


def leave_one_stage_out(panel: Panel, split: Split) -> list[HoldOut]:
    """List the refits of the order endpoint: the training donors without one stage, asked about it in each test donor.

    Parameters
    ----------
    panel
        The anchors.
    split
        A donor split.

    Returns
    -------
    list of HoldOut
        One per stage that a test donor has, in the order of the classes; those that nothing can be asked of are left
        out.
    """
    train, test = panel.exact(panel.train(split)), panel.exact(panel.test(split))
    stages = np.unique(panel.classes[test])
    found = (_hold_out(panel, train[panel.classes[train] != s], test[panel.classes[test] == s]) for s in stages)
    return [item for item in found if item is not None]


def inner_hold_outs(panel: Panel, split: Split, seed: int) -> list[HoldOut]:
    """List the refits of the inner criterion, all inside the training donors of a split.

    Stages are dealt into three groups and donors into three folds; hold-out i leaves out group i and fold i, and asks
    about group i in fold i. With one training donor, or where no fold has a stage of its group, only stages are held
    out.

    Parameters
    ----------
    panel
        The anchors.
    split
        A donor split.
    seed
        Seed of the dealing.

    Returns
    -------
    list of HoldOut
        At most three; none when there are too few stages.
    """
    train = panel.exact(panel.train(split))
    groups = _stage_groups(panel, train, seed, split.id)
    donors = panel.donors[train]
    n_folds = min(N_INNER, len(set(donors)))
    if n_folds > 1:
        strata = panel.studies[train]
        folds = donor_folds(donors, n_folds, seed, strata=strata)
        found = (_without(panel, train, group, folds[k % n_folds].test_donors) for k, group in enumerate(groups))
        if inner := [item for item in found if item is not None]:
            return inner
    found = (_without(panel, train, group, None) for group in groups)
    return [item for item in found if item is not None]


def grouped_hold_outs(panel: Panel, split: Split, seed: int) -> list[HoldOut]:
    """List refits that leave out a third of the stages at a time and ask the test donors about it.

    A cheaper relative of `leave_one_stage_out`, for scanning every head.

    Parameters
    ----------
    panel
        The anchors.
    split
        A donor split; the one without test donors has none.
    seed
        Seed of the dealing.

    Returns
    -------
    list of HoldOut
        At most three.
    """
    train, test = panel.exact(panel.train(split)), panel.exact(panel.test(split))
    found = (
        _hold_out(panel, train[~np.isin(panel.classes[train], group)], test[np.isin(panel.classes[test], group)])
        for group in _stage_groups(panel, train, seed, split.id)
    )
    return [item for item in found if item is not None]


def _without(panel: Panel, train: IntArray, group: IntArray, donors: tuple[str, ...] | None) -> HoldOut | None:
    in_group = np.isin(panel.classes[train], group)
    if donors is None:
        return _hold_out(panel, train[~in_group], train[in_group])
    in_fold = np.isin(panel.donors[train], donors)
    return _hold_out(panel, train[~in_group & ~in_fold], train[in_group & in_fold])


def _stage_groups(panel: Panel, train: IntArray, seed: int, split_id: str) -> list[IntArray]:
    """Deal stages into groups, those of most donors first, so that each group is found in many donors."""
    stages = np.unique(panel.classes[train])
    size = min(-(-len(stages) // N_INNER), len(stages) - MIN_STAGES)
    if size < 1:
        return []
    n_donors = np.array([len(set(panel.donors[train[panel.classes[train] == s]])) for s in stages])
    shuffled = stream(seed, f"inner stages {split_id}").permutation(len(stages))
    dealt = stages[shuffled[np.argsort(-n_donors[shuffled], kind="stable")]]
    return [np.sort(dealt[k::N_INNER][:size]) for k in range(N_INNER) if len(dealt[k::N_INNER])]


def _hold_out(panel: Panel, train: IntArray, asked: IntArray) -> HoldOut | None:
    if len(asked) == 0 or len(np.unique(panel.classes[train])) < MIN_STAGES:
        return None
    keys = sorted(set(zip(panel.donors[asked], panel.classes[asked].tolist(), strict=True)))
    donors, stages = tuple(donor for donor, _ in keys), np.array([stage for _, stage in keys], dtype=np.int64)
    weights = np.array([(panel.donors[asked] == d) & (panel.classes[asked] == s) for d, s in keys], dtype=np.float64)
    weights /= weights.sum(axis=1, keepdims=True)
    return HoldOut(train, asked, donors, stages, weights, tuple(_views(panel, train, donors)))


def _views(panel: Panel, train: IntArray, donors: tuple[str, ...]) -> Iterable[View]:
    every = np.arange(len(donors))
    # With one study both ways to count pairs are the same.
    one_study = len(set(panel.studies)) == 1
    columns = np.arange(len(PAIRS) if one_study else 1)
    yield View(columns, every, *_stage_means(panel, train, np.ones(len(train), dtype=bool)))
    if one_study:
        return
    study_of = dict(zip(panel.donors, panel.studies, strict=True))
    studies = np.array([study_of[donor] for donor in donors], dtype=object)
    for study in sorted(set(studies)):
        stages, average = _stage_means(panel, train, panel.studies[train] == study)
        if len(stages) >= MIN_STAGES:
            yield View(np.array([1]), every[studies == study], stages, average)


def _stage_means(panel: Panel, train: IntArray, used: np.ndarray) -> tuple[IntArray, FloatArray]:
    classes = panel.classes[train]
    stages = np.unique(classes[used])
    average = ((classes[:, None] == stages) & used[:, None]).astype(np.float64)
    return stages, average / average.sum(axis=0)
