"""A small random model, cells of very different length, and readers of both kinds."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from torch import Tensor

from interp.ablation import Replacement
from interp.scgpt.config import ScGPTConfig
from interp.scgpt.model import HookedScGPT
from interp.scgpt.tokens import GeneTokens
from interp.scgpt.vocabulary import Vocabulary

GENES = [f"G{i}" for i in range(30)]
N_CELLS = 11


@pytest.fixture(scope="session")
def model() -> HookedScGPT:
    vocabulary = Vocabulary([*GENES, "<pad>", "<cls>", "<eoc>"])
    config = ScGPTConfig(n_vocab=len(vocabulary), n_layers=4, n_heads=3, d_model=24, d_hid=20, dropout=0.1, mvc=True)
    generator = torch.Generator().manual_seed(0)
    model = HookedScGPT(config, vocabulary).initialize(generator).eval().requires_grad_(requires_grad=False)
    for parameter in model.parameters():
        parameter += 0.2 * torch.randn(parameter.shape, generator=generator)  # off the trivial values
    return model


@pytest.fixture(scope="session")
def labels() -> pd.DataFrame:
    """Donors and types of the cells; every type is in at least two donors."""
    donors = np.array(["a", "b", "c"])[np.arange(N_CELLS) % 3]
    return pd.DataFrame({"donor": donors, "cell_type": np.array(["T", "B"])[np.arange(N_CELLS) // 3 % 2]})


@pytest.fixture(scope="session")
def tokens(model: HookedScGPT) -> GeneTokens:
    """Cells of 2 to 30 genes."""
    rng = np.random.default_rng(4)
    counts = rng.poisson(rng.uniform(0.1, 3.0, (N_CELLS, 1)), (N_CELLS, len(GENES))).astype(np.float32)
    counts[:, :2] += 1
    obs = pd.DataFrame(index=[f"cell{i}" for i in range(N_CELLS)])
    return model.tokenize(anndata.AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=GENES)))


def read_all(resid: Tensor, tokens: GeneTokens) -> Mapping[str, Tensor]:
    """Mean over a cell's tokens, and one number from a product of features."""
    inside = (~tokens.padding).to(resid)
    mean = torch.einsum("ct,ctd->cd", inside, resid) / inside.sum(1, keepdim=True)
    return {"mean": mean, "product": (resid[..., 0] * resid[..., 1] * inside).sum(1)}


def read_cls(resid: Tensor, tokens: GeneTokens) -> Mapping[str, Tensor]:
    """The `<cls>` row."""
    return {"cls": resid[:, 0]}


read_cls.rows = "cls"


@pytest.fixture(params=[read_all, read_cls], ids=["all rows", "cls"])
def read(request: pytest.FixtureRequest) -> Callable[..., Mapping[str, Tensor]]:
    return request.param


@pytest.fixture(params=["zero", "mean", "mean of type", "resample"])
def replacement(request, model, tokens, labels) -> Replacement:
    from interp.ablation import Mean, Resample, Zero

    if request.param == "resample":
        return Resample.of(model, tokens, donors=labels["donor"], groups=labels["cell_type"], seed=3)
    groups = labels["cell_type"] if request.param == "mean of type" else None
    return Zero() if request.param == "zero" else Mean.of(model, tokens, groups)
