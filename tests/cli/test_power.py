import json

import pandas as pd
import pytest

from interp.cli import main


def run(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(["power", *words])
    return stop.value.code, capsys.readouterr()


def test_donors_may_follow_one_option_and_a_table_comes_out(capsys):
    code, out = run(capsys, "--effect", "0.1", "--donors", "4", "15", "--sd", "0.05")
    assert code == 0
    assert "sd 0.05 (given 0.05). 5 donors show it with 80 % power." in out.out
    rows = [line.split() for line in out.out.splitlines() if line.split()[:1] in (["4"], ["15"])]
    assert rows == [["4", "0.062", "0%", "none"], ["15", "0.048", "100%", rows[1][3]]]


def test_without_a_spread_those_that_are_known_are_named(capsys):
    out = run(capsys)[1].out
    assert "simulated atlas, 15 even donors" in out
    assert "real cells, 7 uneven donors" in out


def test_json_holds_every_row_and_no_infinity(capsys):
    code, out = run(capsys, "--donors", "4", "10", "--sd", "0.1", "0.2", "--json")
    rows = json.loads(out.out)
    assert code == 0
    assert [(row["sd"], row["donors"]) for row in rows] == [(0.1, 4), (0.1, 10), (0.2, 4), (0.2, 10)]
    assert rows[0]["detectable effect"] is None
    assert 0 < rows[1]["power"] <= 1


def test_too_few_draws_are_named_as_the_reason(capsys):
    assert "10 draws can reach no such p, whatever the donors" in run(capsys, "--draws", "10")[1].out


def test_the_spread_comes_from_a_run_and_a_figure_is_written(tmp_path, capsys):
    rows = [("order", "chosen", 0, f"d{i}", 0.5 + 0.1 * i) for i in range(5)]
    rows += [("order", "no operator", 0, f"d{i}", 0.5) for i in range(5)]
    table = pd.DataFrame(rows, columns=["endpoint", "control", "draw", "donor", "value"])
    table.to_csv(tmp_path / "controls.csv", index=False)
    code, out = run(capsys, "--from", str(tmp_path), "--figure", str(tmp_path / "power.png"))
    assert code == 0
    assert "no operator" in out.out
    assert (tmp_path / "power.png").stat().st_size > 0
    assert (tmp_path / "power.pdf").stat().st_size > 0


def test_two_sources_of_the_spread_are_refused(tmp_path, capsys):
    code, out = run(capsys, "--sd", "0.1", "--from", str(tmp_path))
    assert code == 3
    assert "one of them" in out.err
