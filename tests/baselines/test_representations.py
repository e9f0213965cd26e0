from __future__ import annotations

import numpy as np
import pytest

from interp.baselines import model_free
from interp.cells.read import read_cells
from interp.simulate import simulate


@pytest.fixture(scope="module")
def parts():
    cells = read_cells(
        simulate(n_donors=2, n_cells=120, n_genes=400), donor="donor", tissue="tissue", cell_type="cell_type"
    )
    return cells[:80].copy(), cells[80:].copy()


def test_widths_and_names(parts):
    found = model_free(*parts, list(parts[0].var_names), width=16, components=(3, 10))
    assert {name: pair[0].shape[1] for name, pair in found.items()} == {
        "raw log1p": 400, "PCA-3": 3, "PCA-10": 10, "random projection": 16,
    }  # fmt: skip
    assert all((len(a), len(b)) == (80, 40) for a, b in found.values())


def test_nothing_is_learned_from_the_test_cells(parts):
    train, test = parts
    genes = list(train.var_names)
    whole, one = model_free(train, test, genes, width=8), model_free(train, test[:1].copy(), genes, width=8)
    for name in whole:
        np.testing.assert_allclose(one[name][1][0], whole[name][1][0], atol=1e-8)


def test_components_carry_falling_variance(parts):
    scores = model_free(*parts, list(parts[0].var_names), width=8, components=(10,))["PCA-10"][0]
    assert (np.diff(scores.var(0)) <= 1e-9).all()
