import numpy as np
import pytest
from scipy.sparse import csr_matrix

from interp.cells import variable as module
from interp.cells.variable import standardised_variance


@pytest.fixture
def counts() -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.poisson(rng.gamma(1.0, 3.0, 50), (300, 50)).astype(np.float64)
    x[::30, 7] = 80
    x[:, 9] = 4
    x[:, 11] = 0
    return x


def readable(x: np.ndarray) -> np.ndarray:
    """The same, dense and gene by gene."""
    n = len(x)
    mean, variance = x.mean(0), x.var(0, ddof=1)
    varies = variance > 0
    fit = np.polyfit(np.log10(mean[varies]), np.log10(variance[varies]), 2)
    result = np.zeros(x.shape[1])
    for gene in np.flatnonzero(varies):
        sd = 10 ** (np.polyval(fit, np.log10(mean[gene])) / 2)
        z = np.minimum((x[:, gene] - mean[gene]) / sd, np.sqrt(n))
        result[gene] = (z**2).sum() / (n - 1)
    return result


def test_it_equals_the_readable_form(counts) -> None:
    np.testing.assert_allclose(standardised_variance(csr_matrix(counts)), readable(counts), rtol=1e-9)


def test_blocks_and_the_order_of_cells_change_nothing(counts, monkeypatch) -> None:
    whole = standardised_variance(csr_matrix(counts))
    monkeypatch.setattr(module, "BLOCK", 7)
    shuffled = counts[np.random.default_rng(1).permutation(len(counts))]
    np.testing.assert_array_equal(standardised_variance(csr_matrix(shuffled)), whole)


def test_a_planted_gene_stands_out_and_constant_ones_are_zero(counts) -> None:
    found = standardised_variance(csr_matrix(counts))
    assert found.argmax() == 7
    assert found[[9, 11]].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("x", [[[3.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [3.0, 0.0]], [[0.0], [0.0]]])
def test_degenerate_panels_give_finite_numbers(x) -> None:
    assert np.isfinite(standardised_variance(csr_matrix(np.array(x)))).all()
