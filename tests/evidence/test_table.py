import json

import numpy as np
import pandas as pd

from interp.evidence import CHOSEN, controls_table, verdict
from interp.evidence.verdict import SPECIFIC
from interp.stats import sign_flip


def made():
    """Two endpoints by hand: the chosen arm beats a drawn control by 0.3 and a fixed one by 0.2 on the order."""
    rows = []
    for donor in range(8):
        shift = 0.01 * donor
        for endpoint, chosen in (("a later endpoint", 0.3), ("order", 0.6)):
            rows.append((endpoint, CHOSEN, 0, f"d{donor}", chosen + shift))
            rows.append((endpoint, "fixed", 0, f"d{donor}", 0.4 + 0.5 * shift))
            rows += [(endpoint, "drawn", k, f"d{donor}", 0.3 + 0.01 * k) for k in range(21)]
    return pd.DataFrame(rows, columns=["endpoint", "control", "draw", "donor", "value"])


def test_every_comparison_stands_in_one_row_hardest_first():
    judged = verdict(made(), nulls=(), expected=("fixed", "drawn"))
    table = controls_table(judged)
    assert table[["endpoint", "control"]].to_numpy().tolist() == [
        ["order", "fixed"], ["order", "drawn"], ["a later endpoint", "fixed"], ["a later endpoint", "drawn"],
    ]  # fmt: skip
    fixed, drawn = table.iloc[0], table.iloc[1]
    assert fixed["hardest"]
    assert not drawn["hardest"]
    difference = 0.2 + 0.005 * np.arange(8)
    np.testing.assert_allclose([fixed["mean"], fixed["effect"]], [0.4 + 0.0175, difference.mean()])
    assert fixed["lo"] < fixed["effect"] < fixed["hi"]
    assert fixed["p"] == fixed["p_donors"] == sign_flip(difference).p == 2**-8
    assert np.isnan(fixed["p_draws"])
    assert (drawn["draws"], drawn["p_draws"], drawn["p"]) == (21, 1 / 22, 1 / 22)
    assert (table["q"][:2] == judged["endpoints"]["order"]["model_specific"]["q"]).all()
    draws = np.abs(np.subtract.outer(0.01 * np.arange(21), 0.01 * np.arange(21)))[np.triu_indices(21, 1)]
    np.testing.assert_allclose(table["floor"], np.quantile(draws, 0.95))
    assert set(table["minimum"]) == {0.1}
    assert set(table["donors"]) == {8}
    assert np.isnan(table["donors_needed"].iloc[-1])  # a loss that no number of donors makes a gain


def test_the_table_is_the_same_from_the_file():
    judged = verdict(made(), nulls=(), expected=("fixed", "drawn"))
    read_back = json.loads(json.dumps(judged, sort_keys=True))
    pd.testing.assert_frame_equal(controls_table(judged), controls_table(read_back))


def test_status_is_that_of_the_endpoint():
    easy = made()
    easy = easy[easy["endpoint"] == "order"]
    table = controls_table(verdict(easy, nulls=(), expected=("fixed", "drawn")))
    assert set(table["status"]) == {SPECIFIC}


def test_an_endpoint_that_nothing_was_compared_on_has_no_row():
    nothing = made().assign(value=np.nan)
    assert controls_table(verdict(nothing, nulls=())).empty
