import numpy as np
import pytest
from scipy.sparse import csr_matrix

from interp.cells import expression, operator_genes, read_cells
from interp.errors import InputError, VocabularyError


@pytest.fixture
def panel(make_file, columns):
    return read_cells(make_file(80, 40, n_donors=4), **columns)


def vary(panel, gene, rows, value=200.0):
    """A copy in which a gene is high in some cells only."""
    changed = panel.copy()
    dense = changed.X.toarray()
    dense[rows, changed.var_names.get_loc(gene)] = value
    changed.X = csr_matrix(dense)
    return changed


def test_expression_by_hand(make_file, columns) -> None:
    adata = make_file(2, ["A", "B"])
    adata.X = csr_matrix(np.array([[1, 3], [0, 5]], dtype=np.float32))
    x = expression(read_cells(adata, **columns), ["B", "A"])
    assert x.dtype == np.float64
    np.testing.assert_allclose(x.toarray(), np.log1p([[7500, 2500], [10000, 0]]), rtol=1e-15)


def test_expression_uses_the_total_of_the_source_whatever_genes_are_asked_for(make_file, columns) -> None:
    adata = make_file()
    adata.obs["n_umi"] = 1e4
    cells = read_cells(adata, **columns, total_counts="n_umi")
    np.testing.assert_allclose(
        expression(cells, ["G5"]).toarray().ravel(), np.log1p(adata[:, "G5"].X.toarray().ravel())
    )
    np.testing.assert_array_equal(expression(cells, ["G5"]).toarray(), expression(cells, ["G1", "G5"]).toarray()[:, 1:])


def test_genes_that_are_not_there_are_named(panel, make_file) -> None:
    with pytest.raises(InputError, match="2 of 3 genes are not in the panel of 40 genes: X, Y"):
        expression(panel, ["X", "G1", "Y"])
    with pytest.raises(InputError, match="more than once: G1"):
        expression(panel, ["G1", "G1"])
    with pytest.raises(InputError, match="read_cells"):
        expression(make_file(), ["G1"])


def test_few_eligible_genes_are_all_taken_by_name(panel) -> None:
    assert operator_genes(panel, vocabulary=["G9", "G10", "G1", "X"]) == ["G1", "G10", "G9"]


def test_only_genes_that_every_study_measured(make_file, columns) -> None:
    cells = read_cells([make_file(genes=["A", "B", "C", "D"]), make_file(genes=["D", "B", "C", "E"])], **columns)
    other = read_cells(make_file(genes=["C", "D", "F"]), **columns)
    assert operator_genes(cells, vocabulary="ABCDEF") == ["B", "C", "D"]
    assert operator_genes(cells, vocabulary="ABCDEF", extra=[other]) == ["C", "D"]
    with pytest.raises(
        VocabularyError, match=r"vocabulary of 1.*4 after cells1; 3 after cells2; 2 after cells \(extra\)"
    ):
        operator_genes(cells, vocabulary=["B"], extra=[other])


def test_the_variable_genes_are_taken(make_file, columns) -> None:
    rng = np.random.default_rng(0)
    adata = make_file(200, 150)
    adata.X = csr_matrix(rng.poisson(rng.gamma(2.0, 3.0, 150) + 0.1, (200, 150)).astype(np.float32))
    changed = read_cells(adata, **columns)
    for gene in ("G7", "G20", "G33"):
        changed = vary(changed, gene, np.arange(0, 200, 5), 25.0)
    genes = operator_genes(changed, vocabulary=changed.var_names, n_top=5)
    assert len(genes) == 5
    assert {"G7", "G20", "G33"} < set(genes)
    assert genes == sorted(genes)


def test_other_donors_have_no_say(panel) -> None:
    training = ["cells:d1", "cells:d2", "cells:d3"]
    held_out = np.flatnonzero(panel.obs["donor"] == "cells:d4")
    before = operator_genes(panel, vocabulary=panel.var_names, n_top=10, training_donors=training)
    changed = panel
    for gene in set(panel.var_names) - set(before):
        changed = vary(changed, gene, held_out[::3], 5000.0)
    assert operator_genes(changed, vocabulary=panel.var_names, n_top=10, training_donors=training) == before
    assert operator_genes(changed, vocabulary=panel.var_names, n_top=10) != before


def test_genes_that_occur_in_other_donors_only_are_left_out(panel) -> None:
    silent = vary(panel, "G3", np.flatnonzero(panel.obs["donor"] != "cells:d4"), 0.0)
    training = ["cells:d1", "cells:d2", "cells:d3"]
    assert operator_genes(silent, vocabulary=["G3", "G4"], training_donors=training) == ["G4"]
    assert operator_genes(silent, vocabulary=["G3", "G4"]) == ["G3", "G4"]


def test_neither_the_order_of_cells_nor_of_genes_matters(panel) -> None:
    rng = np.random.default_rng(1)
    shuffled = panel[rng.permutation(panel.n_obs), rng.permutation(panel.n_vars)].copy()
    assert operator_genes(panel, vocabulary=panel.var_names, n_top=12) == operator_genes(
        shuffled, vocabulary=panel.var_names, n_top=12
    )


def test_a_study_ranks_within_itself(make_file, columns) -> None:
    files = [make_file(60, 30, seed=1), make_file(60, 30, seed=2)]
    dense = files[1].X.toarray()
    dense[:, 4] = 300
    files[1].X = csr_matrix(dense)
    cells = read_cells(files, **columns)
    # G4 differs between the studies and is constant within the second.
    assert "G4" not in operator_genes(cells, vocabulary=cells.var_names, n_top=3)


def test_wrong_donors_or_sizes_are_errors(panel) -> None:
    with pytest.raises(InputError, match=r"\['d1'\] are not in the panel; its donors are cells:d1"):
        operator_genes(panel, vocabulary=panel.var_names, training_donors=["d1"])
    with pytest.raises(InputError, match="n_top = 0"):
        operator_genes(panel, vocabulary=panel.var_names, n_top=0)
