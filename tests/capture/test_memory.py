"""Captures and attention sums take memory for one part and one batch, however many cells there are."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from interp.capture import attention_sums, capture
from interp.capture import plan as plans
from interp.scgpt.config import ScGPTConfig
from interp.scgpt.model import HookedScGPT
from interp.scgpt.vocabulary import Vocabulary

MIB = 2**20
GENES = [f"G{i}" for i in range(400)]

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is read from Linux's /proc"
)


@pytest.fixture(scope="module")
def wide():
    """A model whose activations outweigh what a process takes anyway: 64 KiB a cell and site."""
    vocabulary = Vocabulary([*GENES, "<pad>", "<cls>"])
    config = ScGPTConfig(n_vocab=len(vocabulary), n_layers=2, n_heads=4, d_model=64, d_hid=64, dropout=0.0)
    return HookedScGPT(config, vocabulary).initialize(torch.Generator().manual_seed(0)).eval()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """400 cells of about 250 tokens on disk."""
    counts = sparse.random(400, len(GENES), 0.42, format="csr", dtype=np.float32, rng=np.random.default_rng(0))
    counts.data = np.ceil(counts.data * 5)
    obs = pd.DataFrame(index=[f"cell{i}" for i in range(400)])
    path = tmp_path_factory.mktemp("cells")
    cells = anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=GENES))
    cells.write_h5ad(path / "400.h5ad")
    cells[:100].write_h5ad(path / "100.h5ad")
    cells[:8].write_h5ad(path / "8.h5ad")
    return path


def peak_above(work, warm) -> int:
    """Bytes that work takes at its peak above what the process holds, in a process of its own.

    The warm-up runs the same code on a few cells, for what is loaded and allocated once.
    """
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            warm()
            Path("/proc/self/clear_refs").write_text("5")
            before = high_water()
            work()
            os.write(write, str(high_water() - before).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as pipe:
        return int(pipe.read())


def high_water() -> int:
    """Largest resident size since the counter was reset."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    sys.exit("there is no VmHWM in /proc/self/status")


def test_a_capture_takes_no_more_for_more_cells(wide, file, tmp_path, monkeypatch):
    monkeypatch.setattr(plans, "PART_CELLS", 16)
    options = {"sites": ["resid_post", "q"], "reduce": "full", "memory": 24 * MIB}

    def job(n_cells, name):
        return lambda: capture(wide, file / f"{n_cells}.h5ad", out=tmp_path / name, **options)

    few, many = (peak_above(job(n, f"{n}"), job(8, f"warm{n}")) for n in (100, 400))
    stored = 400 * 250 * 64 * 4 * 4  # cells x tokens x d_model x sites x bytes: what holding everything would take
    assert stored > 90 * MIB
    assert many < 24 * MIB  # the budget, to which loading and compression may add
    assert many - few < 8 * MIB


def test_attention_sums_take_themselves_and_no_more_for_more_cells(wide, file, monkeypatch):
    monkeypatch.setattr(plans, "PART_CELLS", 16)
    panel = GENES[:400]
    sums = (2 * 4 + 2) * 400**2 * 8  # 8 heads, the uniform sum and the count

    def job(n_cells):
        return lambda: attention_sums(wide, file / f"{n_cells}.h5ad", panel)

    few, many = (peak_above(job(n), lambda: attention_sums(wide, file / "8.h5ad", panel[:9])) for n in (100, 400))
    patterns = 400 * 8 * 250**2 * 4  # cells x heads x pairs of tokens x bytes: every pattern at once
    assert patterns > 750 * MIB
    assert many < sums + 40 * MIB  # a batch of patterns has 4 MiB, and as much again at every step from the scores
    assert many - few < 24 * MIB  # where freed blocks are taken again differs from run to run by half of this
