from __future__ import annotations

import numpy as np
import pytest
import torch

from interp.capture.reduce import BatchReducer, Reduction, check_distinct
from interp.capture.sites import Site
from interp.errors import InputError
from interp.scgpt.tokens import GeneTokens
from interp.scgpt.vocabulary import Vocabulary

NAN = float("nan")
VOCABULARY = Vocabulary(["A", "B", "C", "<pad>", "<cls>"])
ROWS = torch.tensor([[[1.0], [2.0], [4.0]], [[10.0], [30.0], [99.0]], [[5.0], [98.0], [97.0]]])  # (cell, token, 1)
PAIRS = torch.arange(27.0).view(3, 1, 3, 3)  # (cell, head, query, key)


@pytest.fixture
def batch():
    """A cell with A and C, one with B, one without a gene."""
    ids = torch.tensor([[4, 0, 2], [4, 1, 3], [4, 3, 3]])
    return GeneTokens(ids, ids.float(), ids == 3, ("x", "y", "z"), VOCABULARY.sha256, 0, np.zeros(3, bool))


def reduced(batch, reduction, activation, shape):
    return BatchReducer(reduction, batch, VOCABULARY, torch.device("cpu"))(activation, Site("site", shape))


def test_rows_by_hand(batch):
    for kind, genes, wanted in (
        ("cls", (), [[1], [10], [5]]),
        ("mean", (), [[3], [30], [NAN]]),
        ("genes", ("C", "B"), [[[4], [NAN]], [[NAN], [30]], [[NAN], [NAN]]]),
        ("full", (), [[[1], [2], [4]], [[10], [30], [NAN]], [[5], [NAN], [NAN]]]),
    ):
        found = reduced(batch, Reduction(kind, genes, 3), ROWS, (None, 1))
        np.testing.assert_array_equal(found, np.array(wanted, np.float32))
        assert found.shape[1:] == Reduction(kind, genes, 3).shape(Site("site", (None, 1)))
        flat = reduced(batch, Reduction(kind, genes, 3), ROWS[..., 0], (None,))
        np.testing.assert_array_equal(flat, found[..., 0])


def test_pairs_by_hand(batch):
    found = reduced(batch, Reduction("genes", ("C", "A"), 3), PAIRS, (1, None, None))
    np.testing.assert_array_equal(found[0, 0], [[8, 7], [5, 4]])  # C is the third token, A the second
    assert torch.isnan(found[1:]).all()
    full = reduced(batch, Reduction("full", (), 3), PAIRS, (1, None, None))
    np.testing.assert_array_equal(full[1, 0], [[9, 10, NAN], [12, 13, NAN], [NAN, NAN, NAN]])
    np.testing.assert_array_equal(full[2, 0], [[18, NAN, NAN], [NAN, NAN, NAN], [NAN, NAN, NAN]])


def test_what_is_no_token_is_kept_whole(batch):
    for kind in ("cls", "mean", "full"):
        assert reduced(batch, Reduction(kind), ROWS[:, 0], (1,)).tolist() == [[1], [10], [5]]


def test_the_activation_is_left_as_it_was(batch):
    before = ROWS.clone(), PAIRS.clone()
    for kind in ("cls", "mean", "full"):
        reduced(batch, Reduction(kind, (), 3), ROWS, (None, 1))
    reduced(batch, Reduction("full", (), 3), PAIRS, (1, None, None))
    assert torch.equal(ROWS, before[0])
    assert torch.equal(PAIRS, before[1])


def test_genes_are_given_once():
    check_distinct(["A", "B"])
    with pytest.raises(InputError, match="1 genes are given twice: A"):
        check_distinct(["A", "B", "A"])
