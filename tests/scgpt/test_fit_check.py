import numpy as np
import pytest
from scipy import sparse

from interp.cells import read_cells
from interp.errors import VocabularyError
from interp.scgpt import fit_check as module
from interp.scgpt.evaluate import masked_value_scores
from interp.scgpt.fit_check import check_fit
from interp.scgpt.load import load_model, untrained_like
from interp.simulate import simulate

COLUMNS = {"donor": "donor", "tissue": "tissue", "cell_type": "cell_type"}


@pytest.fixture(scope="module")
def model():
    return load_model("scgpt-sim", device="cpu")


@pytest.fixture(scope="module")
def panel():
    return read_cells(simulate(n_donors=2, n_cells=150, seed=3), **COLUMNS)


def changed(panel, change):
    cells = panel.copy()
    cells.X = sparse.csr_matrix(change(panel.X.toarray()).astype(np.float32))
    return cells


def test_a_model_on_cells_like_its_own_fits_without_a_warning(model, panel):
    found = check_fit(model, panel, n_cells=100)
    assert found.fits
    assert found.warnings == ()
    expected = masked_value_scores({"model": model}, panel, panel, n_cells=100)
    assert found.scores.equals(expected)
    assert found.match.fraction == 1


def test_a_model_no_better_than_the_gene_mean_is_warned_of_with_both_numbers(model, panel):
    found = check_fit(untrained_like(model, 0), panel, n_cells=60)
    assert not found.fits
    own, mean = found.r2
    assert len(found.warnings) == 1
    assert "no better than each gene's mean" in found.warnings[0]
    assert f"{own:.3f} against {mean:.3f}" in found.warnings[0]


def test_few_known_genes_are_warned_of(model, panel):
    cells = panel.copy()
    order = np.argsort(-np.asarray(panel.X.sum(0)).ravel())
    names = cells.var_names.to_numpy(dtype=object).copy()
    names[order[: int(0.6 * len(names))]] = [f"{name}-other" for name in names[order[: int(0.6 * len(names))]]]
    cells.var_names = names
    found = check_fit(model, cells, n_cells=40)
    assert any("knows 400 of 1,000 genes (40%" in warning for warning in found.warnings)


def test_cells_of_another_organism_are_refused_with_the_reason(model, panel):
    cells = panel.copy()
    cells.var_names = [name.capitalize() for name in cells.var_names]
    with pytest.raises(VocabularyError, match="mouse symbols"):
        check_fit(model, cells, n_cells=20)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda x: np.rint(1e5 * x / x.sum(1, keepdims=True)), "every cell sums to about"),
        (lambda x: np.rint(np.log1p(x)), "log-transformed and rounded"),
        (lambda x: x > 0, "log-transformed and rounded"),
    ],
)
def test_transformed_counts_are_called_so(model, panel, change, word):
    found = check_fit(model, changed(panel, change), n_cells=40)
    assert any(word in warning for warning in found.warnings)


def test_a_model_without_expression_decoder_is_not_judged(model, panel, monkeypatch):
    scores = masked_value_scores({"model": model}, panel, panel, n_cells=10)
    scores.loc[scores["predictor"] == "model", ["r2", "mse"]] = np.nan
    monkeypatch.setattr(module, "masked_value_scores", lambda *_, **__: scores)
    found = check_fit(model, panel)
    assert not found.fits
    assert "no expression decoder" in found.warnings[0]
