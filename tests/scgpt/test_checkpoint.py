import json
import os
import pickle
import zipfile
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from interp.errors import CheckpointError, InputError, VocabularyError
from interp.scgpt.checkpoint import read_checkpoint, save_checkpoint
from interp.scgpt.layout import to_hooked
from interp.scgpt.model import HookedScGPT

LAYER = "transformer_encoder.layers.1."


@pytest.mark.parametrize("weights", ["torch", "safetensors"])
@pytest.mark.parametrize("style", ["in_proj", "Wqkv"])
def test_both_files_and_both_key_styles_give_the_same_weights(tmp_path, published, config, vocabulary, weights, style):
    source = published if style == "in_proj" else published.with_flash_keys()
    read_config, read_vocabulary, state, report = read_checkpoint(source.write(tmp_path / "m", weights=weights))
    assert read_config == config
    assert read_vocabulary == vocabulary
    expected = to_hooked(published.state, config)
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in state)
    assert report.key_style == style
    assert set(report.loaded) == set(published.state)
    assert report.missing == report.extra == report.misshaped == ()


def test_keys_of_other_tasks_are_reported_and_not_loaded(tmp_path, published):
    published.state["flag_encoder.weight"] = torch.zeros(2, 16)
    published.state["cls_decoder.out_layer.weight"] = torch.zeros(1, 16)
    _, _, state, report = read_checkpoint(published.write(tmp_path / "m"))
    assert report.extra == ("cls_decoder.out_layer.weight", "flag_encoder.weight")
    assert not any("flag" in name or "cls_decoder" in name for name in state)
    assert "flag_encoder.weight" in str(report)


def test_a_model_without_profile_decoder_is_read_as_such_whatever_args_say(tmp_path, published):
    published.args["MVC"] = True
    published.state = {name: t for name, t in published.state.items() if not name.startswith("mvc_decoder.")}
    config, _, state, report = read_checkpoint(published.write(tmp_path / "m"))
    assert not config.mvc
    assert not any(name.startswith("mvc_decoder.") for name in state)
    assert report.missing == ()


def test_half_a_profile_decoder_is_reported_and_left_out(tmp_path, published):
    del published.state["mvc_decoder.W.weight"]
    config, _, state, report = read_checkpoint(published.write(tmp_path / "m"))
    assert not config.mvc
    assert report.missing == ("mvc_decoder.W.weight",)
    assert not any(name.startswith("mvc_decoder.") for name in state)


def test_a_lost_expression_decoder_is_reported_and_its_output_is_nan(tmp_path, published):
    del published.state["decoder.fc.4.bias"]
    published.state["decoder.fc.0.weight"] = torch.zeros(16, 32)  # as with batch labels
    _, _, state, report = read_checkpoint(published.write(tmp_path / "m"))
    assert report.missing == ("decoder.fc.4.bias",)
    assert report.misshaped == (("decoder.fc.0.weight", (16, 32), (16, 16)),)
    assert state["decoder.fc.4.bias"].isnan().all()
    assert state["decoder.fc.0.weight"].isnan().all()
    assert state["decoder.fc.0.weight"].shape == (16, 16)


@pytest.mark.parametrize(
    "key",
    ["encoder.embedding.weight", "value_encoder.norm.bias", f"{LAYER}self_attn.in_proj_weight", f"{LAYER}norm2.weight"],
)
def test_a_missing_encoder_key_is_refused_by_name(tmp_path, published, key):
    del published.state[key]
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(published.write(tmp_path / "m"))
    assert f"missing: {key}" in str(caught.value)
    assert "What to do" in str(caught.value)


def test_a_misshaped_encoder_key_is_refused_with_both_shapes(tmp_path, published):
    published.state[f"{LAYER}linear1.weight"] = torch.zeros(23, 16)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(published.write(tmp_path / "m"))
    assert f"{LAYER}linear1.weight has [23, 16], expected [24, 16]" in str(caught.value)


@pytest.mark.parametrize(("name", "value"), [("nlayers", 3), ("nlayers", 1), ("embsize", 32), ("d_hid", 16)])
def test_shapes_that_contradict_args_are_refused(tmp_path, published, name, value):
    published.args[name] = value
    with pytest.raises(CheckpointError, match="does not hold the encoder"):
        read_checkpoint(published.write(tmp_path / "m"))


def test_a_vocabulary_of_another_size_is_refused(tmp_path, published):
    published.mapping["GENE37"] = 40
    with pytest.raises(CheckpointError, match=r"encoder.embedding.weight has \[40, 16\], expected \[41, 16\]"):
        read_checkpoint(published.write(tmp_path / "m"))


