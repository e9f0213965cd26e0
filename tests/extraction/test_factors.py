import numpy as np
import pytest

from interp.errors import InputError
from interp.extraction.factors import Factors, factor_genes, factors_of, matched, singular_factors
from interp.extraction.operator import Operator
from interp.extraction.surrogates import truncated

GENES = tuple(f"G{i}" for i in range(30))
FIRST, SECOND = slice(0, 5), slice(10, 16)


def program(genes: slice, seed: int) -> np.ndarray:
    loadings = np.zeros(len(GENES))
    loadings[genes] = np.random.default_rng(seed).uniform(1.0, 2.0, genes.stop - genes.start)
    return loadings / np.linalg.norm(loadings)


def planted(orientation: str = "out") -> Operator:
    """Genes 0-4 write genes 10-15 and, weaker, genes 20-24 write genes 25-29."""
    matrix = 3.0 * np.outer(program(FIRST, 0), program(SECOND, 1))
    matrix += 2.0 * np.outer(program(slice(20, 25), 2), program(slice(25, 30), 3))
    return Operator("L0H0.mean", "mean", orientation, matrix, GENES)


def listed(table, factor, side):
    return set(table[(table["factor"] == factor) & (table["side"] == side)]["gene"])


def test_two_planted_programs_are_the_factors():
    found = factors_of(truncated(planted(), 8))
    assert len(found) == 2
    np.testing.assert_allclose(found.strength, [3.0, 2.0])
    np.testing.assert_allclose(found.read[:, 0], np.sqrt(3.0) * program(FIRST, 0), atol=1e-12)
    table = factor_genes(found, n_top=5)
    assert listed(table, 0, "read") == set(GENES[FIRST])
    assert listed(table, 1, "write") == set(GENES[25:30])
    assert table["share"].groupby([table["factor"], table["side"]]).sum().max() <= 1 + 1e-12


def test_what_is_read_and_written_swaps_with_the_orientation():
    out, inwards = (factors_of(truncated(planted(orientation), 8)) for orientation in ("out", "in"))
    np.testing.assert_allclose(out.read, inwards.write, atol=1e-12)
    np.testing.assert_allclose(out.write, inwards.read, atol=1e-12)


@pytest.mark.parametrize("orientation", ["out", "in"])
def test_factors_add_up_to_the_features(orientation):
    operator = planted(orientation)
    x = np.random.default_rng(0).random((4, len(GENES)))
    found = factors_of(truncated(operator, 8))
    np.testing.assert_allclose((x @ found.read) @ found.write.T, operator.apply(x), atol=1e-12)


def test_rotation_changes_the_factors_and_not_the_operator():
    found = factors_of(truncated(planted(), 8))
    turned = found.rotated(np.array([[0.6, -0.8], [0.8, 0.6]]))
    np.testing.assert_allclose(turned.read @ turned.write.T, found.read @ found.write.T, atol=1e-12)
    assert abs(turned.strength - found.strength).min() > 0.1


def test_the_drift_names_the_block_that_is_written():
    first, second = np.zeros(60), np.zeros(60)
    first[3], second[30 + 4] = 1.0, 1.0
    matrix = 2.0 * np.outer(program(FIRST, 0), first) + np.outer(program(SECOND, 1), second)
    table = factor_genes(factors_of(truncated(Operator("drift", "mean", "out", matrix, GENES), 4)))
    written = table[table["side"] == "write"].set_index("factor")
    assert written.loc[0, ["gene", "block"]].tolist() == ["G3", "early - middle"]
    assert written.loc[1, ["gene", "block"]].tolist() == ["G4", "middle - late"]
    with pytest.raises(InputError, match="read by columns"):
        factors_of(truncated(Operator("drift", "mean", "in", matrix, GENES), 4))


def test_matching_undoes_order_signs_and_other_genes():
    rng = np.random.default_rng(0)
    reference = Factors("a", GENES, rng.normal(size=(30, 4)), rng.normal(size=(30, 4)))
    order = rng.permutation(30)
    moved = reference.take([2, 0, 3, 1])
    moved = Factors("b", tuple(GENES[i] for i in order), -moved.read[order], -moved.write[order])
    found, likeness = matched(moved, reference)
    np.testing.assert_allclose(likeness, 1.0)
    np.testing.assert_allclose(found.read, reference.read[order])
    np.testing.assert_allclose(found.write, reference.write[order])


def test_factors_without_a_partner_come_last():
    rng = np.random.default_rng(0)
    reference = Factors("a", GENES, rng.normal(size=(30, 2)), rng.normal(size=(30, 2)))
    extra = Factors(
        "b", GENES, *(np.column_stack([rng.normal(size=30), each]) for each in (reference.read, reference.write))
    )
    found, likeness = matched(extra, reference)
    np.testing.assert_allclose(found.read[:, :2], reference.read)
    assert np.isnan(likeness[2])
    assert np.isfinite(likeness[:2]).all()


def test_factors_without_common_genes_are_not_matched():
    one = Factors("a", ("A",), np.ones((1, 1)), np.ones((1, 1)))
    with pytest.raises(InputError, match="share 0 genes"):
        matched(one, Factors("b", ("B",), np.ones((1, 1)), np.ones((1, 1))))


def test_an_operator_with_a_matrix_holds_no_factors():
    with pytest.raises(InputError, match="holds no factors"):
        factors_of(planted())


@pytest.mark.parametrize(("matrix", "rank"), [(np.zeros((3, 3)), 1), (np.full((3, 3), np.nan), 1), (np.eye(3), 0)])
def test_what_cannot_be_decomposed_is_refused(matrix, rank):
    with pytest.raises(InputError):
        singular_factors(matrix, rank)
