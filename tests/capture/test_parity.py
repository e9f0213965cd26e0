"""The captured `<cls>` row is what scgpt's own `embed_data` returns."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from interp.capture import capture, cell_embeddings
from interp.scgpt.config import ScGPTConfig
from interp.scgpt.layout import to_published
from interp.scgpt.load import load_model
from interp.scgpt.model import HookedScGPT
from interp.scgpt.vocabulary import Vocabulary

GENES = [f"G{i}" for i in range(40)]


@pytest.fixture(scope="module")
def embed_data():
    path = Path(__file__).parents[1] / "scgpt" / "scgpt_oracle.py"
    spec = importlib.util.spec_from_file_location("scgpt_oracle", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        return module.load_embed_data()
    except ImportError as error:
        if os.environ.get("CI", "").lower() not in ("", "0", "false"):
            pytest.fail(f"the parity tests must run here: {error}")
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A random model in the published layout, its norms and biases off their trivial values."""
    vocabulary = Vocabulary([*GENES, "<pad>", "<cls>", "<eoc>"])
    config = ScGPTConfig(n_vocab=len(vocabulary), n_layers=3, n_heads=2, d_model=16, d_hid=24, dropout=0.2)
    generator = torch.Generator().manual_seed(0)
    model = HookedScGPT(config, vocabulary).initialize(generator).requires_grad_(requires_grad=False)
    for parameter in model.parameters():
        parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    folder = tmp_path_factory.mktemp("published")
    (folder / "args.json").write_text(json.dumps({"n_layers_cls": 3, **config.to_args()}))
    (folder / "vocab.json").write_text(json.dumps(vocabulary.to_mapping()))
    torch.save(to_published(model.state_dict(), config), folder / "best_model.pt")
    return folder


@pytest.fixture(scope="module")
def untied():
    """20 cells of 3 to 40 genes; no two counts of a cell are alike, so no bin is drawn at random."""
    rng = np.random.default_rng(0)
    counts = np.zeros((20, len(GENES)), np.float32)
    for cell, n in enumerate(rng.integers(3, len(GENES) + 1, 20)):
        counts[cell, rng.choice(len(GENES), n, replace=False)] = rng.choice(np.arange(1, 400), n, replace=False)
    obs = pd.DataFrame(index=[f"cell{i}" for i in range(20)])
    return anndata.AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=GENES))


@pytest.mark.filterwarnings("ignore")  # scgpt's own
def test_the_captured_row_is_the_embedding_of_scgpt(embed_data, published, untied, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})  # scgpt starts a worker per core
    theirs = embed_data(untied.copy(), str(published), gene_col="index", device="cpu", use_fast_transformer=False)
    model = load_model(published, device="cpu")
    last = f"blocks.{model.config.n_layers - 1}.hook_resid_post"
    rows = capture(model, untied, sites="resid_post", layers=model.config.n_layers - 1)[last][:]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(rows, theirs.obsm["X_scGPT"], rtol=0, atol=1e-4)
    own = cell_embeddings(model, model.tokenize(untied), normalize=True)
    np.testing.assert_allclose(rows, own, rtol=0, atol=1e-6)
    assert np.abs(rows[0] - rows[1]).max() > 1e-2  # the cells are no copies of each other
