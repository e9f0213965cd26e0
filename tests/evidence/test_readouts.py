from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from interp.evidence.readouts import LAYERS, _of_donor, readout_table
from interp.extraction.runner.algorithm import Readout


def labelled(*counts: tuple[str, int]) -> np.ndarray:
    return np.array([name for name, n in counts for _ in range(n)], dtype=object)


def test_metrics_of_a_pair_by_hand():
    # one latent; the second class where it is above 0
    readout = Readout(("a", "b"), np.array([[1.0]]), np.array([0.0]), temperature=2.0)
    z = np.array([[-2.0]] * 6 + [[2.0]] * 4 + [[-1.0]] * 1)
    found = {metric: (value, n) for metric, value, n in _of_donor(readout, z, labelled(("a", 6), ("b", 5)))}
    assert found["balanced accuracy"] == (pytest.approx((1.0 + 4 / 5) / 2), 11)
    assert found["AUROC"][0] == pytest.approx(1.0)
    warm = np.log1p(np.exp(-1.0)), np.log1p(np.exp(0.5))  # -log p at scores 2 / 2 and -1 / 2
    expected = (warm[0] + (4 * warm[0] + warm[1]) / 5) / 2
    assert found["log loss"][0] == pytest.approx(expected)
    assert found["log loss uncalibrated"][0] != pytest.approx(expected)


def test_small_classes_are_left_out_and_one_class_says_nothing():
    readout = Readout(("a", "b", "c"), np.eye(3), np.zeros(3))
    z = np.eye(3)[[0] * 6 + [1] * 6 + [2] * 4]
    labels = labelled(("a", 6), ("b", 6), ("c", 4))
    assert {n for _, _, n in _of_donor(readout, z, labels)} == {12}
    assert list(_of_donor(readout, z[:6], labels[:6])) == []


def test_depth_is_read_by_rank_and_needs_two_depths():
    readout = Readout((), np.array([[1.0]]), np.array([0.0]))
    z = np.arange(6.0)[:, None]
    depth = np.array([0.0, 1.0, 2.0, np.nan, 3.0, 4.0])
    assert list(_of_donor(readout, z, depth)) == [("Spearman", pytest.approx(1.0), 5)]
    assert list(_of_donor(readout, z, np.full(6, 2.0))) == []


def test_the_table_counts_donors_once():
    rows = [
        ("stage", layers, 33, split, donor, "balanced accuracy", value, 20)
        for layers in LAYERS
        for split, donor, value in (("fold0", "d0", 0.4), ("fold1", "d0", 0.6), ("fold0", "d1", 0.7))
    ]
    columns = ["readout", "layers", "n_parameters", "split", "donor", "metric", "value", "n_cells"]
    table = readout_table(pd.DataFrame(rows, columns=columns))
    assert table["value"].tolist() == pytest.approx([0.6, 0.6])
    assert table["n_donors"].tolist() == [2, 2]
