import numpy as np
import pytest

from interp.errors import InputError
from interp.figures import controls_forest
from interp.figures.look import text_of

from .conftest import controls, words


def rows(ax):
    return [tick.get_text() for tick in ax.get_yticklabels()]


def test_the_observed_arm_is_on_top_and_controls_fall_by_mean():
    ax = controls_forest(controls(), endpoint="order")
    assert rows(ax) == ["chosen", "no operator", "gaussian", "hvg"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]


def test_donor_points_are_means_over_draws():
    ax = controls_forest(controls(n_donors=3), endpoint="order")
    strips = [np.sort(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) == 3]
    np.testing.assert_allclose(strips, [[m, m + 0.01, m + 0.02] for m in (0.5, 0.3, 0.2)])


def test_lines_stand_at_the_observed_mean_and_the_null_percentile():
    ax = controls_forest(controls(n_donors=3), endpoint="order", null_95=0.25)
    upright = [line.get_xdata()[0] for line in ax.lines if list(line.get_ydata()) == [0, 1]]
    assert upright == pytest.approx([0.51, 0.25])
    assert "null 95th percentile 0.25" in words(ax)


def test_the_interval_covers_the_mean_and_lies_inside_the_donors():
    note = text_of(controls_forest(controls(), endpoint="order", verdict="undecided"), "note")
    assert note.startswith("observed 0.53 [0.51, 0.54], 6 donors")
    assert "verdict: undecided" in note


def test_a_control_without_a_number_is_named_not_computable():
    ax = controls_forest(controls(), endpoint="order")
    assert "not computable" in words(ax)
    assert "6 donor values not computable" in text_of(ax, "note")


def test_one_donor_has_no_interval():
    assert "(no interval), 1 donor" in text_of(controls_forest(controls(n_donors=1), endpoint="order"), "note")


def test_p_is_written_beside_its_row():
    text = words(controls_forest(controls(), endpoint="order", p={"gaussian": 0.03125, "hvg": None}))
    assert "0.23 p = 0.031" in text
    assert "p not computable" in text


def test_without_an_observed_arm_or_any_number_the_note_says_so():
    table = controls()
    assert "no observed arm" in text_of(controls_forest(table[table["control"] != "chosen"], endpoint="order"), "note")
    nothing = controls_forest(table.assign(value=np.nan), endpoint="order")
    assert "observed: not computable" in text_of(nothing, "note")


def test_an_unknown_endpoint_names_the_known_ones():
    with pytest.raises(InputError, match="the table has order"):
        controls_forest(controls(), endpoint="branch")
