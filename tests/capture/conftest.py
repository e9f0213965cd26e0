"""A small random model and cells of its genes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from interp.capture import plan
from interp.scgpt.config import ScGPTConfig
from interp.scgpt.model import HookedScGPT
from interp.scgpt.vocabulary import Vocabulary

GENES = [f"G{i}" for i in range(30)]


@pytest.fixture(scope="session")
def model() -> HookedScGPT:
    vocabulary = Vocabulary([*GENES, "<pad>", "<cls>", "<eoc>"])
    config = ScGPTConfig(n_vocab=len(vocabulary), n_layers=3, n_heads=2, d_model=16, d_hid=24, dropout=0.1, mvc=True)
    generator = torch.Generator().manual_seed(0)
    model = HookedScGPT(config, vocabulary).initialize(generator).eval().requires_grad_(requires_grad=False)
    for parameter in model.parameters():
        parameter += 0.1 * torch.randn(parameter.shape, generator=generator)  # off the trivial values
    return model


@pytest.fixture(scope="session")
def cells() -> anndata.AnnData:
    rng = np.random.default_rng(1)
    counts = rng.poisson(0.8, (17, len(GENES))).astype(np.float32)
    obs = pd.DataFrame(index=[f"cell{i}" for i in range(17)])
    return anndata.AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=GENES))


@pytest.fixture(scope="session")
def mixed() -> anndata.AnnData:
    """23 cells of very different length, one without any gene, with labels of several kinds."""
    rng = np.random.default_rng(4)
    counts = rng.poisson(rng.uniform(0.05, 3.0, (23, 1)), (23, len(GENES))).astype(np.float32)
    counts[7] = 0
    obs = pd.DataFrame(
        {
            "donor": pd.Categorical([f"d{i % 3}" for i in range(23)], categories=["d2", "d1", "d0"]),
            "note": [f"note {i}" for i in range(23)],
            "age": np.arange(23),
            "score": np.linspace(0, 1, 23),
            "sorted": np.arange(23) % 2 == 0,
        },
        index=[f"cell{i}" for i in range(23)],
    )
    return anndata.AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=GENES))


@pytest.fixture(scope="session")
def tree() -> Callable[[Path], dict[str, bytes]]:
    """What a folder holds: path below it to bytes, folders as empty bytes."""

    def read(folder: Path) -> dict[str, bytes]:
        return {
            item.relative_to(folder).as_posix(): b"" if item.is_dir() else item.read_bytes()
            for item in sorted(folder.rglob("*"))
        }

    return read


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 4 cells and batches of at most 60 tokens."""
    monkeypatch.setattr(plan, "PART_CELLS", 4)
    monkeypatch.setitem(plan.BATCH_TOKENS, "cpu", 60)
