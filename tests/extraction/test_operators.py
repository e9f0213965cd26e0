"""Operators: their arithmetic by hand, whole and as factors, and what is kept on disk."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from scipy import sparse

from interp.biology import StageGraph
from interp.errors import InputError, IntegrityError
from interp.evidence import Candidates, randomised
from interp.evidence.controls import MATCHED
from interp.extraction.let import LetProblem, fit_let
from interp.extraction.operators import Operator, operators_from_sums
from interp.extraction.span import SpanBasis
from interp.runs.hashes import json_text
from interp.stats import Split

GENES = ("A", "B", "C")


@pytest.fixture
def sums():
    return np.random.default_rng(0).random((3, 2, 3, 3))


@pytest.fixture
def count():
    return np.array([[4, 2, 0], [2, 5, 1], [0, 1, 2]])


def operator(matrix=None, orientation="out", n_genes=3, **factors):
    return Operator("L1H0.mean." + orientation, "mean", orientation, matrix, GENES[:n_genes], [(1, 0)], 7, **factors)


def factors(n_features=3, rank=2, dtype=np.float64):
    rng = np.random.default_rng(3)
    return {"left": rng.random((3, rank)).astype(dtype), "right": rng.random((rank, n_features)).astype(dtype)}


def test_out_spreads_along_rows_and_in_gathers_along_columns():
    matrix = np.array([[0.0, 1.0], [0.0, 0.0]])  # A attends to B
    x = np.array([[2.0, 5.0]])
    assert operator(matrix, n_genes=2).apply(x).tolist() == [[0.0, 2.0]]
    assert operator(matrix, "in", n_genes=2).apply(x).tolist() == [[5.0, 0.0]]
    assert operator(matrix, n_genes=2).apply(x, "in").tolist() == [[5.0, 0.0]]


@pytest.mark.parametrize("n_features", [3, 6])
@pytest.mark.parametrize("orientation", ["out", "in"])
def test_factors_do_what_their_product_does(n_features, orientation):
    x = np.random.default_rng(1).random((4, 3))
    parts = factors(n_features)
    whole, cut = operator(parts["left"] @ parts["right"], orientation), operator(orientation=orientation, **parts)
    np.testing.assert_allclose(cut.matrix, whole.matrix)
    np.testing.assert_allclose(cut.feature_map, whole.feature_map)
    for turned in ("out", "in"):
        np.testing.assert_allclose(cut.apply(x, turned), whole.apply(x, turned))
        np.testing.assert_allclose(cut.apply(sparse.csr_matrix(x), turned), whole.apply(x, turned))
    assert cut.factored
    assert not whole.factored
    assert whole.left is None


def test_sparse_and_dense_expression_give_the_same_features(sums, count):
    x = np.array([[0.0, 1.5, 0.0], [2.0, 0.0, 0.25]])
    for found in operators_from_sums(sums, count, GENES):
        np.testing.assert_allclose(found.apply(sparse.csr_matrix(x)), found.apply(x), rtol=1e-14)
        np.testing.assert_allclose(found.apply(x), x @ found.feature_map, rtol=1e-14)


def test_the_identity_through_the_adaptor_equals_the_adaptor_on_the_input():
    rng = np.random.default_rng(2)
    x = rng.random((8, 3))
    ruler = StageGraph.hematopoiesis().ruler(["HSC", "GMP", "neutrophil", "NK"] * 2)
    fits = [
        fit_let([LetProblem(SpanBasis.from_features(features), ruler)], n_latent=2, n_starts=1, max_iter=60)[0]
        for features in (x, operator(np.eye(3)).apply(x), operator(left=np.eye(3), right=np.eye(3)).apply(x, "in"))
    ]
    for fit in fits[1:]:
        np.testing.assert_array_equal(fit.transform(x), fits[0].transform(x))
    assert np.ptp(fits[0].transform(x)) > 0.1


# -- replacing what is held ------------------------------------------------------------------------------------------


def test_another_matrix_takes_the_place_of_factors_and_factors_that_of_a_matrix():
    whole, cut = operator(np.eye(3)), operator(**factors())
    replaced = dataclasses.replace(cut, kind="shuffled", matrix=np.eye(3))
    assert replaced.matrix.tolist() == np.eye(3).tolist()
    assert not replaced.factored
    lazily = dataclasses.replace(cut, kind="shuffled", matrix=lambda: 2 * np.eye(3))
    assert lazily.apply(np.ones((1, 3))).tolist() == [[2.0, 2.0, 2.0]]
    assert not lazily.factored
    for given in (whole, cut):
        surrogate = dataclasses.replace(given, kind="rank 1", left=np.ones((3, 1)), right=np.ones((1, 3)))
        assert surrogate.matrix.tolist() == np.ones((3, 3)).tolist()
        assert surrogate.heads == given.heads
    with pytest.raises(InputError, match="given matrix, left, right"):
        dataclasses.replace(cut, matrix=np.eye(3), **factors())
    with pytest.raises(InputError, match="given left;"):
        dataclasses.replace(whole, left=np.ones((3, 1)))


def test_what_is_not_given_anew_stays_as_it_is_held_and_unmade():
    made = []
    lazy = operator(lambda: made.append(1) or np.eye(3))
    renamed = dataclasses.replace(lazy, name="other", orientation="in")
    assert not made
    assert renamed.matrix.tolist() == np.eye(3).tolist()
    cut = dataclasses.replace(operator(**factors()), name="other")
    assert cut.factored
    assert cut.left.shape == (3, 2)


@pytest.mark.parametrize("name", MATCHED)
def test_random_controls_match_the_product_of_factors(name):
    split = Split("fold0", ("a",), ("b",), np.arange(1), np.arange(1, 2))
    x, parts = np.random.default_rng(1).random((4, 3)), factors()
    drawn = []
    for held in (parts, {"matrix": parts["left"] @ parts["right"]}):
        found = [operator(orientation=turned, **held) for turned in ("out", "in")]
        control = randomised(Candidates("chosen", lambda _, found=found: found, lambda _: x), name, 0, seed=0)
        assert not any(one.factored for one in control.operators(split))
        drawn.append([control.features(split, i) for i in range(2)])
    np.testing.assert_allclose(drawn[0], drawn[1])
    assert not np.allclose(drawn[0][0], x @ (parts["left"] @ parts["right"]))


def test_astype_makes_what_is_held():
    made = operator(lambda: np.eye(3)).astype(np.float32)
    assert not callable(made._held[0])
    assert made.matrix.dtype == np.float32
    cut = operator(**factors()).astype(np.float32)
    assert cut.factored
    assert cut.right.dtype == np.float32


# -- files -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["matrix", "drift", "factors", "drift of factors"])
def any_operator(request, sums, count):
    if "factors" in request.param:
        return operator(**factors(6 if "drift" in request.param else 3, dtype=np.float32))
    found = operators_from_sums(sums, count, GENES, n_cells=7, provenance={"model": "m", "seed": 3})
    return found[-1 if request.param == "drift" else 0]


def test_saved_and_read_again_it_is_the_same(tmp_path, any_operator):
    read = Operator.load(any_operator.save(tmp_path / "operator.safetensors"))
    assert read.factored == any_operator.factored
    for one, other in zip(read.parts, any_operator.parts, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
    for field in ("name", "kind", "orientation", "genes", "heads", "n_cells", "provenance"):
        assert getattr(read, field) == getattr(any_operator, field)
    assert read.save(tmp_path / "again").read_bytes() == (tmp_path / "operator.safetensors").read_bytes()


def test_factors_weigh_less_on_disk(tmp_path):
    rng = np.random.default_rng(0)
    genes = [f"G{i}" for i in range(200)]
    left, right = rng.random((200, 2), np.float32), rng.random((2, 200), np.float32)
    cut = Operator("x", "rank 2", "out", genes=genes, left=left, right=right)
    whole = Operator("x", "rank 2", "out", left @ right, genes)
    sizes = [one.save(tmp_path / "x").stat().st_size for one in (cut, whole)]
    assert sizes[0] < 4 * 800 + 4096
    assert sizes[1] > 4 * 40_000


def test_equal_operators_give_equal_bytes_in_other_processes(tmp_path):
    program = (
        "import numpy as np, sys; from interp.extraction.operators import Operator;"
        "Operator('L0H0.sum.out', 'sum', 'out', np.eye(2), ('A', 'B'), provenance={'b': 1, 'a': 2}).save(sys.argv[1])"
    )
    files = [tmp_path / "one.safetensors", tmp_path / "two.safetensors"]
    for file in files:
        subprocess.run([sys.executable, "-c", program, str(file)], check=True)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_it_loads_and_applies_where_there_is_no_torch(tmp_path, any_operator):
    path = any_operator.save(tmp_path / "operator.safetensors")
    program = (
        "import sys; sys.modules['torch'] = None; import numpy as np; from interp.extraction.operators import Operator;"
        "np.save(sys.argv[2], Operator.load(sys.argv[1]).apply(np.eye(3)))"
    )
    subprocess.run([sys.executable, "-c", program, str(path), str(tmp_path / "features.npy")], check=True)
    np.testing.assert_allclose(np.load(tmp_path / "features.npy"), any_operator.feature_map, rtol=1e-6)


def test_plain_safetensors_reads_the_arrays(tmp_path):
    from safetensors.numpy import load_file

    parts = factors()
    arrays = load_file(operator(**parts).save(tmp_path / "x.safetensors"))
    np.testing.assert_array_equal(arrays["left"] @ arrays["right"], parts["left"] @ parts["right"])


def test_a_broken_file_is_refused(tmp_path):
    path = operator(np.eye(3)).save(tmp_path / "operator.safetensors")
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(IntegrityError, match="not a whole operator file"):
        Operator.load(path)
    with pytest.raises(InputError, match="no operator file"):
        Operator.load(tmp_path / "absent.safetensors")


def test_a_changed_number_is_refused(tmp_path, any_operator):
    path = any_operator.save(tmp_path / "operator.safetensors")
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="was changed after it was written"):
        Operator.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(orientation="in"), "was changed after it was written"),
        (lambda d: d.update(genes=["A", "C", "B"]), "was changed after it was written"),
        (lambda d: d["provenance"].update(model="another"), "was changed after it was written"),
        (lambda d: d.update(schema=99), "has operator schema 99, this version reads 2"),
        (lambda d: d.pop("sha256"), "not a whole operator file"),
    ],
)
def test_a_changed_description_is_refused(tmp_path, change, message):
    from safetensors import safe_open
    from safetensors.numpy import save_file

    path = dataclasses.replace(operator(np.eye(3)), provenance={"model": "m"}).save(tmp_path / "x.safetensors")
    with safe_open(path, framework="numpy") as file:
        described = json.loads(file.metadata()["interp"])
    change(described)
    save_file({"matrix": np.eye(3)}, path, metadata={"interp": json_text(described)})
    with pytest.raises(IntegrityError, match=message):
        Operator.load(path)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: operator(np.eye(3)).apply(np.ones((2, 4))), "acts on 3 genes"),
        (lambda: operator(np.eye(3)).apply(np.ones((2, 3)), "up"), "no orientation 'up'"),
        (lambda: operator(np.ones((2, 3)), n_genes=2), r"matrix of shape \(2, 3\)"),
        (lambda: operator(lambda: np.ones((2, 3)), n_genes=2).matrix, r"matrix of shape \(2, 3\)"),
        (lambda: operator(left=np.ones((3, 2)), right=np.ones((1, 3))), r"factors of shape \(3, 2\), \(1, 3\)"),
        (lambda: operator(left=np.ones((2, 2)), right=np.ones((2, 3))), r"factors of shape \(2, 2\), \(2, 3\)"),
        (lambda: operator(left=np.ones(3), right=np.ones((1, 3))), r"factors of shape \(3,\)"),
        (lambda: operator(), "given nothing to hold"),
        (lambda: Operator("x", "sum", "out", np.ones((2, 2))), "without genes"),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
