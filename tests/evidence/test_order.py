from dataclasses import replace

import numpy as np
import pytest

from interp.evidence import CHOSEN, Arm, Settings, donor_values, order_endpoint
from interp.evidence.nulls import coherent


def mean_by_draw(panel, arms, solver):
    return donor_values(order_endpoint(panel, arms, solver)).groupby(["control", "draw"])["value"].mean()


@pytest.mark.parametrize(("ordered", "readable"), [(True, True), (False, False)])
def test_only_an_ordered_world_is_above_its_label_null(planted, solver, ordered, readable):
    panel, features, _ = planted(ordered=ordered)
    arm = Arm(CHOSEN, lambda _: features)
    nulls = [replace(arm, name="null", draw=i, labels=labels) for i, labels in enumerate(coherent(panel.labels, 19, 0))]
    means = mean_by_draw(panel, [arm, *nulls], solver)
    assert (means[CHOSEN, 0] > np.percentile(means["null"], 95)) == readable


def test_an_arm_has_the_same_order_alone_and_in_company(planted, solver):
    panel, features, _ = planted(n_donors=3)
    arm = Arm(CHOSEN, lambda _: features)
    other = replace(arm, name="other", labels=panel.labels.permuted(np.arange(len(panel.labels))[::-1]))
    third = Arm("third", lambda _: np.random.default_rng(0).normal(size=features.shape))
    alone = order_endpoint(panel, [arm], solver)
    together = order_endpoint(panel, [third, other, arm], solver)
    mine = together[together["arm"] == CHOSEN].reset_index(drop=True)
    assert mine.equals(alone)


def test_settings_of_a_split_reach_its_fits(planted, solver):
    panel, features, _ = planted(n_donors=3, noise=1.0)
    arm = Arm(CHOSEN, lambda _: features)
    stiff = replace(arm, settings={panel.splits[0].id: Settings(ridge=30.0)})
    plain, changed = (order_endpoint(panel, [a], solver) for a in (arm, stiff))
    differs = (plain["value"] != changed["value"]).groupby(plain["split"]).any()
    assert differs.to_dict() == {split.id: split is panel.splits[0] for split in panel.splits}


def test_donor_values_weigh_stages_alike(planted, solver):
    panel, features, _ = planted(n_donors=3)
    order = order_endpoint(panel, [Arm(CHOSEN, lambda _: features)], solver)
    table = donor_values(order).set_index("donor")["value"]
    rows = order[(order["donor"] == "donor1") & (order["pairs"] == "all")]
    assert len(rows) == len(panel.labels)
    assert table["donor1"] == pytest.approx(rows["value"].mean())
    assert sorted(table.index) == ["donor0", "donor1", "donor2"]


def test_a_stage_that_only_test_donors_have_is_asked_about(planted, solver):
    panel, features, _ = planted(n_donors=3)
    last = len(panel.labels) - 1
    kept = np.flatnonzero((panel.classes != last) | (panel.donors == "donor0"))
    panel = replace(panel, obs=panel.obs.iloc[kept].reset_index(drop=True), classes=panel.classes[kept])
    features = features[kept]
    order = order_endpoint(panel, [Arm(CHOSEN, lambda _: features)], solver)
    rare = order[(order["stage"] == panel.labels.stages[last]) & (order["pairs"] == "all")]
    assert rare["donor"].tolist() == ["donor0"]
    assert np.isfinite(rare["value"]).all()
