import pandas as pd
import pytest

from interp.errors import InputError
from interp.figures import gate_board
from interp.figures.look import text_of

from .conftest import gates, words


def test_every_status_stands_in_words():
    text = words(gate_board(gates()))
    assert text.count("✓ pass") == 2
    assert "✗ fail" in text
    assert "not computable 24 anchors are not more than 2k = 30" in text


def test_values_stand_against_their_thresholds_with_the_sense_of_the_gate():
    text = words(gate_board(gates()))
    assert "0.90, asked ≥ 0.80" in text
    assert "0.0001, asked ≤ 0.001" in text
    assert "(p at its floor)" in text
    stated = [{**gates()[0], "sense": "<="}]
    assert "asked ≤" in words(gate_board(stated))


def test_a_gate_that_most_nulls_pass_is_called_uninformative_and_dotted():
    ax = gate_board(gates())
    assert "93 % of nulls pass: uninformative" in words(ax)
    assert "4 % of nulls pass" in words(ax)
    assert [(p.get_x(), p.get_y()) for p in ax.patches if p.get_hatch()] == [(0, 0)]
    assert "1 of 3 gates passed by most null draws" in text_of(ax, "note")


def test_the_title_counts_not_computable_as_its_own_thing():
    assert text_of(gate_board(gates()), "title") == "Gates: 2 pass, 1 fail, 1 not computable"


def test_a_frame_and_rows_give_the_same_board():
    assert words(gate_board(pd.DataFrame(gates()))) == words(gate_board(gates()))


def test_kinds_of_pairs_get_rows_of_their_own_and_gaps_are_named():
    rows = [{**row, "pairs": pairs} for row in gates()[1:3] for pairs in ("all", "within-study")]
    ax = gate_board(rows)
    names = [" ".join(tick.get_text().split()) for tick in ax.get_yticklabels()]
    assert names[:2] == ["donor holdout, all pairs", "donor holdout, within-study pairs"]
    assert words(ax).count("not measured") == 4


def test_a_holdout_and_its_frozen_namesake_share_a_row_and_say_which_they_are():
    rows = [
        {**gates()[0], "gate": "donor holdout"},
        {**gates()[0], "gate": "donor (within group, frozen)", "panel": "external"},
        {**gates()[0], "gate": "branch holdout"},
    ]
    ax = gate_board(rows)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["donor", "branch holdout"]
    assert "✓ pass within group, frozen 0.90" in words(ax)
    assert "✓ pass holdout 0.90" in words(ax)


def test_gates_without_nulls_say_so():
    rows = [{key: value for key, value in row.items() if key != "null_pass_rate"} for row in gates()]
    assert text_of(gate_board(rows), "note") == "null pass rates not measured"


def test_a_missing_column_is_named():
    with pytest.raises(InputError, match="threshold"):
        gate_board(pd.DataFrame(gates()).drop(columns="threshold"))
