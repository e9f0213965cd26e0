import numpy as np
import pytest

from interp.errors import InputError
from interp.figures import null_distribution
from interp.figures.look import text_of

from .conftest import words

DRAWS = np.arange(19.0)


def borders(ax):
    return [line.get_xdata()[0] for line in ax.lines if list(line.get_ydata()) != [0, 1]]


def test_p_is_one_plus_b_over_one_plus_n_and_a_floor_is_named():
    assert "p = 0.05 (its floor) 19 draws, passed" in words(null_distribution(DRAWS, 20.0))
    assert "p = 0.1 19 draws, passed" in words(null_distribution(DRAWS, 17.5))
    assert "p = 0.55 19 draws, not passed" in words(null_distribution(DRAWS, 9.0))


def test_the_percentile_and_the_observed_value_are_drawn():
    ax = null_distribution(DRAWS, 20.0)
    assert borders(ax) == [pytest.approx(np.percentile(DRAWS, 95))]
    assert 20.0 in [line.get_xdata()[0] for line in ax.lines]
    assert borders(null_distribution(DRAWS, 20.0, higher_is_better=False)) == [pytest.approx(np.percentile(DRAWS, 5))]


def test_every_family_has_its_row_and_the_note_counts_those_passed():
    ax = null_distribution({"code": DRAWS + 10, "shuffle": DRAWS}, 20.0, n_donors=7)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["code", "shuffle"]
    assert text_of(ax, "note") == "passes the null's percentile in 1 of 2 families, 7 donors"


def test_draws_that_failed_count_against_the_result():
    lost = np.append(DRAWS, [np.nan, np.nan])
    ax = null_distribution(lost, 20.0)
    assert "p = 0.14 21 draws, not passed" in words(ax)
    assert "2 draws not computable" in text_of(ax, "note")


@pytest.mark.parametrize("observed", [None, np.nan])
def test_an_observed_value_that_is_not_computable_is_named(observed):
    ax = null_distribution(DRAWS, observed)
    assert "observed: not computable" in text_of(ax, "note")
    assert "passed" not in words(ax)


def test_a_family_without_a_number_and_a_constant_family_are_drawn():
    ax = null_distribution({"empty": [np.nan], "constant": [1.0, 1.0]}, 2.0)
    assert "no computable draw" in words(ax)
    assert "1 of 2 families" in text_of(ax, "note")


def test_no_family_is_an_error():
    with pytest.raises(InputError, match="No null family"):
        null_distribution({}, 1.0)
