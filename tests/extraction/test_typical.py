"""The out-of-distribution score: calibrated on donors never seen, blind to depth, and awake to other cells."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.metrics import roc_auc_score

from interp.errors import InputError
from interp.extraction.folds import held_out_rows
from interp.extraction.typical import fit_typical

N_GENES = 120


def panel(n_cells=2400, n_donors=8, depth=(200, 2000), seed=0, profiles=None):
    """Cells of three stages, with programs that vary from cell to cell, at mixed depths."""
    rng = np.random.default_rng(seed)
    if profiles is None:
        profiles = np.random.default_rng(99).dirichlet(np.full(N_GENES, 0.5), size=3)
    stage, donor = rng.integers(len(profiles), size=n_cells), rng.integers(n_donors, size=n_cells)
    means = profiles[stage] * rng.gamma(8, 1 / 8, size=(n_cells, N_GENES))
    n = np.exp(rng.uniform(*np.log(depth), size=n_cells))
    counts = rng.poisson(means / means.sum(axis=1, keepdims=True) * n[:, None])
    obs = pd.DataFrame({"stage": np.array(["x", "y", "z"])[stage], "donor": [f"d{i}" for i in donor]})
    return sparse.csr_matrix(counts), obs


def score(fit, counts, found=None):
    found = np.ones(N_GENES, bool) if found is None else found
    counts = counts[:, found]
    fits = counts @ fit.typical.logs[found].astype(float)
    return fit.typical.outlying(found, np.asarray(counts.sum(axis=1)).ravel().astype(float), fits)


@pytest.fixture(scope="module")
def fit():
    counts, obs = panel()
    return fit_typical(counts, obs, held_out_rows(obs))


def test_new_donors_are_as_surprising_as_it_says(fit):
    new = score(fit, panel(seed=1)[0])
    assert fit.calibrated_on == "held-out donors"
    assert fit.n_calibration == 2400
    for level in (0.5, 0.9, 0.95):
        assert np.mean(new > level) == pytest.approx(1 - level, abs=0.03)


@pytest.mark.parametrize("depth", [(100, 120), (5000, 6000)])
def test_neither_shallow_nor_deep_cells_are_strange_for_it(fit, depth):
    assert np.mean(score(fit, panel(depth=depth, seed=2)[0]) > 0.95) < 0.1


def test_cells_of_another_kind_and_shuffled_genes_are_told(fit):
    new, other = (
        panel(seed=3)[0],
        panel(seed=4, profiles=np.random.default_rng(5).dirichlet(np.full(N_GENES, 0.5), 1))[0],
    )
    shuffled = new[:, np.random.default_rng(6).permutation(N_GENES)]
    for strange in (other, shuffled):
        labels = np.repeat([0, 1], [new.shape[0], strange.shape[0]])
        assert roc_auc_score(labels, np.concatenate([score(fit, new), score(fit, strange)])) > 0.98
        assert np.median(score(fit, strange)) == 1.0


def test_missing_genes_leave_new_donors_typical(fit):
    found = np.random.default_rng(7).random(N_GENES) < 0.7
    assert np.mean(score(fit, panel(seed=8)[0], found) > 0.95) < 0.12


def test_a_cell_without_counts_is_beyond_all(fit):
    assert score(fit, sparse.csr_matrix((2, N_GENES))).tolist() == [1.0, 1.0]


def test_without_stages_or_donors_there_is_still_a_score():
    counts, obs = panel(n_cells=400)
    fit = fit_typical(counts, pd.DataFrame({"stage": [None] * 400}), [])
    assert (fit.profiles, fit.calibrated_on) == (("all",), "training cells")
    assert np.mean(score(fit, counts) > 0.95) == pytest.approx(0.05, abs=0.01)
    with pytest.raises(InputError, match="no counts"):
        fit_typical(sparse.csr_matrix((400, N_GENES)), obs, [])


def test_held_out_cells_of_a_stage_that_only_their_donors_have_do_not_count():
    counts, obs = panel(n_cells=1200)
    obs.loc[obs["donor"] == "d0", "stage"] = "only d0"
    fit = fit_typical(counts, obs, [(obs["donor"] == f"d{i}").to_numpy() for i in range(8)])
    assert fit.n_calibration == int((obs["donor"] != "d0").sum())
