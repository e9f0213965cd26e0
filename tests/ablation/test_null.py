from math import comb

import numpy as np
import pytest

from interp.ablation.null import HeadSetNull, random_sets

NAMED = ((0, 1), (2, 0), (2, 3))


def test_all_sets_of_the_same_layers_but_the_named_one():
    draws, whole = random_sets((NAMED, NAMED), 4)
    assert whole
    assert len(draws) == comb(4, 1) * comb(4, 2) - 1
    assert len(set(draws)) == len(draws)
    assert all(first == second != NAMED for first, second in draws)
    for heads, _ in draws:
        assert sorted(layer for layer, _ in heads) == [0, 2, 2]
        assert len(set(heads)) == 3


def test_many_sets_are_drawn_without_repeats_by_the_seed():
    draws, whole = random_sets((NAMED,), 12, most=200)
    assert not whole
    assert len(set(draws)) == len(draws) == 200
    assert (NAMED,) not in draws
    assert draws == random_sets((NAMED,), 12, most=200)[0]
    assert draws != random_sets((NAMED,), 12, most=200, seed=1)[0]
    counts = np.bincount([heads[0][1] for (heads,) in draws], minlength=12)
    assert counts.min() > 4  # every head of the layer is drawn, 17 times in the mean


def test_one_more_than_asked_for_is_drawn_and_not_cut_off_in_order():
    draws, whole = random_sets((((0, 0),),), 30, most=20)
    assert not whole
    assert len(draws) == 20
    assert [heads for (heads,) in draws] != sorted(heads for (heads,) in draws)


def test_folds_that_lie_alike_share_a_draw():
    alike, other = ((0, 2), (2, 0), (2, 1)), ((1, 0), (1, 1), (1, 2))
    draws, whole = random_sets((NAMED, alike, other), 4)
    assert whole
    assert all(first == second for first, second, _ in draws)
    # nothing is left out: no shared draw is the named one in every fold
    assert len(draws) == comb(4, 1) * comb(4, 2) * comb(4, 3)


def test_a_whole_layer_has_no_other_set():
    assert random_sets((((1, 0), (1, 1)),), 2) == ([], True)


def null(drop, masked, *, whole=True, replacement="mean", loss=1.0):
    drop, masked = np.asarray(drop, float), np.asarray(masked, float)
    draws = tuple((((0, place + 1),),) for place in range(len(drop) - 1))
    donors = tuple(f"d{place}" for place in range(drop.shape[1]))
    return HeadSetNull((((0, 0),),), replacement, "auroc", "stage", donors, drop, masked, loss, draws, whole, 0)


def test_the_statistic_takes_off_the_damage_to_the_model_in_the_readouts_units():
    found = null([[0.4, 0.2], [0.1, 0.1], [0.0, 0.0]], [[2.0, 2.0], [0.0, 0.0], [4.0, 4.0]])
    drop, masked = np.array([0.3, 0.1, 0.0]), np.array([2.0, 0.0, 4.0])
    expected = drop - drop.std() * (masked - 2.0) / masked.std()
    np.testing.assert_allclose(found.statistic, expected)
    assert found.p == pytest.approx(1 / 3)
    assert found.smallest_p == pytest.approx(1 / 3)
    assert found.excess["value"] == pytest.approx(0.3 - 0.05)


def test_a_set_that_only_breaks_the_model_is_not_above_the_others():
    rng = np.random.default_rng(0)
    masked = rng.uniform(0, 1, (20, 1)).repeat(5, axis=1)
    masked[0] = 2.0  # the named set hurts the model most, and the readout in proportion
    found = null(0.1 * masked + 0.001 * rng.standard_normal((20, 5)), masked)
    assert found.mean_drop.argmax() == 0
    assert found.p > 0.05
    spared = null(0.1 * masked, masked.mean() + 0.0 * masked)
    assert spared.p == pytest.approx(1 / 20)


def test_differences_of_the_loss_under_a_hundredth_of_it_are_no_damage():
    drop = np.zeros((10, 4))
    drop[0] = 0.3
    masked = np.linspace(0, 1e-4, 10)[::-1, None].repeat(4, axis=1)  # the named set first by far, but by nothing
    assert null(drop, masked).statistic[0] == pytest.approx(0.3, abs=0.01)
    strict = null(drop, masked, loss=1e-5)
    assert strict.statistic[0] < 0.2


def test_sets_that_change_nothing_tie():
    found = null(np.zeros((5, 3)), np.zeros((5, 3)))
    assert found.p == 1.0


def test_equal_sets_tie_whatever_the_order_of_their_sums():
    found = null([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [0.0, 0.0, 0.0]], np.zeros((3, 3)))
    assert found.p == pytest.approx(2 / 3)


def test_the_table_holds_every_set():
    table = null([[0.4, 0.2], [0.1, 0.1]], np.zeros((2, 2))).table()
    assert table["heads"].tolist() == ["L0H0", "L0H1"]
    assert table["draw"].tolist() == [0, 1]
    assert table.loc[0, ["lo", "hi"]].tolist() == pytest.approx([0.2, 0.4])
    assert table.loc[1, ["lo", "hi"]].isna().all()
