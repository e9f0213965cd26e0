"""A small random model and cells of its genes."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from interp.scgpt.config import ScGPTConfig
from interp.scgpt.model import HookedScGPT
from interp.scgpt.vocabulary import Vocabulary

GENES = [f"G{i}" for i in range(30)]


@pytest.fixture(scope="session")
def model() -> HookedScGPT:
    vocabulary = Vocabulary([*GENES, "<pad>", "<cls>", "<eoc>"])
    config = ScGPTConfig(n_vocab=len(vocabulary), n_layers=3, n_heads=2, d_model=16, d_hid=16, dropout=0.0)
    return HookedScGPT(config, vocabulary).initialize(torch.Generator().manual_seed(0)).eval()


@pytest.fixture(scope="session")
def cells() -> anndata.AnnData:
    rng = np.random.default_rng(1)
    counts = rng.poisson(0.8, (17, len(GENES))).astype(np.float32)
    obs = pd.DataFrame(index=[f"cell{i}" for i in range(17)])
    return anndata.AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=GENES))
