import numpy as np
import pandas as pd
import pytest

from interp.errors import InputError
from interp.evidence.prospects import KNOWN_SDS, prospects, sds_of_run
from interp.stats import detectable_effect, donors_needed, sign_flip_power


def test_rows_say_what_the_test_itself_can_do():
    table = prospects(0.1, [4, 5, 15], {"a": 0.1, "b": 0.3}, n_draws=99)
    assert table["sd of"].tolist() == ["a"] * 3 + ["b"] * 3
    assert table["smallest p"].tolist()[:3] == [1 / 16, 1 / 32, 1 / 100]
    assert table["power"].tolist()[:3] == [0.0, sign_flip_power(0.1, 0.1, 5), sign_flip_power(0.1, 0.1, 15)]
    assert table["detectable effect"].tolist()[:3] == [np.inf, detectable_effect(0.1, 5), detectable_effect(0.1, 15)]
    assert set(table["donors needed"][3:]) == {donors_needed(0.1, 0.3)}


def test_too_few_draws_can_show_nothing_whatever_the_donors():
    table = prospects(0.1, [15], {"a": 0.01}, n_draws=19)
    assert table.loc[0, "smallest p"] == 1 / 20
    assert table.loc[0, "power"] == 0.0
    assert np.isinf(table.loc[0, ["detectable effect", "donors needed"]].astype(float)).all()
    assert prospects(0.1, [15], {"a": 0.01}, n_draws=20).loc[0, "power"] == 1.0


def test_endpoints_that_are_corrected_together_cost_power():
    one, four = (prospects(0.1, [10], {"a": 0.12}, n_draws=99, n_endpoints=k).iloc[0] for k in (1, 4))
    assert one["power"] > four["power"] > 0
    assert one["donors needed"] < four["donors needed"]
    # 20 draws reach 1 / 21, which alone among four endpoints is not enough
    assert prospects(0.1, [10], {"a": 0.01}, n_draws=20, n_endpoints=4).loc[0, "power"] == 0.0


def test_the_known_spreads_bracket_the_embedded_atlas_and_real_cells():
    low, high = KNOWN_SDS.values()
    assert 0 < low < high < 1


@pytest.fixture
def run(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for donor in range(6):
        rows.append(("order", "chosen", 0, f"d{donor}", 0.6))
        rows += [("order", "values shuffled", k, f"d{donor}", 0.4 + 0.1 * donor) for k in range(3)]
        rows.append(("order", "no operator", 0, f"d{donor}", 0.4 + 0.02 * donor))
        rows.append(("order", "stages permuted", 0, f"d{donor}", rng.normal()))
    table = pd.DataFrame(rows, columns=["endpoint", "control", "draw", "donor", "value"])
    table.to_csv(tmp_path / "controls.csv", index=False)
    return tmp_path


def test_spreads_are_those_of_a_runs_donor_differences(run):
    spread = np.arange(6).std(ddof=1)
    found = sds_of_run(run)
    assert list(found.values()) == pytest.approx([0.06 * spread, 0.1 * spread])
    assert list(found) == [f"{run.name}, median of 2 controls", f"{run.name}, values shuffled"]


def test_a_run_that_cannot_tell_is_refused(run, tmp_path):
    with pytest.raises(InputError, match="no endpoint 'branch'; it has order"):
        sds_of_run(run, "branch")
    with pytest.raises(InputError, match=r"no controls\.csv"):
        sds_of_run(tmp_path / "nowhere")
    table = pd.read_csv(run / "controls.csv")
    table[table["donor"] == "d0"].to_csv(run / "controls.csv", index=False)
    with pytest.raises(InputError, match="a spread needs two"):
        sds_of_run(run)


@pytest.mark.parametrize(
    ("effect", "donors", "draws", "words"),
    [(0.0, [5], 20, "above 0"), (0.1, [], 20, "donors"), (0.1, [0], 20, "donors"), (0.1, [5], 0, "draws")],
)
def test_impossible_questions_are_refused(effect, donors, draws, words):
    with pytest.raises(InputError, match=words):
        prospects(effect, donors, {"a": 0.1}, n_draws=draws)
