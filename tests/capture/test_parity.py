"""The captured `<cls>` row is what scgpt's own `embed_data` returns."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import torch

from interp.capture import capture, cell_embeddings
from interp.scgpt.checkpoint import ARGS, VOCABULARY, read_checkpoint, save_checkpoint
from interp.scgpt.config import ScGPTConfig
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
