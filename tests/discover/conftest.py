"""A job small enough for tests: few donors, stages and genes, and an untrained model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from interp.cells.read import read_cells
from interp.discover import DiscoverSettings, Panels
from interp.scgpt.checkpoint import save_checkpoint
from interp.scgpt.config import ScGPTConfig
from interp.scgpt.model import HookedScGPT
from interp.scgpt.vocabulary import Vocabulary
from interp.simulate import simulate

STAGES = ("HSC", "GMP", "CLP", "neutrophil", "naive B", "erythroblast")
COLUMNS = {"donor": "donor", "tissue": "tissue", "cell_type": "cell_type"}
TINY = DiscoverSettings(
    n_splits=2, attention_cells=40, genes=40, draws=2, untrained_draws=1, label_nulls=4, other_nulls=3, gate_nulls=2,
    negative_draws=2, final_starts=2, probe_cells=240, probe_draws=3, ablation_cells=40,
)  # fmt: skip


def tiny_panels(n_donors: int = 4) -> Panels:
    """Simulate the three panels."""
    atlas, external = (
        read_cells(
            simulate(n_donors=n, n_cells=90 * n, n_genes=300, seed=seed, stages=STAGES), **COLUMNS, study="study"
        )
        for n, seed in ((n_donors, 0), (3, 1))
    )
    other = simulate(n_donors=3, n_cells=240, n_genes=300, seed=2, world="unrelated")
    return Panels(atlas, external, read_cells(other, **COLUMNS, study="study", require_stages=False))


def tiny_checkpoint(folder: Path, genes: list[str]) -> Path:
    """Write an untrained model of these genes."""
    vocabulary = Vocabulary([*genes, "<pad>", "<cls>", "<eoc>"])
    config = ScGPTConfig(n_vocab=len(vocabulary), n_layers=3, n_heads=2, d_model=8, d_hid=8)
    model = HookedScGPT(config, vocabulary).initialize(torch.Generator().manual_seed(0))
    save_checkpoint(folder, model)
    return folder


@pytest.fixture(scope="session")
def panels() -> Panels:
    return tiny_panels()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, panels: Panels) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("model") / "tiny", list(panels.internal.var_names))
