import numpy as np
import pytest

from interp.errors import InputError
from interp.extraction.folding import FoldedMap
from interp.extraction.operator import Operator
from interp.extraction.surrogates import (
    folded_size,
    n_parameters,
    size_on_disk,
    sparse_factors,
    surrogates,
    truncated,
)

N = 40
GENES = tuple(f"G{i}" for i in range(N))


def operator(orientation="out", n_features=N, seed=0):
    matrix = np.random.default_rng(seed).gamma(0.5, size=(N, n_features))
    return Operator("L0H0.mean." + orientation, "mean", orientation, matrix, GENES, provenance={"split": "fold0"})


@pytest.mark.parametrize("n_features", [N, 2 * N])
def test_truncation_loses_the_discarded_singular_values_and_no_more(n_features):
    full = operator(n_features=n_features)
    s = np.linalg.svd(full.matrix, compute_uv=False)
    for rank in (1, 5, 20):
        lost = np.linalg.norm(full.matrix - truncated(full, rank).matrix)
        assert lost == pytest.approx(np.linalg.norm(s[rank:]))


@pytest.mark.parametrize("orientation", ["out", "in"])
def test_full_rank_is_the_operator(orientation):
    full = operator(orientation)
    x = np.random.default_rng(1).random((3, N))
    np.testing.assert_allclose(truncated(full, 99).apply(x), full.apply(x), atol=1e-10)


@pytest.mark.parametrize(("orientation", "read_side"), [("out", "left"), ("in", "right")])
def test_the_sparse_surrogate_keeps_the_genes_asked_for(orientation, read_side):
    found = sparse_factors(operator(orientation), n_factors=3, n_read=6, n_write=4)
    sides = {"left": found.left, "right": found.right.T}
    read = sides.pop(read_side)
    assert (np.count_nonzero(read, axis=0) == 6).all()
    assert (np.count_nonzero(*sides.values(), axis=0) == 4).all()
    assert n_parameters(found) == 3 * 10


def test_the_sparse_surrogate_keeps_the_largest_loadings_and_the_best_scales():
    full = operator()
    found = sparse_factors(full, n_factors=4, n_read=10, n_write=10)
    kept = np.abs(truncated(full, 4).left)
    for k in range(4):
        on = found.left[:, k] != 0
        assert kept[on, k].min() >= kept[~on, k].max()
    left = full.matrix - found.matrix
    against = [np.vdot(left, np.outer(found.left[:, k], found.right[k])) for k in range(4)]
    np.testing.assert_allclose(against, 0.0, atol=1e-9)


def test_a_sparse_operator_is_its_own_sparse_surrogate():
    a, b = np.zeros(N), np.zeros(N)
    a[:5], b[7:12] = np.arange(1, 6), 1.0
    full = Operator("L0H0.mean.out", "mean", "out", np.outer(a, b), GENES)
    np.testing.assert_allclose(sparse_factors(full, n_factors=16, n_read=6, n_write=6).matrix, full.matrix, atol=1e-10)


def test_all_surrogates_at_once_equal_each_alone():
    full = operator()
    found = surrogates(full, (8, 4), n_factors=3, n_read=5, n_write=5)
    alone = [truncated(full, 8), truncated(full, 4), sparse_factors(full, 3, 5, 5)]
    assert [each.name for each in found] == [
        "L0H0.mean.out.rank8",
        "L0H0.mean.out.rank4",
        "L0H0.mean.out.sparse3x5",
    ]
    for one, other in zip(found, alone, strict=True):
        np.testing.assert_allclose(one.matrix, other.matrix, atol=1e-12)
        assert one.provenance == other.provenance
        assert one.provenance["split"] == "fold0"


def test_sizes_are_those_of_the_files(tmp_path):
    full = operator()
    small = truncated(full, 4)
    for each in (full, small):
        saved = each.astype(np.float32).save(tmp_path / "o.safetensors")
        assert size_on_disk(each) == saved.stat().st_size
    np.testing.assert_allclose(Operator.load(tmp_path / "o.safetensors").matrix, small.matrix, rtol=1e-4, atol=1e-5)
    assert size_on_disk(full) - size_on_disk(small) > 4 * (n_parameters(full) - n_parameters(small)) - 300


def test_a_folded_map_of_1200_genes_weighs_47_kb():
    folded = FoldedMap(np.ones((1200, 10)), np.zeros(10))
    names = sum(len(f'\\"G{i}\\",') for i in range(1200))  # quotes are escaped in the header
    assert 1200 * 10 * 4 <= folded_size(folded, [f"G{i}" for i in range(1200)]) - names < 48_500


@pytest.mark.parametrize("sizes", [(0, 5, 5), (3, 0, 5), (3, 5, 0)])
def test_empty_factors_are_refused(sizes):
    with pytest.raises(InputError, match="at least 1"):
        sparse_factors(operator(), *sizes)
