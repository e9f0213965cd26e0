import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from interp.errors import InputError
from interp.figures import ablation_bars, gradient_scatter, redundancy_matrix
from interp.figures.look import OBSERVED, REFERENCE, text_of

from .conftest import ablated, head_pairs, set_draws, words


def bars(ax):
    """Heights by place, and which are filled."""
    found = [patch for patch in ax.patches if to_hex(patch.get_edgecolor()) == OBSERVED.lower()]
    return [
        (round(p.get_y() + p.get_height() / 2, 2), round(p.get_width(), 3), p.get_facecolor()[:3] != (1, 1, 1))
        for p in found
    ]


def test_the_heads_missed_most_stand_first_and_sure_ones_are_filled():
    ax = ablation_bars(ablated(), metric="drop", most=5, label="drop of AUROC (mean)")
    assert [text.get_text() for text in ax.get_yticklabels()] == ["L2H1", "L2H0", "L1H1", "L1H0", "L0H1"]
    assert [bar[1] for bar in bars(ax)] == [0.05, 0.04, 0.03, 0.02, 0.01]
    assert [bar[2] for bar in bars(ax)] == [True, True, False, False, False]
    assert ax.get_xlabel() == "drop of AUROC (mean)"
    assert "top 5; 2 of 6 heads with q < 0.05, 7 donors" in text_of(ax, "note")


def test_the_other_heads_of_a_layer_are_ticks_behind_its_bar():
    ax = ablation_bars(ablated(), metric="drop")
    ticks = [line for line in ax.lines if line.get_marker() == "|"]
    assert [line.get_xdata().round(3).tolist() for line in ticks] == [[0.04], [0.05], [0.02], [0.03], [0.0], [0.01]]


def test_named_heads_lie_over_the_band_of_random_sets():
    nulls = set_draws()
    ax = ablation_bars(ablated(), nulls, metric="drop")
    bands = [patch for patch in ax.patches if to_hex(patch.get_facecolor()) == REFERENCE.lower()]
    assert len(bands) == 2
    low, high = np.percentile(nulls.loc[(nulls["replacement"] == "mean") & (nulls["draw"] > 0), "drop"], [2.5, 97.5])
    assert (bands[0].get_x(), bands[0].get_x() + bands[0].get_width()) == pytest.approx((low, high))
    note = text_of(ax, "note")
    assert "mean: p = 0.025 (its floor) against 39 random sets" in note
    assert "resample: p = 1 against 39 random sets" in note
    assert "2 heads, mean" in words(ax)


def test_chosen_heads_that_differ_by_fold_are_called_so():
    nulls = set_draws().assign(heads="L0H1 + L1H0 (2 of 3 folds); L0H1 + L1H1 (1 of 3 folds)")
    assert "2 chosen heads, mean" in words(ablation_bars(ablated(), nulls, metric="drop"))
    alone = nulls[nulls["draw"] == 0]
    assert "mean: no random set" in text_of(ablation_bars(ablated(), alone, metric="drop"), "note")


@pytest.mark.parametrize("change", [{"metric": "other"}, {"role": "select"}, {"value": np.nan}])
def test_a_table_without_the_metric_is_an_error(change):
    with pytest.raises(InputError, match="No head has the metric 'drop'"):
        ablation_bars(ablated().assign(**change), metric="drop")


def test_two_targets_must_be_told_apart():
    both = pd.concat([ablated(), ablated().assign(target="branch")])
    with pytest.raises(InputError, match="with one target"):
        ablation_bars(both, metric="drop")
    ablation_bars(both, metric="drop", target="branch")


def compared(n=6):
    exact = np.linspace(0, 0.05, n)
    table = pd.DataFrame({"name": [f"L{i}H0" for i in range(n)], "gradient": exact[::-1] * 2, "exact": exact})
    return table.assign(metric="log_odds", target="stage")


def test_gradients_against_exact_says_its_correlation_and_names_the_top():
    ax = gradient_scatter(compared(), metric="log_odds", target="stage")
    assert "Spearman \u22121.000 over 6 heads" in text_of(ax, "note")
    points = next(line for line in ax.lines if line.get_marker() == "o")
    np.testing.assert_allclose(points.get_ydata(), compared()["exact"])
    said = words(ax)
    assert "L5H0" in said
    assert "L0H0" not in said


def test_heads_far_apart_are_both_named_and_of_near_ones_one():
    table = compared(4).assign(gradient=[0.0, 0.0, 0.0005, 0.05], exact=[0.0, 0.03, 0.05, 0.0499])
    said = words(gradient_scatter(table, metric="log_odds"))
    assert "L2H0" in said
    assert "L3H0" in said
    said = words(gradient_scatter(table.assign(gradient=[0.0, 0.0, 0.0005, 0.001]), metric="log_odds"))
    assert "L2H0" in said
    assert "L3H0" not in said


def test_heads_without_an_exact_value_are_left_out():
    table = compared()
    table.loc[0, "exact"] = np.nan
    assert "over 5 heads" in text_of(gradient_scatter(table, metric="log_odds"), "note")
    with pytest.raises(InputError, match="No head has both values"):
        gradient_scatter(table.assign(exact=np.nan), metric="log_odds")
    with pytest.raises(InputError, match="the comparison has log_odds"):
        gradient_scatter(table, metric="ablation.mean.log_odds")
    two = gradient_scatter(table[1:3], metric="log_odds")
    assert "Spearman not computable over 2 heads" in text_of(two, "note")


def test_redundancy_is_symmetric_and_open_pairs_are_hatched():
    ax = redundancy_matrix(head_pairs())
    shown = ax.images[0].get_array()
    assert shown[0, 1] == shown[1, 0] == pytest.approx(0.2)
    assert shown.mask.diagonal().all()
    hatched = {(round(p.get_y() + 0.5), round(p.get_x() + 0.5)) for p in ax.patches if p.get_hatch() == "////"}
    assert hatched == {(0, 2), (2, 0)}
    assert "1 of 3 pairs drop more together than alone, 6 donors" in text_of(ax, "note")
    low, high = ax.images[0].norm.vmin, ax.images[0].norm.vmax
    assert (low, high) == pytest.approx((-0.2, 0.2))
    with pytest.raises(InputError, match="No pair of heads"):
        redundancy_matrix(head_pairs()[:0])
