from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

import interp
from interp.baselines import folds, without_model
from interp.cells.panel import expression, operator_genes
from interp.errors import InputError


@pytest.fixture(scope="module")
def cells():
    cells = interp.simulate(n_donors=4, n_cells=120, n_genes=90, seed=3)
    return interp.read_cells(cells, donor="donor", tissue="tissue", cell_type="cell_type")


def test_every_representation_has_one_row_per_cell(cells):
    found = without_model(cells, widths=(5, 12))
    train = np.arange(80)
    made = {name: x(train) if callable(x) else x for name, x in found.items() if not isinstance(x, str)}
    assert {name: x.shape for name, x in made.items()} == {
        "raw log1p": (120, 90),
        "bag of tokens": (120, 90),
        "PCA-5": (120, 5),
        "PCA-12": (120, 12),
        "random projection-5": (120, 5),
        "random projection-12": (120, 12),
    }
    np.testing.assert_array_equal(made["raw log1p"], expression(cells, list(cells.var_names)).toarray())
    np.testing.assert_array_equal(made["bag of tokens"], cells.X.toarray() > 0)
    assert found["HVG"] == "the studies share 90 genes, no more than the 1,200 of this representation"


def test_components_are_those_of_the_training_cells(cells):
    made = without_model(cells, widths=(3, 8))
    raw = expression(cells, list(cells.var_names)).toarray()
    for train in (np.arange(0, 120, 2), np.arange(70)):
        expected = PCA(8, svd_solver="full").fit(raw[train]).transform(raw)
        for width in (3, 8):
            found = made[f"PCA-{width}"](train)
            np.testing.assert_allclose(np.abs(found), np.abs(expected[:, :width]), atol=1e-3 * np.abs(expected).max())


def test_variable_genes_are_those_of_the_training_cells(cells, monkeypatch):
    monkeypatch.setattr(folds, "N_TOP", 20)
    train = np.flatnonzero(cells.obs["donor"] != cells.obs["donor"].iloc[0])
    found = without_model(cells, widths=(3,))["HVG"](train)
    genes = operator_genes(cells[train].copy(), vocabulary=set(cells.var_names), n_top=20)
    columns = [gene for gene in cells.var_names if gene in genes]
    np.testing.assert_array_equal(found, expression(cells, columns).toarray())


def test_too_many_genes_are_cut_by_the_training_cells(cells, monkeypatch):
    monkeypatch.setattr(folds, "MAX_GENES", 30)
    found = without_model(cells, widths=(3,))
    raw, bag = (found[name](np.arange(60)) for name in ("raw log1p", "bag of tokens"))
    assert raw.shape == (120, 30)
    np.testing.assert_array_equal(bag, raw > 0)


def test_studies_without_a_common_gene_are_an_error(cells):
    cells = cells.copy()
    cells.varm["measured"] = cells.varm["measured"].assign(other=False)
    with pytest.raises(InputError, match="no gene was measured by all of"):
        without_model(cells, widths=(3,))
