from dataclasses import replace

import numpy as np
import pytest

from interp.extraction.operators import Operator, operator_table, operators_from_sums

GENES = tuple(f"G{i}" for i in range(6))


def operator(matrix=None, **options):
    return Operator("x.out", "mean", "out", matrix, GENES, **options)


def test_support_by_hand():
    matrix = np.zeros((6, 6))
    matrix[0, 1] = matrix[0, 2] = matrix[3, 1] = -2.0
    found = operator(matrix).support
    assert (found.shape, found.n_entries, found.n_rows, found.n_columns) == ((6, 6), 3, 2, 2)
    assert found.density == 3 / 36
    assert not found.symmetric
    assert operator(matrix + matrix.T).support.symmetric
    assert operator(np.hstack([matrix + matrix.T, np.eye(6)])).support.symmetric
    assert not operator(np.hstack([np.eye(6), matrix])).support.symmetric


def test_spectrum_by_hand():
    found = operator(np.diag([0.0, 3.0, 1.0, 0.0, 0.0, 1.0])).spectrum
    np.testing.assert_allclose(found.values, [3, 1, 1, 0, 0, 0], atol=1e-15)
    assert found.rank == 3
    assert found.stable_rank == pytest.approx(11 / 9)
    assert found.effective_rank == pytest.approx(11**2 / (81 + 1 + 1))
    assert [found.share(k) for k in (1, 2, 3)] == pytest.approx([9 / 11, 10 / 11, 1])


def test_flat_and_zero_spectra():
    assert operator(np.eye(6)).spectrum.effective_rank == pytest.approx(6)
    assert operator(np.eye(6)).spectrum.stable_rank == pytest.approx(6)
    zero = operator(np.zeros((6, 6))).spectrum
    assert (zero.rank, zero.stable_rank, zero.effective_rank, zero.share(3)) == (0, 0, 0, 0)


@pytest.mark.parametrize("n_features", [6, 12])
@pytest.mark.parametrize("rank", [2, 8])
def test_factors_have_the_singular_values_of_their_product(n_features, rank):
    rng = np.random.default_rng(0)
    left, right = rng.random((6, rank)), rng.random((rank, n_features))
    cut, whole = operator(left=left, right=right), operator(left @ right)
    n = min(rank, 6)
    np.testing.assert_allclose(cut.spectrum.values[:n], whole.spectrum.values[:n])
    assert cut.spectrum.rank == whole.spectrum.rank == n
    assert cut.support == whole.support


def test_rank_allows_for_the_rounding_of_what_is_held():
    rng = np.random.default_rng(0)
    matrix = rng.random((6, 2)) @ rng.random((2, 6))
    assert operator(matrix.astype(np.float32)).spectrum.rank == 2


def test_the_table_has_a_row_for_each_and_measures_both_orientations_once():
    rng = np.random.default_rng(0)
    count = rng.integers(0, 3, (6, 6))
    operators = operators_from_sums(rng.random((3, 1, 6, 6)) * (count > 0), count, GENES, n_cells=5)
    operators.append(operator(left=np.ones((6, 1)), right=np.ones((1, 6))))
    table = operator_table(operators)
    assert list(table["name"]) == [one.name for one in operators]
    for row, one in zip(table.to_dict("records"), operators, strict=True):
        assert row["density"] == one.support.density
        assert row["effective_rank"] == pytest.approx(one.spectrum.effective_rank)
        assert row["top_share"] == pytest.approx(one.spectrum.share(1))
        assert (row["rows"], row["columns"]) == one.matrix.shape
    last, drift = table.iloc[-1], table.iloc[-2]
    assert (last["factors"], last["rank"], last["bytes"], last["symmetric"]) == (1, 1, 12 * 8, True)
    assert drift["columns"] == 12
    assert drift["heads"] == "L0H0 L1H0 L2H0"
    assert table["factors"].isna().sum() == len(table) - 1
    assert "rank" not in operator_table(operators, spectra=False)
    assert operator_table([]).empty


def test_equal_names_of_other_matrices_are_measured_apart_and_shared_ones_once():
    made = []

    def matrix():
        made.append(1)
        return np.eye(6)

    one = Operator("a.out", "mean", "out", matrix, GENES)
    operator_table([one, replace(one, name="a.in", orientation="in")], spectra=False)
    once = len(made)
    operator_table([one], spectra=False)
    assert len(made) == 2 * once
    table = operator_table([operator(np.eye(6)), operator(np.ones((6, 6)))])
    assert list(table["rank"]) == [6, 1]
