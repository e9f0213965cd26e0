import numpy as np
import pandas as pd
import pytest

from interp.errors import InputError
from interp.figures import effects_board, effects_forest, power_curve
from interp.figures.look import text_of

from .conftest import effects, outside, words


def rows(ax):
    return [tick.get_text() for tick in ax.get_yticklabels()]


def markers(ax):
    return [(line.get_xdata()[0], line) for line in ax.lines if line.get_marker() in ("o", "D")]


def test_the_hardest_control_is_on_top_with_its_interval():
    ax = effects_forest(effects(), endpoint="order")
    assert rows(ax) == ["no operator", "untrained model", "genes permuted"]
    np.testing.assert_allclose([x for x, _ in markers(ax)], [0.05, 0.2, 0.3])
    bars = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 2 and line.get_linewidth() == 1.1]
    np.testing.assert_allclose(bars, [[-0.05, 0.15], [0.1, 0.3], [0.2, 0.4]])


def test_only_what_is_significant_is_filled_and_draws_are_diamonds():
    drawn = [
        (line.get_marker(), line.get_markerfacecolor())
        for _, line in markers(effects_forest(effects(), endpoint="order"))
    ]
    assert drawn == [("o", "white"), ("D", "#0072B2"), ("D", "#0072B2")]


def test_floor_and_minimum_stand_where_the_table_says():
    ax = effects_forest(effects(), endpoint="order")
    upright = sorted(line.get_xdata()[0] for line in ax.lines if list(line.get_ydata()) == [0, 1])
    assert upright == [0.0, 0.1]
    band = ax.patches[0].get_bbox()
    assert (band.x0, band.x1) == pytest.approx((-0.08, 0.08))
    assert "null to null 0.08" in words(ax)
    assert "registered minimum 0.10" in words(ax)


def test_the_note_holds_the_verdict():
    assert text_of(effects_forest(effects(), endpoint="order"), "note") == "undecided, q = 0.19, 9 donors"


def test_a_board_has_one_panel_per_endpoint_in_one_order():
    figure = effects_board(effects())
    first, second = figure.axes
    assert rows(first) == ["no operator", "untrained model", "genes permuted"]
    assert rows(second) == ["", "", ""]
    np.testing.assert_allclose([x for x, _ in markers(second)], [0.4, 0.3, 0.1])
    assert figure.get_figwidth() == 7.2
    assert outside(first) == []


def test_what_cannot_be_computed_is_named():
    table = effects()
    table.loc[0, ["effect", "lo", "hi", "p"]] = np.nan
    assert "not computable" in words(effects_forest(table, endpoint="order"))


def test_an_unknown_endpoint_or_an_empty_table_is_refused():
    with pytest.raises(InputError, match="the table has order"):
        effects_forest(effects(), endpoint="magic")
    with pytest.raises(InputError, match="no effect"):
        effects_board(effects().assign(effect=np.nan))
    with pytest.raises(InputError, match="lacks the column"):
        effects_board(pd.DataFrame({"endpoint": ["order"]}))


def test_power_grows_with_donors_and_falls_with_their_spread():
    ax = power_curve(0.1, {"even": 0.08, "uneven": 0.3}, marked=(5, 12))
    curves = [line for line in ax.lines if len(line.get_xdata()) == 14]
    even, uneven = (np.asarray(line.get_ydata()) for line in curves)
    assert (even[3:] >= uneven[3:]).all()
    assert even[:3].max() == 0.0  # two to four donors can show nothing
    assert even[-1] > 0.9
    assert "sd 0.080: even" in words(ax)
