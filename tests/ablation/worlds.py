"""A tiny model in which one head alone carries a label to `<cls>`, and cells of several donors that have it."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import torch
from scipy import sparse

from interp.scgpt.config import ScGPTConfig
from interp.scgpt.model import HookedScGPT
from interp.scgpt.vocabulary import Vocabulary

ON, OFF = "ON", "OFF"
OTHERS = [f"G{i}" for i in range(14)]
N_LAYERS, N_HEADS, D_MODEL = 2, 3, 24


def planted_model(carriers: tuple[tuple[int, int], ...] = ((0, 1),), *, strength: float = 6.0) -> HookedScGPT:
    """Two genes differ in one direction u, which nothing reads but the carriers' values; they write it elsewhere."""
    vocabulary = Vocabulary([ON, OFF, *OTHERS, "<pad>", "<cls>", "<eoc>"])
    config = ScGPTConfig(
        n_vocab=len(vocabulary), n_layers=N_LAYERS, n_heads=N_HEADS, d_model=D_MODEL, d_hid=20, dropout=0.1, mvc=True
    )
    generator = torch.Generator().manual_seed(1)
    model = HookedScGPT(config, vocabulary).initialize(generator).eval().requires_grad_(requires_grad=False)
    u, w = torch.zeros(D_MODEL), torch.zeros(D_MODEL)
    u[0], u[1] = 1 / 2**0.5, -1 / 2**0.5  # orthogonal to the ones, so that a LayerNorm keeps it
    w[2], w[3] = 1 / 2**0.5, -1 / 2**0.5
    rest = torch.eye(D_MODEL) - torch.outer(u, u)
    embedding = model.encoder.embedding.weight
    embedding.copy_(embedding @ rest)
    on, off = vocabulary.ids([ON, OFF])
    embedding[off] = embedding[on]
    embedding[on] += 2 * embedding[on].norm() * u
    embedding[off] -= 2 * embedding[off].norm() * u
    for layer, block in enumerate(model.blocks):
        for name in ("W_Q", "W_K", "W_V"):
            getattr(block.attn, name).copy_(torch.einsum("de,hek->hdk", rest, getattr(block.attn, name)))
        block.mlp.linear1.weight.copy_(block.mlp.linear1.weight @ rest)
        for head in range(N_HEADS):
            if (layer, head) in carriers:
                block.attn.W_V[head].zero_()
                block.attn.W_V[head, :, 0] = u
                block.attn.W_O[head].zero_()
                block.attn.W_O[head, 0] = strength * w
    return model


def planted_cells(n_donors: int = 8, n_cells: int = 14, seed: int = 0) -> anndata.AnnData:
    """Half of every donor's cells express ON, half OFF, in every cell type; the other genes know nothing of it."""
    rng = np.random.default_rng(seed)
    n = n_donors * n_cells
    state = np.tile([0, 1], n // 2)
    counts = rng.poisson(1.2, (n, 2 + len(OTHERS))).astype(np.float32)
    counts[:, 0], counts[:, 1] = 3 * (state == 1), 3 * (state == 0)
    donor = np.repeat([f"d{i}" for i in range(n_donors)], n_cells)
    obs = pd.DataFrame({"donor": donor, "state": np.array(["off", "on"])[state]}, index=[f"c{i}" for i in range(n)])
    obs["cell_type"] = np.array(["B", "T"])[np.arange(n) // 2 % 2]
    obs["depth"] = state + 0.2 * rng.standard_normal(n)
    obs["age"] = 40.0
    return anndata.AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=[ON, OFF, *OTHERS]))
