import numpy as np
import pytest

from interp.errors import InputError
from interp.extraction.operators import Operator, operators_from_sums, top_k

GENES = tuple(f"G{i}" for i in range(5))


@pytest.fixture
def operators():
    rng = np.random.default_rng(0)
    return operators_from_sums(rng.random((3, 2, 5, 5)), rng.integers(0, 9, (5, 5)), GENES, n_cells=4)


def unit(operator):
    return operator.feature_map / np.linalg.norm(operator.feature_map)


def test_it_is_the_weighted_sum_of_the_best_operator_of_each_of_the_best_heads(operators):
    by_name = {operator.name: operator for operator in operators}
    given = {"L1H0.sum.in": 0.6, "L1H0.mean.out": 0.5, "L2H1.mean.out": 0.2, "L0H0.sum.out": 0.1, "drift.mean.out": 0.9}
    scores = [given.get(operator.name, float("nan")) for operator in operators]
    found = top_k(operators, scores, 2)
    wanted = 0.75 * unit(by_name["L1H0.sum.in"]) + 0.25 * unit(by_name["L2H1.mean.out"])
    np.testing.assert_allclose(found.matrix, wanted)
    np.testing.assert_allclose(found.apply(np.eye(5)), wanted)
    assert (found.name, found.heads, found.n_cells) == ("top2.out", ((1, 0), (2, 1)), 4)
    assert [part["name"] for part in found.provenance["members"]] == ["L1H0.sum.in", "L2H1.mean.out"]
    assert [part["weight"] for part in found.provenance["members"]] == pytest.approx([0.75, 0.25])


def test_the_best_one_alone_is_its_own_map_up_to_scale(operators):
    scores = np.arange(len(operators), dtype=float)
    best = operators[-3]  # the last of one head; drifts come after it
    np.testing.assert_allclose(top_k(operators, scores, 1).matrix, unit(best))


def test_scale_is_no_weight_and_negative_scores_are_none(operators):
    heads = [operators[0], operators[4], operators[8]]
    scaled = [Operator(o.name, o.kind, o.orientation, o.matrix * 10.0**i, GENES, o.heads) for i, o in enumerate(heads)]
    np.testing.assert_allclose(top_k(scaled, [3, 2, -1], 3).matrix, top_k(heads, [3, 2, 0], 3).matrix)
    np.testing.assert_allclose(top_k(heads, [3, 2, -1], 3).matrix, 0.6 * unit(heads[0]) + 0.4 * unit(heads[1]))
    equal = top_k(heads, [-3, -2, -1], 2).matrix
    np.testing.assert_allclose(equal, (unit(heads[2]) + unit(heads[1])) / 2)


def test_factored_heads_and_saving(tmp_path, operators):
    cut = Operator("L0H1.ov.in", "ov", "in", genes=GENES, heads=[(0, 1)], left=np.ones((5, 1)), right=np.ones((1, 5)))
    found = top_k([operators[0], cut], [1.0, 1.0], 2)
    np.testing.assert_allclose(found.matrix, unit(operators[0]) / 2 + np.full((5, 5), 0.1))
    again = Operator.load(found.save(tmp_path / "top.safetensors"))
    np.testing.assert_array_equal(again.matrix, found.matrix)
    assert again.provenance == found.provenance


@pytest.mark.parametrize(
    ("scores", "k", "message"),
    [
        ([1.0], 1, "scores of shape"),
        (None, 7, "The 7 best heads were asked for, and 6 heads have a score"),
        (None, 0, "The 0 best heads"),
    ],
)
def test_what_does_not_fit_is_named(operators, scores, k, message):
    with pytest.raises(InputError, match=message):
        top_k(operators, [1.0] * len(operators) if scores is None else scores, k)


def test_other_genes_are_refused(operators):
    other = Operator("L5H0.mean.out", "mean", "out", np.eye(5), [f"X{i}" for i in range(5)], [(5, 0)])
    with pytest.raises(InputError, match="on different genes"):
        top_k([operators[0], other], [1.0, 2.0], 2)
