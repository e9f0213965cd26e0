"""Operators: their arithmetic by hand, what is listed, what is kept on disk."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from scipy import sparse

from interp.errors import InputError, IntegrityError
from interp.extraction.operators import Operator, operators_from_sums

GENES = ("A", "B", "C")


@pytest.fixture
def sums():
    return np.random.default_rng(0).random((3, 2, 3, 3))


@pytest.fixture
def count():
    return np.array([[4, 2, 0], [2, 5, 1], [0, 1, 2]])


def by_name(operators):
    return {operator.name: operator for operator in operators}


def test_out_spreads_along_rows_and_in_gathers_along_columns():
    matrix = np.array([[0.0, 1.0], [0.0, 0.0]])  # A attends to B
    x = np.array([[2.0, 5.0]])
    assert Operator("L0H0.sum.out", "sum", "out", matrix, ("A", "B")).apply(x).tolist() == [[0.0, 2.0]]
    assert Operator("L0H0.sum.in", "sum", "in", matrix, ("A", "B")).apply(x).tolist() == [[5.0, 0.0]]
    assert Operator("L0H0.sum.out", "sum", "out", matrix, ("A", "B")).apply(x, "in").tolist() == [[5.0, 0.0]]


def test_every_head_kind_and_orientation_and_one_drift_per_kind(sums, count):
    operators = operators_from_sums(sums, count, GENES, n_cells=7)
    assert len(operators) == 3 * 2 * 2 * 2 + 2
    assert len(by_name(operators)) == len(operators)
    assert by_name(operators)["L2H1.sum.in"].heads == ((2, 1),)
    assert len(by_name(operators)["drift.mean.out"].heads) == 6
    assert all(operator.n_cells == 7 and operator.genes == GENES for operator in operators)


def test_sum_is_the_sum_and_mean_divides_where_both_genes_were_tokens(sums, count):
    operators = by_name(operators_from_sums(sums, count, GENES))
    np.testing.assert_array_equal(operators["L1H0.sum.out"].matrix, sums[1, 0])
    mean = operators["L1H0.mean.in"].matrix
    for row in range(3):
        for column in range(3):
            assert mean[row, column] == sums[1, 0, row, column] / max(count[row, column], 1)


@pytest.mark.parametrize(("n_layers", "thirds"), [(3, [[0], [1], [2]]), (4, [[0, 1], [2], [3]])])
def test_drift_is_the_difference_of_the_thirds(count, n_layers, thirds):
    sums = np.random.default_rng(1).random((n_layers, 2, 3, 3))
    x = np.random.default_rng(2).random((4, 3))
    early, middle, late = (sums[layers].mean(axis=(0, 1)) / np.maximum(count, 1) for layers in thirds)
    drift = by_name(operators_from_sums(sums, count, GENES))["drift.mean.out"]
    np.testing.assert_allclose(drift.apply(x), np.hstack([x @ early - x @ middle, x @ middle - x @ late]))
    turned = np.hstack([x @ (early - middle).T, x @ (middle - late).T])
    np.testing.assert_allclose(drift.apply(x, "in"), turned)


def test_a_model_of_two_layers_has_no_drift(sums, count):
    assert not [op for op in operators_from_sums(sums[:2], count, GENES) if op.name.startswith("drift")]


def test_matrices_are_made_on_demand_and_never_copied_into_the_list(sums, count):
    operators = by_name(operators_from_sums(sums, count, GENES))
    before = operators["L0H0.mean.out"].matrix
    sums[0, 0] *= 2
    np.testing.assert_allclose(operators["L0H0.mean.out"].matrix, 2 * before)
    assert np.shares_memory(operators["L0H0.sum.out"].matrix, sums)


def test_sparse_and_dense_expression_give_the_same_features(sums, count):
    x = np.array([[0.0, 1.5, 0.0], [2.0, 0.0, 0.25]])
    for operator in operators_from_sums(sums, count, GENES):
        np.testing.assert_allclose(operator.apply(sparse.csr_matrix(x)), operator.apply(x), rtol=1e-14)
        np.testing.assert_allclose(operator.apply(x), x @ operator.feature_map, rtol=1e-14)


def test_replace_puts_another_matrix_in(sums, count):
    operator = operators_from_sums(sums, count, GENES)[0]
    other = dataclasses.replace(operator, name="shuffled", matrix=np.eye(3))
    assert other.apply(np.ones((1, 3))).tolist() == [[1.0, 1.0, 1.0]]
    assert other.orientation == operator.orientation


def test_saved_and_read_again_it_is_the_same(tmp_path, sums, count):
    for operator in operators_from_sums(sums, count, GENES, n_cells=7, provenance={"model": "m", "seed": 3}):
        read = Operator.load(operator.save(tmp_path / "operator.safetensors"))
        np.testing.assert_array_equal(read.matrix, operator.matrix)
        for field in ("name", "kind", "orientation", "genes", "heads", "n_cells", "provenance"):
            assert getattr(read, field) == getattr(operator, field)


def test_equal_operators_give_equal_bytes_in_other_processes(tmp_path):
    program = (
        "import numpy as np, sys; from interp.extraction.operators import Operator;"
        "Operator('L0H0.sum.out', 'sum', 'out', np.eye(2), ('A', 'B'), provenance={'b': 1, 'a': 2}).save(sys.argv[1])"
    )
    files = [tmp_path / "one.safetensors", tmp_path / "two.safetensors"]
    for file in files:
        subprocess.run([sys.executable, "-c", program, str(file)], check=True)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_broken_file_is_refused(tmp_path, sums, count):
    path = operators_from_sums(sums, count, GENES)[0].save(tmp_path / "operator.safetensors")
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(IntegrityError, match="not a whole operator file"):
        Operator.load(path)
    with pytest.raises(InputError, match="no operator file"):
        Operator.load(tmp_path / "absent.safetensors")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s, c: operators_from_sums(s, c, GENES, kinds=["median"]), "no operator kind 'median'"),
        (lambda s, c: operators_from_sums(s, c, ("A", "B")), "do not fit 2 genes"),
        (lambda s, c: operators_from_sums(s, c, GENES)[0].apply(np.ones((2, 4))), "acts on 3 genes"),
        (lambda s, c: operators_from_sums(s, c, GENES)[0].apply(np.ones((2, 3)), "up"), "no orientation 'up'"),
        (lambda s, c: Operator("x", "sum", "out", np.ones((2, 3)), ("A", "B")), r"matrix of shape \(2, 3\)"),
        (lambda s, c: Operator("x", "sum", "out", np.ones((2, 2))), "without genes"),
    ],
)
def test_what_does_not_fit_is_named(sums, count, call, message):
    with pytest.raises(InputError, match=message):
        call(sums, count)
