import hashlib

import torch

from interp.scgpt import describe as module
from interp.scgpt import published as known
from interp.scgpt.describe import describe_checkpoint
from interp.scgpt.published import PublishedFile, PublishedModel


def test_a_checkpoint_is_described_by_its_numbers(tmp_path, published):
    published.state["flag_encoder.weight"] = torch.zeros(2, 16)
    n_values = sum(tensor.numel() for name, tensor in published.state.items() if name != "flag_encoder.weight")
    del published.state["decoder.fc.2.weight"]
    folder = published.with_flash_keys().write(tmp_path / "m")
    found = describe_checkpoint(folder)
    assert found["folder"] == str(folder)
    assert found["weights"] == "best_model.pt"
    assert (found["genes"], found["special_tokens"]) == (37, 3)
    assert found["parameters"] == n_values
    assert found["config"]["nlayers"] == 2
    assert found["key_style"] == "Wqkv"
    assert found["missing"] == ["decoder.fc.2.weight"]
    assert found["extra"] == ["flag_encoder.weight"]
    assert found["hook_points"] > 20
    assert [file["name"] for file in found["files"]] == ["args.json", "vocab.json", "best_model.pt"]
    for file in found["files"]:
        assert file["sha256"] == hashlib.sha256((folder / file["name"]).read_bytes()).hexdigest()
        assert file["bytes"] == (folder / file["name"]).stat().st_size
        assert file["published"] is None
    assert not found["is_scgpt_human"]


def test_the_published_files_are_recognised_by_their_sums_and_only_all_together(tmp_path, published, monkeypatch):
    folder = published.write(tmp_path / "m")
    names = ("args.json", "vocab.json", "best_model.pt")
    files = tuple(PublishedFile(n, 1, hashlib.sha256((folder / n).read_bytes()).hexdigest()) for n in names)
    human = PublishedModel("scgpt-human", files, (), "")
    monkeypatch.setattr(module, "SCGPT_HUMAN", human)
    monkeypatch.setattr(known, "PUBLISHED", {human.name: human})
    assert describe_checkpoint(folder)["is_scgpt_human"]
    (folder / "args.json").write_text((folder / "args.json").read_text() + " ")
    found = describe_checkpoint(folder)
    assert not found["is_scgpt_human"]
    assert [file["published"] for file in found["files"]] == [
        None,
        "scgpt-human/vocab.json",
        "scgpt-human/best_model.pt",
    ]


def test_a_shipped_model_is_described_by_its_name():
    assert describe_checkpoint("scgpt-sim")["config"]["nlayers"] == 4
