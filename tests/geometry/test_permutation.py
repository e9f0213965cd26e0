from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from scipy.stats import spearmanr

from interp.errors import InputError
from interp.geometry import PAIR_KINDS, blocked_permutation
from interp.geometry import permutation as module
from interp.geometry.kernels import FEW, class_pair_sums, rank_correlations
from interp.geometry.permutation import arrangements, relabellings

STAGES = 5


@pytest.fixture
def world():
    """Distances that follow the ruler loosely: 3 blocks in 2 studies."""
    rng = np.random.default_rng(4)
    classes = np.array([0, 1, 2, 3, 4, 0, 2, 4, 1, 3, 1])
    blocks = np.array(list("aaaabbbbccc"))
    studies = np.array(list("xxxxxxxxyyy"))
    place = np.column_stack([classes, 0 * classes]) + 2 * rng.standard_normal((len(classes), 2))
    ruler = np.abs(np.subtract.outer(np.arange(5.0), np.arange(5.0)))
    return np.linalg.norm(place[:, None] - place[None], axis=2), ruler, classes, blocks, studies


def readable(distances, ruler, classes, studies):
    """Spearman over all pairs, over mean distances of stage pairs, and over pairs of one study, written out."""
    pairs = [(i, j) for i in range(len(classes)) for j in range(i)]
    cells = {}
    for i, j in pairs:
        if classes[i] != classes[j]:
            cells.setdefault(tuple(sorted((classes[i], classes[j]))), []).append(distances[i, j])
    lists = [
        ([distances[p] for p in pairs], [ruler[classes[i], classes[j]] for i, j in pairs]),
        ([np.mean(found) for found in cells.values()], [ruler[key] for key in cells]),
    ]
    pairs = [(i, j) for i, j in pairs if studies[i] == studies[j]]
    lists.append(([distances[p] for p in pairs], [ruler[classes[i], classes[j]] for i, j in pairs]))
    return np.array([spearmanr(x, y).statistic for x, y in lists])


def every_arrangement(classes, blocks):
    places = [np.flatnonzero(blocks == block) for block in sorted(set(blocks))]
    for orders in product(*[sorted(set(permutations(classes[at].tolist()))) for at in places]):
        labels = classes.copy()
        for at, order in zip(places, orders, strict=True):
            labels[at] = order
        yield labels


def test_a_tiny_panel_is_enumerated_and_equals_the_enumeration_written_out(world):
    distances, ruler, classes, blocks, studies = world
    rows = np.r_[0:4, 8:11]
    distances, classes, blocks, studies = distances[np.ix_(rows, rows)], classes[rows], blocks[rows], studies[rows]
    observed = readable(distances, ruler, classes, studies)
    values = np.array([readable(distances, ruler, labels, studies) for labels in every_arrangement(classes, blocks)])
    found = blocked_permutation(
        distances, ruler, classes, blocks, studies=studies, rng=np.random.default_rng(0), n=1000
    )
    assert len(values) == arrangements(classes, np.unique(blocks, return_inverse=True)[1]) == 24 * 3
    for column, kind in enumerate(PAIR_KINDS):
        assert found[kind].exact
        assert found[kind].n == 72
        assert found[kind].floor == pytest.approx(1 / 72)
        assert found[kind].p == pytest.approx((values[:, column] >= observed[column] - 1e-12).mean())
        assert found[kind].at_floor == ((values[:, column] >= observed[column] - 1e-12).sum() == 1)


def test_drawn_p_equals_a_loop_over_the_same_relabellings(world):
    distances, ruler, classes, blocks, studies = world
    groups = np.unique(blocks, return_inverse=True)[1]
    drawn = np.concatenate(list(relabellings(classes, groups, 700, np.random.default_rng(5))))
    values = np.array([readable(distances, ruler, labels, studies) for labels in drawn])
    as_high = (values >= readable(distances, ruler, classes, studies) - 1e-12).sum(axis=0)
    found = blocked_permutation(distances, ruler, classes, blocks, studies=studies, rng=np.random.default_rng(5), n=700)
    assert [outcome.p for outcome in found.values()] == pytest.approx(((1 + as_high) / 701).tolist(), abs=1e-15)
    assert not any(outcome.exact for outcome in found.values())


def test_drawn_p_is_close_to_the_full_enumeration(world):
    distances, ruler, classes, blocks, _ = world
    exact = blocked_permutation(distances, ruler, classes, blocks, rng=np.random.default_rng(0), n=100_000)
    drawn = blocked_permutation(distances, ruler, classes, blocks, rng=np.random.default_rng(0), n=1500)
    for kind in PAIR_KINDS:
        assert exact[kind].exact
        p = exact[kind].p
        assert drawn[kind].p == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / 1500) + 1 / 1500)


def test_neither_threads_nor_the_order_of_points_change_an_exact_p(world):
    distances, ruler, classes, blocks, studies = world
    distances = np.round(distances)  # means of stage pairs tie up to rounding
    one, three = (
        blocked_permutation(
            distances, ruler, classes, blocks, studies=studies, rng=np.random.default_rng(1), n=1001, n_threads=n
        )
        for n in (1, 3)
    )
    assert one == three
    order = np.random.default_rng(2).permutation(len(classes))
    rng = np.random.default_rng(0)
    exact = [
        blocked_permutation(d, ruler, classes[o], blocks[o], studies=studies[o], rng=rng, n=100_000)
        for o, d in ((np.arange(len(order)), distances), (order, distances[np.ix_(order, order)]))
    ]
    assert exact[0] == exact[1]


