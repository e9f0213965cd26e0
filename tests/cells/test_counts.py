import numpy as np
import pytest
from anndata import AnnData
from scipy.sparse import csc_matrix, csr_matrix

from interp.cells import counts as module
from interp.cells.counts import check_counts, raw_counts
from interp.errors import InputError


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (-1.0, "negative"),
        (np.nan, "NaN or infinite"),
        (np.inf, "NaN or infinite"),
        (0.69, "log-transformed"),
        (812.5, "normalised"),
    ],
)
@pytest.mark.parametrize("sparse", [True, False])
def test_values_that_are_no_counts_are_refused(value: float, complaint: str, sparse: bool) -> None:
    x = np.array([[1.0, 0.0], [value, 2.0]], dtype=np.float32)
    with pytest.raises(InputError, match=complaint):
        raw_counts(AnnData(csr_matrix(x) if sparse else x), None, "a.h5ad")


def test_every_block_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 4)
    values = np.ones(11)
    check_counts(values, "a.h5ad")
    values[10] = 0.5
    with pytest.raises(InputError, match="no whole numbers"):
        check_counts(values, "a.h5ad")


def test_the_message_names_the_file_and_where_counts_may_be() -> None:
    adata = AnnData(np.array([[0.7]]), layers={"umi": np.array([[1.0]])})
    adata.raw = adata
    with pytest.raises(InputError, match=r"^a\.h5ad.*layer=.*'umi', 'raw'"):
        raw_counts(adata, None, "a.h5ad")


def test_counts_come_from_the_layer_or_raw() -> None:
    adata = AnnData(np.array([[3.0, 1.0]]))
    adata.raw = adata
    adata.X = np.log1p(adata.X)
    adata.layers["umi"] = np.array([[5.0, 0.0]])
    assert raw_counts(adata, "umi", "a").toarray().tolist() == [[5.0, 0.0]]
    assert raw_counts(adata, "raw", "a").toarray().tolist() == [[3.0, 1.0]]
    with pytest.raises(InputError, match="no layer 'spliced'"):
        raw_counts(adata, "spliced", "a")


@pytest.mark.parametrize("kind", [np.asarray, csr_matrix, csc_matrix])
@pytest.mark.parametrize("dtype", [np.int64, np.uint16, np.float64, np.float32])
def test_any_container_and_number_type_gives_the_same_canonical_matrix(kind: type, dtype: type) -> None:
    x = np.array([[0, 3, 1], [2, 0, 0]], dtype=dtype)
    found = raw_counts(AnnData(kind(x)), None, "a")
    assert found.dtype == np.float32
    assert found.has_canonical_format
    assert found.nnz == 3
    assert (found.toarray() == x).all()


def test_stored_zeros_and_unsorted_entries_do_not_matter() -> None:
    x = csr_matrix((np.array([0.0, 2.0, 1.0], np.float32), np.array([2, 1, 0]), np.array([0, 3])), shape=(1, 3))
    found = raw_counts(AnnData(x), None, "a")
    assert found.data.tolist() == [1.0, 2.0]
    assert found.indices.tolist() == [0, 1]
