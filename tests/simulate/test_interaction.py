"""Cells whose class is an interaction: by hand, and no linear readout of the genes has it."""

from __future__ import annotations

import numpy as np
import pytest

from interp.errors import InputError
from interp.simulate import simulate
from interp.simulate.interaction import AGREE, DIFFER, with_interaction

GENES = ("CD34", "GATA1")


@pytest.fixture(scope="module")
def plain():
    return simulate(n_donors=5, n_cells=3000, n_genes=100, seed=3)


def test_the_label_says_whether_both_genes_stand_alike(plain):
    cells = with_interaction(plain, GENES)
    first, second = (cells.obs[f"high {gene}"].to_numpy() for gene in GENES)
    np.testing.assert_array_equal(cells.obs["agreement"] == AGREE, first == second)
    assert set(cells.obs["agreement"]) == {AGREE, DIFFER}
    for gene, high in zip(GENES, (first, second), strict=True):
        counts = cells[:, gene].X.toarray().ravel()
        assert counts.min() >= 1  # a token in every cell
        assert counts[~high].mean() == pytest.approx(1.3, abs=0.05)
        assert counts[high].mean() == pytest.approx(12.0, abs=0.3)
        assert (counts[high].min(), counts[~high].max()) == pytest.approx((4, 4), abs=3)


def test_only_the_two_genes_are_drawn_anew(plain):
    before = plain.X.toarray()
    cells = with_interaction(plain, GENES, target="like")
    others = ~cells.var_names.isin(GENES)
    np.testing.assert_array_equal(cells.X.toarray()[:, others], before[:, others])
    np.testing.assert_array_equal(plain.X.toarray(), before)
    assert "like" in cells.obs
    assert "agreement" not in cells.obs


def test_the_states_know_nothing_of_the_label_donor_or_each_other(plain):
    obs = with_interaction(plain, GENES, seed=1).obs
    table = obs.groupby([f"high {gene}" for gene in GENES]).size() / len(obs)
    np.testing.assert_allclose(table, 0.25, atol=0.03)
    agree = (obs["agreement"] == AGREE).astype(float)
    for gene in GENES:
        assert abs(np.corrcoef(agree, obs[f"high {gene}"])[0, 1]) < 0.06  # three sd of 3,000 cells
    product = np.prod([2.0 * obs[f"high {gene}"] - 1 for gene in GENES], axis=0)
    assert np.corrcoef(agree, product)[0, 1] == pytest.approx(1.0)
    assert agree.groupby(obs["donor"], observed=True).mean().between(0.4, 0.6).all()


def test_seeds_repeat_themselves(plain):
    one, same, other = (with_interaction(plain, GENES, seed=seed).obs["agreement"] for seed in (0, 0, 1))
    assert (one == same).all()
    assert (one != other).mean() > 0.3


@pytest.mark.parametrize("genes", [("CD34", "CD34"), ("CD34", "unknown")])
def test_genes_that_are_not_two_are_refused(plain, genes):
    with pytest.raises(InputError, match="two different genes of the cells"):
        with_interaction(plain, genes)
