from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from interp.evidence.holdouts import MIN_STAGES, PAIRS, inner_hold_outs, leave_one_stage_out
from interp.geometry.distances import angles


def reference_order(panel, refit, latents, pairs):
    """The definition, one question at a time."""
    values = []
    study_of = dict(zip(panel.donors, panel.studies, strict=True))
    for donor, stage in zip(refit.donors, refit.stages, strict=True):
        mine = [i for i in refit.asked if panel.donors[i] == donor and panel.classes[i] == stage]
        distances, hops = [], []
        for other in sorted({panel.classes[j] for j in refit.train}):
            theirs = [j for j in refit.train if panel.classes[j] == other]
            if pairs == "within-study":
                theirs = [j for j in theirs if panel.studies[j] == study_of[donor]]
            if theirs:
                distances.append(np.mean([angles(latents[[i]], latents[[j]])[0, 0] for i in mine for j in theirs]))
                hops.append(panel.labels.ruler[stage, other])
        computable = len(hops) >= MIN_STAGES and len(set(hops)) > 1
        values.append(spearmanr(distances, hops).statistic if computable else np.nan)
    return values


@pytest.mark.parametrize("n_studies", [1, 2])
def test_order_equals_its_definition(planted, n_studies):
    panel, _, _ = planted(n_donors=4, n_folds=2, n_studies=n_studies)
    latents = np.random.default_rng(0).normal(size=(len(panel), 3))
    for refit in leave_one_stage_out(panel, panel.splits[0]):
        found = refit.order(panel.labels, latents[refit.train], latents[refit.asked])
        for column, pairs in enumerate(PAIRS):
            np.testing.assert_allclose(found[:, column], reference_order(panel, refit, latents, pairs), atol=1e-12)


def test_a_study_with_too_few_stages_has_no_within_study_order(planted):
    panel, _, _ = planted(n_donors=4, n_folds=2, n_studies=2)
    # the donors of study1 keep three stages
    kept = np.flatnonzero((panel.studies == "study0") | (panel.classes < 3))
    panel = replace(panel, obs=panel.obs.iloc[kept].reset_index(drop=True), classes=panel.classes[kept])
    latents = np.random.default_rng(0).normal(size=(len(panel), 3))
    seen = set()
    for split in panel.splits:
        for refit in leave_one_stage_out(panel, split):
            values = refit.order(panel.labels, latents[refit.train], latents[refit.asked])
            for donor, row in zip(refit.donors, values, strict=True):
                small = donor in ("donor1", "donor3")
                seen.add(small)
                assert np.isnan(row[1]) == small
                assert np.isfinite(row[0])
    assert seen == {True, False}


def test_neither_stage_nor_donor_asked_about_was_trained_on(planted):
    panel, _, _ = planted()
    for split in panel.splits:
        for refit in leave_one_stage_out(panel, split):
            assert set(panel.donors[refit.train]) == set(split.train_donors)
            assert set(panel.donors[refit.asked]) == set(split.test_donors)
            assert not set(panel.classes[refit.train]) & set(refit.stages)
            assert set(panel.classes[refit.train]) | set(refit.stages) == set(range(len(panel.labels)))


def test_inner_hold_outs_stay_inside_the_training_donors(planted):
    panel, _, _ = planted(n_donors=9)
    split = panel.splits[0]
    refits = inner_hold_outs(panel, split, seed=0)
    assert len(refits) == 3
    asked_donors, asked_stages = [], []
    for refit in refits:
        rows = np.concatenate([refit.train, refit.asked])
        assert set(panel.donors[rows]) <= set(split.train_donors)
        assert not set(panel.donors[refit.train]) & set(refit.donors)
        assert not set(panel.classes[refit.train]) & set(refit.stages)
        asked_donors += sorted(set(refit.donors))
        asked_stages += sorted(set(refit.stages))
    assert sorted(asked_donors) == sorted(split.train_donors)
    assert sorted(asked_stages) == list(range(len(panel.labels)))


def test_one_training_donor_holds_out_stages_only(planted):
    panel, _, _ = planted(n_donors=2, n_folds=2)
    refits = inner_hold_outs(panel, panel.splits[0], seed=0)
    assert refits
    for refit in refits:
        assert set(refit.donors) == set(panel.splits[0].train_donors)
        assert not set(panel.classes[refit.train]) & set(refit.stages)


def test_too_few_stages_leave_nothing_to_ask(planted):
    panel, _, _ = planted(stages=("HSC", "CMP", "GMP", "NK"), n_donors=4, n_folds=2)
    assert inner_hold_outs(panel, panel.splits[0], seed=0) == []
    assert leave_one_stage_out(panel, panel.splits[0]) == []