@pytest.mark.parametrize("width", [1, 7, 100])
@pytest.mark.parametrize("kind", [np.float64, np.int32])
def test_the_sums_equal_products_with_one_hot_labels(width, kind):
    rng = np.random.default_rng(6)
    matrix = (1000 * rng.random((40, 40))).astype(kind)
    stops = np.repeat([13, 40], [13, 27])
    used = np.triu(np.ones((40, 40)), 1) * (np.arange(40) < stops[:, None])
    classes = rng.integers(0, 6, (9, 40))
    out = np.empty((9, 6, 6))
    class_pair_sums(matrix, stops, classes, width, out)
    for labels, sums in zip(classes, out, strict=True):
        hot = np.eye(6)[labels]
        np.testing.assert_allclose(sums, (hot.T @ (matrix * used) @ hot).T, rtol=1e-12)


def test_rank_correlations_are_spearman():
    rng = np.random.default_rng(7)
    values, target = rng.integers(0, 5, (20, 12)).astype(float), rng.permutation(12) - 5.5
    values[0] = 3.0
    found = np.empty(20)
    rank_correlations(values, target, found)
    expected = [0.0, *[spearmanr(row, target).statistic for row in values[1:]]]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_ranks_beyond_32_bits_give_the_same_p(world, monkeypatch):
    distances, ruler, classes, blocks, studies = world
    found = []
    for kind in (np.int32, np.float64):
        monkeypatch.setattr(module.np, "int32", kind)
        rng = np.random.default_rng(5)
        found.append(blocked_permutation(distances, ruler, classes, blocks, studies=studies, rng=rng, n=300))
    assert found[0] == found[1]


def test_some_kinds_only(world):
    distances, ruler, classes, blocks, studies = world
    given = {"studies": studies, "n": 300}
    every = blocked_permutation(distances, ruler, classes, blocks, rng=np.random.default_rng(5), **given)
    for kind in PAIR_KINDS:
        rng = np.random.default_rng(5)
        one = blocked_permutation(distances, ruler, classes, blocks, rng=rng, kinds=[kind], **given)
        assert one == {kind: every[kind]}


def test_relabellings_keep_the_labels_of_every_block(world):
    _, _, classes, blocks, _ = world
    groups = np.unique(blocks, return_inverse=True)[1]
    drawn = np.concatenate(list(relabellings(classes, groups, 600, np.random.default_rng(0))))
    assert drawn.shape == (600, len(classes))
    for block in range(3):
        at = groups == block
        assert (np.sort(drawn[:, at], axis=1) == np.sort(classes[at])).all()
    assert len(np.unique(drawn, axis=0)) > 300


@pytest.mark.parametrize("size", [3, FEW + 9])
def test_labels_are_dealt_by_the_order_of_random_keys(size):
    rng = np.random.default_rng(1)
    blocks, classes = rng.integers(0, 4, 4 * size), rng.integers(0, 9, 4 * size)
    drawn = next(relabellings(classes, blocks, 20, np.random.default_rng(2)))
    for labels, keys in zip(drawn, np.random.default_rng(2).random(drawn.shape), strict=True):
        for block in range(4):
            at = np.flatnonzero(blocks == block)
            np.testing.assert_array_equal(labels[at], classes[at][np.argsort(keys[at])])


def test_labels_that_cannot_move_have_a_floor_of_one(world):
    distances, ruler, classes, _, _ = world
    found = blocked_permutation(distances, ruler, classes, np.arange(len(classes)), rng=np.random.default_rng(0))
    for outcome in found.values():
        assert (outcome.p, outcome.floor, outcome.n) == (1.0, 1.0, 1)


def test_what_has_no_correlation_has_no_p(world):
    distances, ruler, classes, blocks, _ = world
    three = classes % 3
    found = blocked_permutation(distances, ruler, three, blocks, rng=np.random.default_rng(0), n=10)
    assert all("cover 3 stages" in outcome.reason and np.isnan(outcome.p) for outcome in found.values())
    assert not any(outcome.at_floor for outcome in found.values())


@pytest.mark.parametrize(
    ("classes", "blocks", "ways"),
    [([0, 1, 2], [0, 0, 0], 6), ([0, 0, 1], [0, 0, 0], 3), ([0, 1, 2, 3], [0, 0, 1, 1], 4), ([0, 1], [0, 1], 1)],
)
def test_arrangements_by_hand(classes, blocks, ways):
    assert arrangements(np.array(classes), np.array(blocks)) == ways


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"studies": list("xyxxxxxxyyy")}, "over two studies"),
        ({"blocks": list("ab")}, r"One block per point is needed, \(11,\)"),
        ({"ruler": np.ones((5, 4))}, r"\(class, class\)"),
        ({"ruler": np.ones((4, 4))}, "class 4, but the ruler has 4"),
        ({"n": 0}, "at least 1"),
        ({"kinds": ["some"]}, r"\['some'\] given"),
        ({"kinds": []}, r"\[\] given"),
    ],
)
def test_what_cannot_be_used_is_an_error(world, change, message):
    distances, ruler, classes, blocks, studies = world
    given = {"ruler": ruler, "classes": classes, "blocks": blocks, "studies": studies} | change
    with pytest.raises(InputError, match=message):
        blocked_permutation(distances, rng=np.random.default_rng(0), **given)