def test_args_take_no_memory_before_the_shapes_are_checked(tmp_path, published):
    published.args.update(embsize=8192, d_hid=65_536, nlayers=256)  # some 330 billion weights
    with pytest.raises(CheckpointError, match="256 layers of width 8192"):
        read_checkpoint(published.write(tmp_path / "m"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("embsize", 10**9),
        ("embsize", None),
        ("nlayers", 0),
        ("nlayers", True),
        ("nheads", -2),
        ("nheads", 3),
        ("d_hid", "24"),
        ("n_bins", 10**9),
        ("max_seq_len", 1.5),
        ("pad_value", "x"),
        ("mask_value", {}),
        ("dropout", []),
        ("input_emb_style", "category"),
        ("pad_token", "[PAD]"),
    ],
)
def test_args_that_describe_no_such_model_are_refused_by_name(tmp_path, published, name, value):
    published.args[name] = value
    with pytest.raises(CheckpointError, match=r"args\.json"):
        read_checkpoint(published.write(tmp_path / "m"))


def test_missing_sizes_are_named(tmp_path, published):
    del published.args["nheads"]
    with pytest.raises(CheckpointError, match="nheads"):
        read_checkpoint(published.write(tmp_path / "m"))


def test_layers_that_change_the_encoder_are_refused(tmp_path, published):
    published.state["dsbn.bns.0.running_mean"] = torch.zeros(16)
    with pytest.raises(CheckpointError, match="dsbn"):
        read_checkpoint(published.write(tmp_path / "m"))


def test_weights_that_are_not_finite_are_refused(tmp_path, published):
    published.state["value_encoder.norm.bias"][3] = torch.nan
    with pytest.raises(CheckpointError, match=r"value_encoder\.norm\.bias .*not finite"):
        read_checkpoint(published.write(tmp_path / "m"))


