import pytest
import torch
from safetensors.torch import load_file

from interp.errors import CheckpointError, InputError
from interp.scgpt.checkpoint import read_checkpoint
from interp.scgpt.convert import convert_checkpoint
from interp.scgpt.load import load_model


@pytest.mark.parametrize("style", ["in_proj", "Wqkv"])
def test_a_converted_checkpoint_holds_the_same_model_to_the_last_bit(tmp_path, published, style):
    source = published if style == "in_proj" else published.with_flash_keys()
    folder = source.write(tmp_path / "published")
    report = convert_checkpoint(folder, tmp_path / "own")
    assert report.key_style == style
    before, after = read_checkpoint(folder), read_checkpoint(tmp_path / "own")
    assert (after.config, after.vocabulary) == (before.config, before.vocabulary)
    assert after.report.key_style == "in_proj"
    assert after.state.keys() == before.state.keys()
    assert all(torch.equal(after.state[name], before.state[name]) for name in before.state)
    assert {path.name for path in (tmp_path / "own").iterdir()} == {
        "args.json", "vocab.json", "model.safetensors", "README.md",
    }  # fmt: skip


def test_float16_is_the_rounded_model(tmp_path, published):
    folder = published.write(tmp_path / "published")
    convert_checkpoint(folder, tmp_path / "half", dtype="float16")
    stored = load_file(tmp_path / "half" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    for name, tensor in published.state.items():
        assert torch.equal(stored[name], tensor.half())


def test_keys_that_the_model_does_not_use_are_dropped_and_named(tmp_path, published):
    published.state["flag_encoder.weight"] = torch.zeros(2, 16)
    published.state["cls_decoder.out_layer.bias"] = torch.zeros(1)
    report = convert_checkpoint(published.write(tmp_path / "published"), tmp_path / "own")
    assert report.extra == ("cls_decoder.out_layer.bias", "flag_encoder.weight")
    assert not set(report.extra) & set(load_file(tmp_path / "own" / "model.safetensors"))
    card = (tmp_path / "own" / "README.md").read_text()
    assert "cls_decoder.out_layer.bias, flag_encoder.weight" in card


def test_a_lost_decoder_stays_lost_and_is_named(tmp_path, published):
    del published.state["decoder.fc.2.weight"]
    folder = published.write(tmp_path / "published")
    report = convert_checkpoint(folder, tmp_path / "own")
    assert report.missing == ("decoder.fc.2.weight",)
    assert read_checkpoint(tmp_path / "own").report.missing == report.missing
    assert "decoder.fc.2.weight" in (tmp_path / "own" / "README.md").read_text()


def test_the_card_of_a_converted_checkpoint_is_kept(tmp_path, published):
    convert_checkpoint(published.write(tmp_path / "published"), tmp_path / "a")
    (tmp_path / "a" / "README.md").write_text("# My model\n\nTrained on blood.\n")
    convert_checkpoint(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b" / "README.md").read_text().startswith("# My model\n\nTrained on blood.\n\n## Conversion")


def test_a_checkpoint_is_not_converted_onto_itself_or_over_other_files(tmp_path, published):
    folder = published.write(tmp_path / "published")
    with pytest.raises(InputError, match="another folder"):
        convert_checkpoint(folder, tmp_path / "." / "published")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"thesis\.txt"):
        convert_checkpoint(folder, tmp_path / "other")
    assert (tmp_path / "other" / "thesis.txt").read_text() == "mine"


def test_what_cannot_be_read_is_not_converted(tmp_path, published):
    del published.state["encoder.embedding.weight"]
    with pytest.raises(CheckpointError):
        convert_checkpoint(published.write(tmp_path / "published"), tmp_path / "own")
    assert not (tmp_path / "own").exists()


def test_a_converted_model_computes_the_same(tmp_path, published):
    folder = published.write(tmp_path / "published")
    convert_checkpoint(folder, tmp_path / "own")
    ids, values = torch.tensor([[38, 3, 5]]), torch.tensor([[-2.0, 4, 50]])
    one, other = (load_model(place, device="cpu")(ids, values, ids == 37) for place in (folder, tmp_path / "own"))
    assert torch.equal(one.expression, other.expression)
    assert torch.equal(one.cell, other.cell)
