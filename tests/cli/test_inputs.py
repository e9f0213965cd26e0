from __future__ import annotations

import json

import pytest

from interp.cli.inputs import Inputs
from interp.errors import InputError


def test_what_was_noted_comes_back_with_full_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    given = Inputs(
        "model", cells=("a.h5ad", "b.h5ad"), columns={"donor": "d", "gene_key": None}, ruler="r.csv", ruler_source="me"
    )
    (tmp_path / "config.json").write_text(json.dumps({"settings": {}, "inputs": given.noted()}))
    found = Inputs.of_run(tmp_path)
    assert found.cells == (str(tmp_path / "a.h5ad"), str(tmp_path / "b.h5ad"))
    assert (found.model, found.ruler) == (str(tmp_path / "model"), str(tmp_path / "r.csv"))
    assert found.columns == {"donor": "d", "gene_key": None}
    assert (found.external, found.ruler_source) == ((), "me")


def test_a_shipped_model_keeps_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Inputs("scgpt-sim").noted()["model"] == "scgpt-sim"
    assert Inputs("scgpt-sim").panels() is None


@pytest.mark.parametrize("config", [None, "no JSON", "{}", '{"inputs": {"cells": []}}', '{"inputs": 3}'])
def test_a_folder_that_does_not_say_is_refused(tmp_path, config):
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(InputError, match="give the folder of an `interp discover`"):
        Inputs.of_run(tmp_path)
