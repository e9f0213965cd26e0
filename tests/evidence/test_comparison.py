import numpy as np
import pandas as pd
import pytest

from interp.evidence.comparison import by_arm, compare
from interp.stats import null_floor


def test_comparison_by_hand():
    found = compare("c", np.array([0.5, 0.7, 0.6]), np.array([[0.2, 0.3, 0.1], [0.4, 0.5, 0.7]]))
    assert found.effect == pytest.approx(np.mean([0.2, 0.3, 0.2]))
    assert found.p_donors == pytest.approx(1 / 8)
    assert found.p_draws == pytest.approx(1 / 3)
    assert found.at_floor
    assert found.smallest_p == pytest.approx(1 / 3)
    assert found.p == found.p_draws
    assert found.floor == pytest.approx(1.6 / 3 - 0.2)
    assert np.isnan(compare("c", np.array([0.5, 0.7]), np.array([[0.2, 0.3]])).p_draws)


def test_null_floor_by_hand():
    values = np.array([0.0, 0.1, 0.3])
    assert null_floor(values) == pytest.approx(np.percentile([0.1, 0.3, 0.2], 95))


def test_arms_are_compared_on_the_donors_that_all_of_them_have():
    rows = [
        *(("chosen", 0, donor, 0.5) for donor in "abc"),
        ("chosen", 0, "d", np.nan),
        *(("null", draw, donor, 0.1 * draw) for draw in (1, 2) for donor in "abcd"),
        *(("partial", 0, donor, 0.3) for donor in "ab"),
        *(("nowhere", 0, donor, np.nan) for donor in "abcd"),
    ]
    table = pd.DataFrame(rows, columns=["control", "draw", "donor", "value"])
    table.loc[(table["control"] == "null") & (table["draw"] == 2) & (table["donor"] == "a"), "value"] = np.nan
    donors, arms, lost = by_arm(table)
    assert donors == ["a", "b"]
    assert lost == ["nowhere"]
    assert arms["null"].shape == (2, 2)
    # the draw that lacks donor a is compared on donor b alone
    assert compare("null", np.array([0.9, 0.5]), arms["null"]).percentile == pytest.approx(
        np.percentile([0.1, 0.7 - 0.3], 95)
    )
