"""What the speed scripts share: a model of whole-human size with random weights, real cells, and the scgpt package."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import anndata
import torch

from interp.scgpt.config import ScGPTConfig
from interp.scgpt.layout import to_published
from interp.scgpt.model import HookedScGPT
from interp.scgpt.vocabulary import Vocabulary

TESTS = Path(__file__).parents[1] / "tests"
N_VOCAB = 60_697


def real_cells(name: str = "zheng2017_pbmc_sorted.h5ad") -> anndata.AnnData:
    """Read real cells from the folder that INTERP_CELLS names."""
    folder = os.environ.get("INTERP_CELLS", "")
    if not folder:
        sys.exit("INTERP_CELLS does not name the folder of real cells")
    return anndata.read_h5ad(Path(folder) / name)


def whole_human(genes: list[str], seed: int = 0) -> HookedScGPT:
    """Make a 12 x 512 x 8 model over 60,697 tokens, `genes` among them."""
    special = ["<pad>", "<cls>", "<eoc>"]
    symbols = [*genes, *(f"SPARE{i}" for i in range(N_VOCAB - len(genes) - len(special))), *special]
    config = ScGPTConfig(n_vocab=N_VOCAB, n_layers=12, n_heads=8, d_model=512, d_hid=512, dropout=0.2)
    model = HookedScGPT(config, Vocabulary(symbols)).initialize(torch.Generator().manual_seed(seed))
    return model.requires_grad_(requires_grad=False).eval()


def write_published(model: HookedScGPT, folder: Path) -> None:
    """Write a model as scGPT publishes it, for the scgpt package to read."""
    (folder / "args.json").write_text(json.dumps({"n_layers_cls": 3, **model.config.to_args()}))
    (folder / "vocab.json").write_text(json.dumps(model.vocabulary.to_mapping()))
    torch.save(to_published(model.state_dict(), model.config), folder / "best_model.pt")


def scgpt_embed() -> Callable[..., anndata.AnnData]:
    """Import scgpt's own `embed_data` as the parity tests do."""
    sys.path.insert(0, str(TESTS / "scgpt"))
    from scgpt_oracle import load_embed_data

    return load_embed_data()