def test_a_missing_file_is_named(tmp_path, published):
    with pytest.raises(CheckpointError, match="not a folder"):
        read_checkpoint(tmp_path / "nowhere")
    for name in ("args.json", "vocab.json", "best_model.pt"):
        folder = published.write(tmp_path / name)
        (folder / name).unlink()
        with pytest.raises(CheckpointError, match=name):
            read_checkpoint(folder)


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 100_000])
def test_damaged_args_are_refused(tmp_path, published, text):
    folder = published.write(tmp_path / "m")
    (folder / "args.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"args\.json"):
        read_checkpoint(folder)


def test_a_damaged_vocabulary_is_refused(tmp_path, published):
    folder = published.write(tmp_path / "m")
    (folder / "vocab.json").write_text('{"<pad>": 0}')
    with pytest.raises(VocabularyError, match="<cls>"):
        read_checkpoint(folder)


@pytest.mark.parametrize("weights", ["torch", "safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_truncated_weights_are_refused(tmp_path, published, weights, share):
    folder = published.write(tmp_path / "m", weights=weights)
    path = folder / ("best_model.pt" if weights == "torch" else "model.safetensors")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(CheckpointError, match=path.name):
        read_checkpoint(folder)


class Creates:
    """Unpickled without care, it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("form", ["archive", "legacy archive", "bare pickle"])
def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path, published, form):
    folder = published.write(tmp_path / "m")
    mark, path = tmp_path / "executed", folder / "best_model.pt"
    content = {**published.state, "encoder.extra": Creates(mark)}
    if form == "bare pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "archive")
    with pytest.raises(CheckpointError, match="refused"):
        read_checkpoint(folder)
    assert not mark.exists()
    if form == "archive":  # the pickle is a live one
        torch.load(path, weights_only=False)
        assert mark.exists()


@pytest.mark.parametrize("content", [[torch.zeros(2)], {"a": 3}, {3: torch.zeros(2)}, torch.zeros(2)])
def test_what_is_no_state_dict_is_refused(tmp_path, published, content):
    folder = published.write(tmp_path / "m")
    torch.save(content, folder / "best_model.pt")
    with pytest.raises(CheckpointError, match="state dict"):
        read_checkpoint(folder)


def test_a_tensor_that_claims_more_than_the_file_holds_is_refused(tmp_path, published):
    published.state["flag_encoder.weight"] = torch.zeros(1).expand(10**6, 10**6)
    with pytest.raises(CheckpointError, match="claim more values"):
        read_checkpoint(published.write(tmp_path / "m"))


def test_an_archive_that_inflates_is_refused(tmp_path, published):
    folder = published.write(tmp_path / "m")
    path = folder / "best_model.pt"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(CheckpointError, match="compressed"):
        read_checkpoint(folder)


def test_weights_over_the_size_limit_are_refused_unread(tmp_path, published, monkeypatch):
    monkeypatch.setattr("interp.scgpt.weights.MAX_WEIGHT_BYTES", 1000)
    with pytest.raises(CheckpointError, match="expected 1 to 1,000"):
        read_checkpoint(published.write(tmp_path / "m"))


def test_integer_weights_are_refused(tmp_path, published):
    published.state["value_encoder.norm.bias"] = torch.zeros(16, dtype=torch.int64)
    with pytest.raises(CheckpointError, match="int64"):
        read_checkpoint(published.write(tmp_path / "m", weights="safetensors"))


def test_projections_under_both_names_are_refused(tmp_path, published):
    published.state[f"{LAYER}self_attn.Wqkv.bias"] = torch.zeros(48)
    with pytest.raises(CheckpointError, match="both in_proj"):
        read_checkpoint(published.write(tmp_path / "m"))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 0.0), ("float16", 2e-3)])
def test_a_saved_model_is_read_back_in_float32(tmp_path, model, dtype, tolerance):
    folder = save_checkpoint(tmp_path / "deep" / "m", model, dtype=dtype, card="# A card\n")
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "args.json", "model.safetensors", "vocab.json"]
    assert (folder / "README.md").read_text() == "# A card\n"
    config, vocabulary, state, report = read_checkpoint(folder)
    assert config == model.config
    assert vocabulary == model.vocabulary
    assert report.missing == report.extra == ()
    for name, tensor in model.state_dict().items():
        assert state[name].dtype == torch.float32
        torch.testing.assert_close(state[name], tensor, atol=tolerance * float(tensor.abs().max()), rtol=0)


def test_a_saved_model_has_the_published_names_and_the_asked_precision(tmp_path, model, published):
    folder = save_checkpoint(tmp_path / "m", model)
    with safe_open(folder / "model.safetensors", framework="pt") as handle:
        assert set(handle.keys()) == set(published.state)
        assert {handle.get_slice(key).get_dtype() for key in handle.keys()} == {"F16"}  # noqa: SIM118
    args = json.loads((folder / "args.json").read_text())
    assert (args["nlayers"], args["nheads"], args["embsize"], args["d_hid"]) == (2, 2, 16, 24)
    assert json.loads((folder / "vocab.json").read_text()) == published.mapping
    assert "2 layers x 2 heads" in (folder / "README.md").read_text()


def test_the_same_model_gives_the_same_bytes(tmp_path, model):
    one, two = (save_checkpoint(tmp_path / name, model) for name in "ab")
    for path in one.iterdir():
        assert path.read_bytes() == (two / path.name).read_bytes()


def test_saving_replaces_a_checkpoint_but_no_other_folder(tmp_path, model):
    folder = save_checkpoint(tmp_path / "m", model, card="old")
    save_checkpoint(folder, model, card="new")
    assert (folder / "README.md").read_text() == "new"
    (folder / "thesis.txt").write_text("keep me")
    with pytest.raises(InputError, match=r"thesis\.txt"):
        save_checkpoint(folder, model)
    assert (folder / "thesis.txt").read_text() == "keep me"


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path, model, monkeypatch):
    folder = save_checkpoint(tmp_path / "m", model, card="old")
    monkeypatch.setattr("interp.scgpt.checkpoint.write_text", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_checkpoint(folder, model, card="new")
    assert (folder / "README.md").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_weights_too_large_for_half_precision_are_refused(tmp_path, model):
    model.decoder.fc[0].weight[0, 0] = 1e5
    with pytest.raises(InputError, match=r"decoder\.fc\.0\.weight.*float32"):
        save_checkpoint(tmp_path / "m", model)
    assert not (tmp_path / "m").exists()
    save_checkpoint(tmp_path / "m", model, dtype="float32")


def test_an_unknown_precision_is_refused(tmp_path, model):
    with pytest.raises(InputError, match="float64"):
        save_checkpoint(tmp_path / "m", model, dtype="float64")


def test_a_model_without_profile_decoder_is_saved_and_read(tmp_path, config, vocabulary):
    model = HookedScGPT(replace(config, mvc=False), vocabulary).initialize(torch.Generator().manual_seed(0))
    folder = save_checkpoint(tmp_path / "m", model, dtype="float32")
    assert not any("mvc" in key for key in load_file(folder / "model.safetensors"))
    assert read_checkpoint(folder).config == model.config


def test_safetensors_win_over_a_torch_file_beside_them(tmp_path, published):
    folder = published.write(tmp_path / "m", weights="torch")
    changed = {name: tensor + 1 for name, tensor in published.state.items()}
    save_file(changed, folder / "model.safetensors")
    _, _, state, report = read_checkpoint(folder)
    assert report.source.name == "model.safetensors"
    assert torch.equal(state["encoder.enc_norm.bias"], changed["encoder.enc_norm.bias"])
