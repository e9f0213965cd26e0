import numpy as np
import pytest
from scipy.stats import spearmanr

from interp.evidence.pairs import GATE_PAIRS, blocked_p, pair_correlations
from interp.geometry.distances import angles


def reference(panel, rows, labels, distances, classes):
    """The definitions, pair by pair."""
    n = len(rows)
    studies = panel.studies[rows]
    pairs = [(i, j) for i in range(n) for j in range(i)]
    values = []
    for used in (pairs, None, [(i, j) for i, j in pairs if studies[i] == studies[j]]):
        if used is None:
            cells = {}
            for i, j in pairs:
                if classes[i] != classes[j]:
                    cells.setdefault(frozenset((classes[i], classes[j])), []).append(distances[i, j])
            x = [np.mean(found) for found in cells.values()]
            y = [labels.ruler[tuple(key)] for key in cells]
        else:
            x = [distances[i, j] for i, j in used]
            y = [labels.ruler[classes[i], classes[j]] for i, j in used]
        values.append(spearmanr(x, y).statistic)
    return values


@pytest.fixture
def group(planted):
    panel, _, _ = planted(n_donors=4, n_studies=2)
    rows = np.arange(0, len(panel), 2)
    latents = np.random.default_rng(0).normal(size=(len(rows), 3))
    return panel, rows, angles(latents, latents)


def test_pair_correlations_equal_their_definitions(group):
    panel, rows, distances = group
    found = pair_correlations(panel, rows, panel.labels, distances)
    np.testing.assert_allclose(found, reference(panel, rows, panel.labels, distances, panel.classes[rows]), atol=1e-12)


def test_fewer_than_four_stages_cannot_be_compared(group):
    panel, rows, distances = group
    three = panel.classes[rows] < 4
    assert len(set(panel.classes[rows][three])) == 3
    found = pair_correlations(panel, rows[three], panel.labels, distances[np.ix_(three, three)])
    assert np.isnan(found).all()


def test_blocked_p_equals_relabelling_one_by_one(group):
    panel, rows, distances = group
    found = blocked_p(panel, rows, panel.labels, distances, n=300, rng=np.random.default_rng(1))
    observed = reference(panel, rows, panel.labels, distances, panel.classes[rows])
    rng = np.random.default_rng(2)
    as_good = np.zeros(3)
    for _ in range(300):
        classes = panel.classes[rows].copy()
        for donor in set(panel.donors[rows]):
            mine = panel.donors[rows] == donor
            classes[mine] = rng.permutation(classes[mine])
        as_good += np.array(reference(panel, rows, panel.labels, distances, classes)) >= np.array(observed) - 1e-12
    # two samples of 300: a difference of 0.14 is 3.4 standard errors at p = 0.5
    np.testing.assert_allclose([outcome.p for outcome in found], (1 + as_good) / 301, atol=0.14)


def test_true_distances_put_p_at_its_floor(planted):
    panel, _, _ = planted(n_donors=4, n_studies=2)
    rows = np.arange(len(panel))
    ruler = panel.ruler(rows)
    for outcome in blocked_p(panel, rows, panel.labels, ruler, n=200, rng=np.random.default_rng(0)):
        assert outcome.at_floor
        assert outcome.p == pytest.approx(1 / 201)


def test_labels_that_cannot_move_have_a_floor_of_one(planted):
    panel, _, _ = planted(n_donors=1)
    panel.obs["tissue"] = [f"tissue{i}" for i in range(len(panel))]
    rows = np.arange(len(panel))
    outcomes = blocked_p(panel, rows, panel.labels, panel.ruler(rows), n=50, rng=np.random.default_rng(0))
    assert [outcome.floor for outcome in outcomes] == [1.0] * len(GATE_PAIRS)
    assert [outcome.p for outcome in outcomes] == [1.0] * len(GATE_PAIRS)
