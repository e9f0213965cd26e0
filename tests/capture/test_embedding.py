from __future__ import annotations

import numpy as np
import torch

from interp.capture import cell_embeddings
from interp.capture import plan as module


def test_rows_are_the_cls_rows_in_the_order_of_the_cells(model, cells):
    tokens = model.tokenize(cells)
    found = cell_embeddings(model, tokens)
    with torch.no_grad():
        one_by_one = np.concatenate([model(tokens[i]).cell.numpy() for i in range(len(tokens))])
    np.testing.assert_allclose(found, one_by_one, atol=1e-5)


def test_batches_do_not_matter(model, cells, monkeypatch):
    tokens = model.tokenize(cells)
    whole = cell_embeddings(model, tokens)
    monkeypatch.setitem(module.BATCH_TOKENS, "cpu", 40)
    np.testing.assert_allclose(cell_embeddings(model, tokens), whole, atol=1e-5)


def test_normalized_rows_have_length_one(model, cells):
    found = cell_embeddings(model, model.tokenize(cells), normalize=True)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)
