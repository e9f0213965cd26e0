import pandas as pd
import pytest

from interp.errors import InputError
from interp.figures import learning_curve
from interp.figures.look import text_of
from interp.figures.training import _spaced

from .conftest import words

HISTORY = pd.DataFrame(
    {"step": [20, 0, 10], "train_masked": [0.7, 2.0, 1.0], "masked": [1.2, 2.0, 1.1], "r2": [0.4, 0, 0.5]}
)


def test_the_best_evaluation_is_ringed_and_compared_with_the_baselines():
    ax = learning_curve(HISTORY, baselines={"gene mean": 1.5, "ceiling": 0.5, "absent": None})
    assert text_of(ax, "note") == "best held-out 1.100 at step 10; better than 1 of 2 baselines"
    assert any(list(line.get_xdata()) == [10] and list(line.get_ydata()) == [1.1] for line in ax.lines)
    assert "gene mean 1.500" in words(ax)
    assert "absent" not in words(ax)


def test_higher_can_be_better():
    ax = learning_curve(HISTORY, train=None, validation="r2", baselines={"gene mean": 0.47}, higher_is_better=True)
    assert text_of(ax, "note") == "best held-out 0.500 at step 10; better than 1 of 1 baselines"
    assert "training donors" not in words(ax)


def test_curves_run_in_the_order_of_steps():
    assert list(learning_curve(HISTORY).lines[0].get_xdata()) == [0, 10, 20]


def test_a_training_without_held_out_values_says_so():
    assert text_of(learning_curve(HISTORY.assign(masked=float("nan"))), "note") == "no held-out values"


def test_labels_are_moved_apart_by_their_heights():
    assert _spaced([0, 1, 50], [10, 10, 10]) == pytest.approx([-3, 7, 47])
    assert _spaced([], []) == []


def test_a_missing_column_is_named():
    with pytest.raises(InputError, match="train_masked"):
        learning_curve(HISTORY.drop(columns="train_masked"))
