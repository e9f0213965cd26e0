import numpy as np
import pandas as pd
import pytest

from interp.errors import InputError
from interp.figures import head_heatmap
from interp.figures.look import text_of

from .conftest import scores, words


def hatched(ax, hatch):
    return {(int(p.get_y() + 0.5), int(p.get_x() + 0.5)) for p in ax.patches if p.get_hatch() == hatch}


def framed(ax):
    return {(int(p.get_y() + 0.5), int(p.get_x() + 0.5)) for p in ax.patches if p.get_linewidth() == 1.4}


def test_every_head_shows_its_best_operator_and_the_best_head_is_named():
    ax = head_heatmap(scores(), metric="order")
    shown = ax.images[0].get_array()
    np.testing.assert_allclose(shown, 0.01 * np.arange(12).reshape(3, 4))
    note = text_of(ax, "note")
    assert "highest L2H3 0.11" in note
    assert "one of 2 operators a head, best on this score" in note
    assert "15 held-out donors" in note


def test_ties_are_hatched_and_counted():
    ax = head_heatmap(scores(), metric="order")
    assert hatched(ax, "////") == {(2, 2), (2, 3)}
    assert "2 of 12 heads tied within the floor" in text_of(ax, "note")
    assert "tied within the floor" in words(ax)


def test_no_head_of_several_tied_ones_is_framed_as_the_best():
    assert framed(head_heatmap(scores(), metric="order")) == set()
    assert "best head" not in words(head_heatmap(scores(), metric="order"))
    assert framed(head_heatmap(scores().assign(floor=0.005), metric="order")) == {(2, 3)}


def test_ties_are_with_the_best_head_also_where_the_drift_is_better():
    table = scores().assign(floor=0.025, tied=False)
    assert hatched(head_heatmap(table, metric="order"), "////") == {(2, 1), (2, 2), (2, 3)}


def test_without_a_floor_the_ties_given_are_drawn():
    assert hatched(head_heatmap(scores().drop(columns="floor"), metric="order"), "////") == {(2, 2), (2, 3)}


def test_a_head_alone_is_not_tied():
    ax = head_heatmap(scores().assign(floor=0.005), metric="order")
    assert not hatched(ax, "////")
    assert "best L2H3 0.11" in text_of(ax, "note")


def test_the_null_drawn_is_the_best_heads_own():
    table = scores()
    table.loc[table["value"] < 0.1, ["null_mean", "floor"]] = 0.7, 0.5
    assert "null mean 0.02" in words(head_heatmap(table, metric="order"))


def test_null_and_floor_are_marked_on_the_colour_bar():
    ax = head_heatmap(scores(), metric="order")
    (bar,) = ax.child_axes
    assert any(np.allclose(line.get_ydata(), 0.02) for line in bar.lines)
    floor = next(p for p in bar.patches if p.get_hatch())
    assert (floor.get_y(), floor.get_height()) == pytest.approx((0.02, 0.015))
    assert "null mean 0.02" in words(ax)


def test_heads_above_the_level_are_hatched_in_place_of_ties():
    table = scores().assign(q=[0.2, 0.01] * 6 + [0.04] * 13)
    best = table[table["name"] == "mean out"]
    ax = head_heatmap(best, metric="order", alpha=0.05)
    weak = {(int(row["layer"]), int(row["head"])) for _, row in best.iterrows() if row["q"] >= 0.05}
    assert 0 < len(weak) < 12
    assert hatched(ax, "////") == weak
    assert f"{12 - len(weak)} of 12 heads with q < 0.05" in text_of(ax, "note")
    assert "not significant (q \u2265 0.05)" in words(ax)
    assert "tied within the floor" in text_of(ax, "note")
    with pytest.raises(InputError, match="lacks the column"):
        head_heatmap(scores(), metric="order", alpha=0.05)


def test_small_scores_can_have_more_decimals():
    ax = head_heatmap(scores().assign(value=lambda table: table["value"] / 10), metric="order", digits=4)
    assert "0.0110" in words(ax)
    assert "highest L2H3 0.0110" in text_of(ax, "note")
    assert "null mean 0.0200" in words(ax)


def test_heads_without_a_value_are_crossed_out_and_named():
    table = scores()
    table.loc[table["head"] == 1, "value"] = np.nan
    ax = head_heatmap(table, metric="order")
    assert hatched(ax, "xxxx") == {(0, 1), (1, 1), (2, 1)}
    assert "not computable" in words(ax)


def test_no_head_computable_is_said():
    assert "no head computable" in text_of(head_heatmap(scores().assign(value=np.nan), metric="order"), "note")


def test_the_operator_of_a_held_out_score_is_chosen_on_training_donors():
    held_out = scores()
    select = held_out.assign(role="select", value=-held_out["value"])  # training donors prefer the other operator
    names = [f"L{layer}H{head}.{name}" for layer, head, name in held_out[["layer", "head", "name"]].to_numpy()]
    table = pd.concat([held_out.assign(name=names), select.assign(name=names)])
    ax = head_heatmap(table, metric="order")
    np.testing.assert_allclose(ax.images[0].get_array(), 0.01 * np.arange(12).reshape(3, 4) - 0.3)
    assert "one of 2 operators a head, best on training donors" in text_of(ax, "note")


def test_scores_are_preferred_to_selections_and_both_can_be_asked_for():
    table = pd.concat([scores(), scores().assign(role="select", value=0.7)])
    assert "L2H3 0.11" in text_of(head_heatmap(table, metric="order"), "note")
    assert "training donors" in text_of(head_heatmap(table, metric="order", role="select"), "note")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metric": "trust"}, "the table has trust"),
        ({"layer": np.nan}, "No head"),
    ],
)
def test_a_choice_that_leaves_nothing_is_an_error(change, said):
    with pytest.raises(InputError, match=said):
        head_heatmap(scores().assign(**change), metric="order")


def test_several_targets_must_be_told_apart():
    table = scores()
    table.loc[::2, "target"] = "branch"
    with pytest.raises(InputError, match="several targets"):
        head_heatmap(table, metric="order")
    head_heatmap(table, metric="order", target="branch")


def test_a_missing_column_is_named():
    with pytest.raises(InputError, match="lacks the column"):
        head_heatmap(scores().drop(columns="value"), metric="order")
