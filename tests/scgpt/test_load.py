import logging

import pytest
import torch

from interp.errors import InputError
from interp.scgpt.checkpoint import save_checkpoint
from interp.scgpt.load import load_model, untrained_like

IDS = torch.tensor([[38, 3, 5, 7], [38, 4, 37, 37]])
VALUES = torch.tensor([[-2.0, 1, 50, 7], [-2, 12, -2, -2]])


def test_a_loaded_model_is_frozen_and_computes_what_the_saved_one_does(tmp_path, model):
    loaded = load_model(save_checkpoint(tmp_path / "m", model, dtype="float32"), device="cpu")
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert {parameter.device.type for parameter in loaded.parameters()} == {"cpu"}
    ours, theirs = loaded(IDS, VALUES, IDS == 37), model(IDS, VALUES, IDS == 37)
    for name in ("resid", "cell", "expression", "mvc"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name))


def test_gradients_can_still_be_taken_through_a_frozen_model(tmp_path, model):
    loaded = load_model(save_checkpoint(tmp_path / "m", model), device="cpu")
    values = VALUES.clone().requires_grad_()
    loaded(IDS, values, IDS == 37).cell.sum().backward()
    assert values.grad[0].abs().sum() > 0


def test_loading_neither_reads_nor_changes_the_global_random_state(tmp_path, model):
    folder = save_checkpoint(tmp_path / "m", model)
    before = torch.get_rng_state()
    untrained_like(load_model(folder, device="cpu"), seed=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_report_is_logged(tmp_path, published, caplog):
    published.state["flag_encoder.weight"] = torch.zeros(2, 16)
    with caplog.at_level(logging.INFO, logger="interp"):
        load_model(published.write(tmp_path / "m"), device="cpu")
    assert "flag_encoder.weight" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_lost_decoder_is_a_warning_and_leaves_the_encoder_whole(tmp_path, published, caplog):
    del published.state["decoder.fc.2.weight"]
    with caplog.at_level(logging.WARNING, logger="interp"):
        loaded = load_model(published.write(tmp_path / "m"), device="cpu")
    assert "decoder.fc.2.weight" in caplog.text
    output = loaded(IDS, VALUES, IDS == 37)
    assert output.expression.isnan().all()
    assert output.resid.isfinite().all()


def test_an_unknown_name_is_refused():
    with pytest.raises(InputError, match="scgpt-nowhere"):
        load_model("scgpt-nowhere")


def test_a_model_that_can_be_downloaded_says_how():
    with pytest.raises(InputError, match="interp model download scgpt-human --to"):
        load_model("scgpt-human")


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta-physical"])
def test_a_device_that_is_not_there_is_refused(tmp_path, model, device):
    with pytest.raises(InputError, match=device):
        load_model(save_checkpoint(tmp_path / "m", model), device=device)


def test_an_untrained_model_has_the_architecture_and_its_own_seeded_weights(model):
    one, same, other = (untrained_like(model, seed) for seed in (1, 1, 2))
    assert one.config == model.config
    assert one.vocabulary == model.vocabulary
    states = [m.state_dict() for m in (one, same, other, model)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    for different in states[2:]:
        assert not torch.equal(states[0]["blocks.0.attn.W_Q"], different["blocks.0.attn.W_Q"])
        assert not torch.equal(states[0]["encoder.embedding.weight"], different["encoder.embedding.weight"])
    assert not one.training
    assert not any(parameter.requires_grad for parameter in one.parameters())
