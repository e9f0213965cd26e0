from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from interp.errors import InputError
from interp.geometry import PAIR_KINDS, ruler_agreement
from interp.geometry.agreement import _Pairs

N = 30


@pytest.fixture
def world():
    rng = np.random.default_rng(0)
    stages = np.arange(N) % 6
    hops = rng.integers(1, 6, (6, 6)).astype(float)
    hops = np.triu(hops, 1) + np.triu(hops, 1).T
    ruler = hops[np.ix_(stages, stages)]
    noise = rng.random((N, N))
    return ruler + 2 * (noise + noise.T), ruler, stages, np.array(list("ab"))[np.arange(N) % 4 // 2]


def readable(distances, ruler, stages, used):
    """Pair by pair; `used` None averages by pairs of different stages."""
    x, y = [], []
    cells = {}
    for i in range(len(stages)):
        for j in range(i):
            if used is None and stages[i] != stages[j]:
                key = tuple(sorted((stages[i], stages[j])))
                cells.setdefault(key, []).append((distances[i, j], ruler[i, j]))
            elif used is not None and used[i, j]:
                x.append(distances[i, j])
                y.append(ruler[i, j])
    if used is None:
        x, y = zip(*[np.mean(found, axis=0) for found in cells.values()], strict=True)
    return spearmanr(x, y).statistic, pearsonr(x, y).statistic


def test_all_kinds_equal_their_definitions(world):
    distances, ruler, stages, studies = world
    found = ruler_agreement(distances, ruler, stages=stages, studies=studies)
    masks = {"all": np.ones((N, N), bool), "different-stage": None, "within-study": studies[:, None] == studies}
    assert tuple(found) == PAIR_KINDS
    for kind, used in masks.items():
        values = found[kind].spearman.value, found[kind].pearson.value
        np.testing.assert_allclose(values, readable(distances, ruler, stages, used), rtol=1e-12)
    within = int(np.triu(masks["within-study"], 1).sum())
    assert [found[kind].n_pairs for kind in PAIR_KINDS] == [N * (N - 1) // 2, 15, within]
    assert np.isnan(found["all"].spearman.lo)


def test_the_order_of_the_points_does_not_matter(world):
    distances, ruler, stages, studies = world
    order = np.random.default_rng(1).permutation(N)
    at = np.ix_(order, order)
    found = ruler_agreement(distances, ruler, stages=stages, studies=studies)
    again = ruler_agreement(distances[at], ruler[at], stages=stages[order], studies=studies[order])
    for kind in PAIR_KINDS:
        assert again[kind].spearman.value == pytest.approx(found[kind].spearman.value, abs=1e-12)
        assert again[kind].pearson.value == pytest.approx(found[kind].pearson.value, abs=1e-12)


def test_copies_of_one_anchor_never_form_a_pair(world):
    distances, ruler, stages, _ = world
    twice = np.concatenate([np.arange(N), np.arange(N)])
    at = np.ix_(twice, twice)
    found = ruler_agreement(distances[at], ruler[at], stages=stages[twice], anchors=twice)
    single = ruler_agreement(distances, ruler, stages=stages)
    # every pair stands there four times, which no correlation sees
    for kind in PAIR_KINDS:
        assert found[kind].spearman.value == pytest.approx(single[kind].spearman.value)
    assert found["all"].n_pairs == 4 * single["all"].n_pairs
    with_copies = ruler_agreement(distances[at], ruler[at], stages=stages[twice])
    assert with_copies["all"].spearman.value != pytest.approx(single["all"].spearman.value, abs=1e-3)


def test_a_weight_of_two_is_a_copy(world):
    distances, ruler, stages, studies = world
    weights = np.random.default_rng(2).integers(0, 3, N)
    copies = np.repeat(np.arange(N), weights)
    at = np.ix_(copies, copies)
    weighted = _Pairs(distances, ruler, stages, studies, None)
    copied = _Pairs(distances[at], ruler[at], stages[copies], studies[copies], copies)
    for kind in PAIR_KINDS:
        np.testing.assert_allclose(weighted(kind, weights.astype(float)), copied(kind, None), rtol=1e-12)


def test_donors_give_an_interval_that_widens_with_fewer(world):
    distances, ruler, stages, studies = world
    many, few = np.arange(N) // 3, np.arange(N) // 10
    wide, narrow = (
        ruler_agreement(distances, ruler, stages=stages, studies=studies, donors=donors, n_boot=200)["all"].spearman
        for donors in (few, many)
    )
    assert narrow.lo < narrow.value < narrow.hi
    again = ruler_agreement(distances, ruler, stages=stages, studies=studies, donors=many, n_boot=200)
    assert again["all"].spearman == narrow
    assert np.isfinite([wide.lo, wide.hi]).all()
    one = ruler_agreement(distances, ruler, stages=stages, donors=np.zeros(N))
    assert np.isnan(one["all"].spearman.lo)


def test_a_bootstrap_over_points_covers_the_truth_of_independent_pairs():
    # 40 donors of 4 stages each on a line with noise: the interval holds the value of a very large panel
    rng = np.random.default_rng(3)

    def panel(n_donors):
        stages = np.tile(np.arange(5.0), n_donors)
        place = stages + rng.standard_normal(len(stages)) + np.repeat(rng.standard_normal(n_donors), 5)
        return np.abs(np.subtract.outer(place, place)), np.abs(np.subtract.outer(stages, stages)), stages

    truth = ruler_agreement(*panel(200)[:2], stages=np.tile(np.arange(5.0), 200))["all"].spearman.value
    held = 0
    for seed in range(20):
        distances, ruler, stages = panel(12)
        donors = np.repeat(np.arange(12), 5)
        found = ruler_agreement(distances, ruler, stages=stages, donors=donors, seed=seed, n_boot=200)["all"].spearman
        held += found.lo <= truth <= found.hi
    assert held >= 15


@pytest.mark.parametrize(
    ("change", "kind", "reason"),
    [
        (lambda d, r, s: (d, r, s % 3), "all", "cover 3 stages"),
        (lambda d, r, s: (d, r, s % 3), "different-stage", "cover 3 stages"),
        (lambda d, r, s: (d, np.ones_like(r), s), "all", "constant"),
        (lambda d, r, s: (np.ones_like(d), r, s), "different-stage", "constant"),
    ],
)
def test_not_computable_with_the_reason(world, change, kind, reason):
    distances, ruler, stages = change(*world[:3])
    found = ruler_agreement(distances, ruler, stages=stages, donors=np.arange(N) % 3, n_boot=10)[kind]
    for measured in (found.spearman, found.pearson):
        assert measured.against(0.2) == "not computable"
        assert reason in measured.reason


def test_a_stage_alone_in_its_study_is_in_no_pair_of_it(world):
    distances, ruler, _, _ = world
    found = ruler_agreement(distances[:5, :5], ruler[:5, :5], stages=np.arange(5), studies=list("aabcd"))
    assert found["within-study"].n_stages == 2
    assert found["all"].spearman.computable


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d, r, s: ruler_agreement(d, r[:3, :3], stages=s), r"\(30, 30\); one has shape \(3, 3\)"),
        (lambda d, r, s: ruler_agreement(np.where(d > 5, np.nan, d), r, stages=s), "finite"),
        (lambda d, r, s: ruler_agreement(d, r, stages=s[:-1]), "One stage per point"),
        (lambda d, r, s: ruler_agreement(d, r, stages=s, donors=s[:-1]), "One donor per point"),
    ],
)
def test_what_cannot_be_used_is_an_error(world, call, message):
    with pytest.raises(InputError, match=message):
        call(*world[:3])
