from dataclasses import replace

import numpy as np
import pytest

from interp.evidence import CHOSEN, Arm, secondary_endpoints
from interp.evidence.endpoints import BRANCH, PSEUDOTIME, STAGE, balanced, depth_correlation


def means(table):
    return table.groupby(["endpoint", "control"])["value"].mean()


def test_a_clear_ordered_world_is_read_and_noise_is_not(planted, solver):
    panel, features, _ = planted()
    noise = np.random.default_rng(0).normal(size=features.shape)
    table = secondary_endpoints(panel, [Arm(CHOSEN, lambda _: features), Arm("noise", lambda _: noise)], solver)
    found = means(table)
    assert found[STAGE, CHOSEN] > 0.8
    assert found[BRANCH, CHOSEN] > 0.8
    assert found[PSEUDOTIME, CHOSEN] > 0.6
    assert found[STAGE, "noise"] < 0.5
    assert abs(found[PSEUDOTIME, "noise"]) < 0.5
    assert sorted(set(table["donor"])) == sorted(set(panel.donors))


def test_permuted_labels_ask_for_permuted_depth_and_branch(planted, solver):
    panel, features, _ = planted(n_donors=3)
    order = np.roll(np.arange(len(panel.labels)), 3)
    labels = panel.labels.permuted(order)
    arm = replace(Arm(CHOSEN, lambda _: features), labels=labels)
    # the same anchors, whose stages truly are the permuted ones
    renamed = replace(panel, labels=labels)
    expected = secondary_endpoints(renamed, [Arm(CHOSEN, lambda _: features)], solver)
    assert secondary_endpoints(panel, [arm], solver).equals(expected)


def test_stages_that_training_donors_lack_are_not_asked_for(planted, solver):
    panel, features, _ = planted(n_donors=3)
    last = len(panel.labels) - 1
    kept = np.flatnonzero((panel.classes != last) | (panel.donors == "donor0"))
    smaller = replace(panel, obs=panel.obs.iloc[kept].reset_index(drop=True), classes=panel.classes[kept])
    table = secondary_endpoints(smaller, [Arm(CHOSEN, lambda _: features[kept])], solver)
    row = table[(table["endpoint"] == STAGE) & (table["donor"] == "donor0")]
    assert row["value"].item() == pytest.approx(1.0)


def test_balanced_accuracy_by_hand():
    assert balanced(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])) == pytest.approx((2 / 3 + 1) / 2)
    assert np.isnan(balanced(np.array([0, 0]), np.array([0, 0])))


def test_pseudotime_is_signed_and_needs_three_depths(planted):
    panel, _, _ = planted()
    labels = panel.labels
    order = np.argsort(labels.depth, kind="stable")
    angle = np.linspace(0.0, 2.0, len(order))
    latents = np.column_stack([np.cos(angle), np.sin(angle)])
    root = latents[0]
    assert depth_correlation(latents, order, labels, root) > 0.9
    assert depth_correlation(latents, order, labels, latents[-1]) < -0.9
    assert np.isnan(depth_correlation(latents[:2], order[:2], labels, root))
