"""The kernel adds up what the readable code does, whatever holds the counts, and sees what is no count."""

import numpy as np
import pytest
from scipy import sparse

from interp.errors import InputError
from interp.extraction import tally as module
from interp.extraction.tally import Wanted, tally

RNG = np.random.default_rng(4)
N_COLUMNS = 60


def counts(n_cells=120, density=0.3, largest=400):
    values = RNG.geometric(0.5, size=(n_cells, N_COLUMNS)) * (RNG.random((n_cells, N_COLUMNS)) < density)
    tall = RNG.random(values.shape) < 0.05
    values = np.where(tall, RNG.integers(1, largest, size=values.shape), values)
    values[0] = 0
    return values


def wanted(n_genes=30, n_profiles=3):
    place = np.full(N_COLUMNS, -1, dtype=np.int32)
    place[RNG.permutation(N_COLUMNS)[:n_genes]] = RNG.permutation(n_genes)
    return Wanted(place, RNG.standard_normal((n_genes, 5)), RNG.standard_normal((n_genes, n_profiles)), 1e4)


def by_hand(X, asked):
    """The sums, cell by cell."""
    totals = X.sum(axis=1).astype(float)
    inside, z, fits = [], [], []
    for row, total in zip(X, totals, strict=True):
        held = [(gene, float(row[column])) for column, gene in enumerate(asked.place) if gene >= 0]
        inside.append(sum(count for _, count in held))
        z.append(sum(np.log1p(count / total * 1e4 if total else 0.0) * asked.matrix[gene] for gene, count in held))
        fits.append(sum(count * asked.logs[gene] for gene, count in held))
    return totals, np.array(inside), np.array(z), np.array(fits)


@pytest.fixture(params=[True, False], ids=["kernel", "numpy"])
def compiled(request, monkeypatch):
    monkeypatch.setattr(module, "KERNEL_CELLS", 0 if request.param else 10**9)
    return request.param


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint16])
@pytest.mark.parametrize(
    "store", [np.asarray, sparse.csr_matrix, sparse.csr_array, sparse.csc_matrix, sparse.coo_matrix]
)
def test_every_storage_gives_the_sums_done_by_hand(compiled, store, dtype):
    X, asked = counts(), wanted()
    expected = by_hand(X, asked)
    found = tally(store(X.astype(dtype)), asked)
    for part, value in zip(vars(found).values(), expected, strict=True):
        np.testing.assert_allclose(part, value, rtol=1e-12, atol=1e-10)


def test_chunks_and_storage_by_cell_give_the_same_bytes(compiled, monkeypatch):
    X, asked = counts(), wanted()
    expected = vars(tally(X, asked))
    by_gene = [tally(sparse.csc_matrix(X), asked)]
    monkeypatch.setattr(module, "CHUNK_GENES", 7)
    by_gene.append(tally(sparse.csc_matrix(X), asked))
    np.testing.assert_allclose(by_gene[0].z, by_gene[1].z, rtol=1e-12, atol=1e-12)
    for chunk in (1, 7, 119):
        for store in (np.asarray, sparse.csr_matrix):
            found = vars(tally(store(X.astype(np.float32)), asked, chunk=chunk))
            for name, value in expected.items():
                np.testing.assert_array_equal(found[name], value, err_msg=f"{name} {chunk}")


def test_both_ways_agree_on_many_cells(monkeypatch):
    X, asked = sparse.csr_matrix(counts(3000, largest=100_000).astype(np.float32)), wanted(55, 0)
    found = []
    for least in (0, 10**9):
        monkeypatch.setattr(module, "KERNEL_CELLS", least)
        found.append(tally(X, asked))
    np.testing.assert_allclose(found[0].z, found[1].z, rtol=1e-12, atol=1e-11)
    assert found[0].fits.shape == (3000, 0)


def test_entries_out_of_order_given_twice_or_stored_as_zero_are_added_up_first(compiled):
    X, asked = counts(), wanted()
    rows = []
    for row in X:
        columns = RNG.permutation(N_COLUMNS)  # zeros stored as well
        halves = row[columns] // 2
        rows.append((np.concatenate([columns, columns]), np.concatenate([halves, row[columns] - halves])))
    parts = np.concatenate([row[1] for row in rows]).astype(np.float32), np.concatenate([row[0] for row in rows])
    odd = sparse.csr_matrix((*parts, np.arange(len(X) + 1) * 2 * N_COLUMNS), shape=X.shape)
    before = odd.data.copy()
    for matrix in (odd, odd.tocsc()):
        for part, value in zip(vars(tally(matrix, asked)).values(), by_hand(X, asked), strict=True):
            np.testing.assert_allclose(part, value, rtol=1e-12, atol=1e-10)
    np.testing.assert_array_equal(odd.data, before)
    assert not odd.has_canonical_format


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "NaN"), (np.inf, "infinite"), (-1.0, "negative"), (1.5, "no whole numbers")]
)
@pytest.mark.parametrize("store", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
@pytest.mark.parametrize("placed", [True, False], ids=["needed", "not needed"])
def test_one_value_that_is_no_count_is_found_wherever_it_stands(compiled, store, value, message, placed):
    X, asked = counts().astype(np.float32), wanted()
    X[100, np.flatnonzero((asked.place >= 0) == placed)[3]] = value
    with pytest.raises(InputError, match=f"The cells: .*{message}"):
        tally(store(X), asked)


def test_given_totals_are_taken_and_left_alone(compiled):
    X, asked = counts(), wanted()
    totals = X.sum(axis=1) + 50.0
    kept = totals.copy()
    found = tally(X, asked, totals)
    more = Wanted(np.append(asked.place, -1), asked.matrix, asked.logs, asked.target_sum)
    scaled = by_hand(np.hstack([X, np.full((len(X), 1), 50)]), more)
    np.testing.assert_allclose(found.z, scaled[2], rtol=1e-12, atol=1e-10)
    np.testing.assert_array_equal(totals, kept)


def test_a_gene_that_no_study_was_said_to_measure_must_hold_nothing(compiled):
    X, asked = counts(), wanted()
    absent = np.zeros((2, 30), bool)
    absent[1, 4] = True
    guarded = Wanted(asked.place, asked.matrix, asked.logs, 1e4, "The cells", (np.arange(len(X)) % 2, absent))
    column = int(np.flatnonzero(asked.place == 4)[0])
    X[1, column] = 3
    for store in (np.asarray, sparse.csc_matrix):
        with pytest.raises(InputError, match="counts of 1 genes"):
            tally(store(X), guarded)
        cleared = X.copy()
        cleared[1::2, column] = 0
        tally(store(cleared), guarded)
