"""Small random models in the published layout, and scgpt itself as the oracle."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from interp.scgpt.config import ScGPTConfig
from interp.scgpt.model import HookedScGPT
from interp.scgpt.shapes import published_shapes
from interp.scgpt.vocabulary import Vocabulary

# The args.json that scGPT publishes holds more than the sizes; what is not listed here is paths and schedules.
PUBLISHED_ARGS = {
    "n_bins": 51,
    "max_seq_len": 1200,
    "pad_token": "<pad>",
    "pad_value": -2,
    "mask_value": -1,
    "input_style": "binned",
    "input_emb_style": "continuous",
    "n_layers_cls": 3,
    "dropout": 0.2,
    "fast_transformer": True,
    "n_hvg": None,
    "lr": 0.0001,
    "mask_ratio": [0.25, 0.5, 0.75],
}


@dataclass
class Published:
    """A model in the published layout, before it is written."""

    args: dict[str, Any]
    mapping: dict[str, int]
    state: dict[str, Tensor]

    def write(self, folder: Path, *, weights: str = "torch") -> Path:
        """Write the folder with `best_model.pt` or `model.safetensors`."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        (folder / "args.json").write_text(json.dumps(self.args))
        (folder / "vocab.json").write_text(json.dumps(self.mapping))
        if weights == "torch":
            torch.save(self.state, folder / "best_model.pt")
        else:
            save_file(self.state, folder / "model.safetensors")
        return folder

    def with_flash_keys(self) -> Published:
        """Return the same weights under the names that flash attention gives them."""
        state = {name.replace("in_proj_", "Wqkv."): tensor for name, tensor in self.state.items()}
        return Published(self.args, self.mapping, state)


def _args_for(n_layers: int, d_model: int, n_heads: int, d_hid: int) -> dict[str, Any]:
    """Return an args.json as scGPT publishes it."""
    return {**PUBLISHED_ARGS, "nlayers": n_layers, "embsize": d_model, "nheads": n_heads, "d_hid": d_hid}


def _symbols_for(n_vocab: int) -> list[str]:
    """Return gene symbols with the special tokens behind them, as in the published vocabulary."""
    return [*(f"GENE{i}" for i in range(n_vocab - 3)), "<pad>", "<cls>", "<eoc>"]


@pytest.fixture(scope="session")
def oracle() -> SimpleNamespace:
    """scgpt 0.2.4; without it the test is skipped, but fails where the environment says CI."""
    path = Path(__file__).with_name("scgpt_oracle.py")
    spec = importlib.util.spec_from_file_location("scgpt_oracle", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        return module.load_scgpt()
    except ImportError as error:
        if os.environ.get("CI", "").lower() not in ("", "0", "false"):
            pytest.fail(f"the parity tests must run here: {error}")
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def publish() -> Callable[..., Published]:
    """Put any state dict into the published layout; takes the sizes as keywords."""

    def make(state: dict[str, Tensor], *, n_vocab: int, **sizes: int) -> Published:
        mapping = {symbol: index for index, symbol in enumerate(_symbols_for(n_vocab))}
        return Published(_args_for(**sizes), mapping, dict(state))

    return make


@pytest.fixture
def vocabulary() -> Vocabulary:
    """37 genes and three special tokens."""
    return Vocabulary(_symbols_for(40))


@pytest.fixture
def config() -> ScGPTConfig:
    """2 layers x 2 heads of width 8."""
    return ScGPTConfig.from_args(_args_for(2, 16, 2, 24), 40, mvc=True)


@pytest.fixture
def published(config: ScGPTConfig, vocabulary: Vocabulary) -> Published:
    """Random weights of the small model in the published layout."""
    generator = torch.Generator().manual_seed(3)
    state = {name: torch.randn(shape, generator=generator) for name, shape in published_shapes(config).items()}
    return Published(_args_for(2, 16, 2, 24), vocabulary.to_mapping(), state)


@pytest.fixture
def model(config: ScGPTConfig, vocabulary: Vocabulary) -> HookedScGPT:
    """The small model with scGPT's initial weights, norms and biases moved off their trivial values."""
    generator = torch.Generator().manual_seed(5)
    model = HookedScGPT(config, vocabulary).initialize(generator).eval().requires_grad_(requires_grad=False)
    for parameter in model.parameters():
        parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model
