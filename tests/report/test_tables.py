from __future__ import annotations

import numpy as np
import pandas as pd

from interp.report.tables import markdown, shown


def test_numbers_keep_four_digits_and_missing_values_are_dashes():
    assert [shown(v) for v in (0.123456, float("nan"), None, 7, True, np.float64(2.0), "a|b")] == [
        "0.1235", "-", "-", "7", "yes", "2", "a\\|b",
    ]  # fmt: skip


def test_table_has_chosen_columns_under_their_headings():
    table = pd.DataFrame({"gate": ["trust"], "value": [0.5], "hidden": [1]})
    assert markdown(table, {"gate": "Gate", "value": "Value"}) == "| Gate | Value |\n|---|---|\n| trust | 0.5 |"
