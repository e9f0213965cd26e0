from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from interp.errors import InputError
from interp.scgpt import pretrain as pretraining
from interp.scgpt.checkpoint import read_checkpoint, save_checkpoint
from interp.scgpt.pretrain import PretrainSettings, pretrain

GENES = [f"GENE{i}" for i in range(24)]
TINY = PretrainSettings(
    n_layers=1, n_heads=2, d_model=16, d_hid=16, max_tokens=30, dropout=0.1, steps=40, batch_cells=16, tokens=25,
    profile_genes=24, learning_rate=2e-2, evaluate_every=10, validation_cells=32,
)  # fmt: skip


def cells(name, n_cells, seed):
    """Cells whose genes differ in level, from 1 to 100 counts: a gene's bin follows from its name."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(np.geomspace(1, 100, 24), (n_cells, 24)).astype(np.float32)
    adata = anndata.AnnData(
        sparse.csr_matrix(counts),
        obs=pd.DataFrame({"study": "s"}, index=[f"s:{name}{i}" for i in range(n_cells)]),
        var=pd.DataFrame(index=GENES),
    )
    adata.varm["measured"] = pd.DataFrame({"s": True}, index=GENES)
    adata.uns["interp"] = {"panel": {"sha256": name}}
    return adata


@pytest.fixture(scope="module")
def train():
    return cells("train", 128, 0)


@pytest.fixture(scope="module")
def held_out():
    return cells("held", 48, 1)


@pytest.fixture(scope="module")
def undisturbed(train, held_out, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    return out, pretrain(train, held_out, out, genes=GENES, settings=TINY)


def test_training_learns_the_levels_of_the_genes(undisturbed):
    curve = pd.read_csv(undisturbed[0] / "learning_curve.csv")
    assert curve["step"].tolist() == [10, 20, 30, 40]
    assert curve["masked"].iloc[-1] < 0.5 * curve["masked"].iloc[0]
    assert curve["r2"].max() > 0.6  # without learning it is 0


def test_the_model_is_the_best_one_frozen_and_can_be_saved(undisturbed, tmp_path):
    _, model = undisturbed
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    folder = save_checkpoint(tmp_path / "m", model, dtype="float32")
    state = read_checkpoint(folder).state
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert set(model.vocabulary.genes) == set(GENES)


def test_the_same_seed_gives_the_same_bytes_whatever_the_global_random_state(train, held_out, undisturbed, tmp_path):
    torch.manual_seed(99)
    pretrain(train, held_out, tmp_path, genes=GENES, settings=TINY)
    assert (tmp_path / "best.safetensors").read_bytes() == (undisturbed[0] / "best.safetensors").read_bytes()


def test_another_seed_gives_another_model(train, held_out, undisturbed, tmp_path):
    pretrain(train, held_out, tmp_path, genes=GENES, settings=replace(TINY, seed=1))
    assert (tmp_path / "best.safetensors").read_bytes() != (undisturbed[0] / "best.safetensors").read_bytes()


@pytest.mark.parametrize("stop", [5, 25])
def test_an_interrupted_training_continues_to_the_same_bytes(train, held_out, undisturbed, tmp_path, monkeypatch, stop):
    update, done = pretraining._Trainer._update, []

    def stopping(self, *args):
        if len(done) == stop:
            raise KeyboardInterrupt
        done.append(1)
        return update(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(pretraining._Trainer, "_update", stopping)
        with pytest.raises(KeyboardInterrupt):
            pretrain(train, held_out, tmp_path, genes=GENES, settings=TINY)
    pretrain(train, held_out, tmp_path, genes=GENES, settings=TINY)
    for name in ("best.safetensors", "learning_curve.csv", "state.safetensors"):
        assert (tmp_path / name).read_bytes() == (undisturbed[0] / name).read_bytes(), name


def test_a_finished_training_is_not_done_again(train, held_out, undisturbed, monkeypatch):
    monkeypatch.setattr(pretraining._Trainer, "_update", lambda *_: pytest.fail("trained again"))
    again = pretrain(train, held_out, undisturbed[0], genes=GENES, settings=TINY)
    assert torch.equal(again.decoder.fc[0].weight, undisturbed[1].decoder.fc[0].weight)


def test_a_folder_of_another_training_is_refused(train, held_out, undisturbed):
    with pytest.raises(InputError, match="other settings or cells"):
        pretrain(train, held_out, undisturbed[0], genes=GENES, settings=replace(TINY, dropout=0.2))
    with pytest.raises(InputError, match="other settings or cells"):
        pretrain(cells("new", 128, 3), held_out, undisturbed[0], genes=GENES, settings=TINY)


def test_training_stops_when_the_held_out_loss_no_longer_falls(train, held_out, tmp_path):
    settings = replace(TINY, steps=200, evaluate_every=5, patience=2, learning_rate=1.0)  # diverges at once
    pretrain(train, held_out, tmp_path, genes=GENES, settings=settings)
    assert pd.read_csv(tmp_path / "learning_curve.csv")["step"].max() < 200
