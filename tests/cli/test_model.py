import hashlib
import json

import pytest

from interp.cli import main
from interp.scgpt import published
from interp.scgpt.published import PublishedFile, PublishedModel

CONTENT = {"args.json": b"{}", "vocab.json": b"[]", "best_model.pt": bytes(5000)}


def call(*words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["model", *map(str, words)])
    return stop.value.code or 0


@pytest.fixture
def small(monkeypatch):
    files = tuple(PublishedFile(n, len(c), hashlib.sha256(c).hexdigest()) for n, c in CONTENT.items())
    model = PublishedModel("scgpt-human", files, ("http://127.0.0.1:1/m",), "https://example.org")
    monkeypatch.setattr(published, "PUBLISHED", {model.name: model})
    monkeypatch.delenv("INTERP_MIRRORS", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    return model


def test_download_takes_several_mirrors_and_says_what_to_do_next(serve, small, tmp_path, capsys):
    server = serve({f"/{name}": content for name, content in CONTENT.items()})
    code = call("download", "scgpt-human", "--to", tmp_path / "m", "--mirror", small.mirrors[0], "--mirror", server.url)
    assert code == 0
    assert "interp model info" in capsys.readouterr().out
    assert (tmp_path / "m" / "best_model.pt").read_bytes() == CONTENT["best_model.pt"]


def test_a_download_that_can_go_on_later_ends_with_the_code_of_stopped_work(small, tmp_path, capsys):
    assert call("download", "scgpt-human", "--to", tmp_path) == 5
    assert small.files[2].sha256 in capsys.readouterr().err


def test_a_download_of_wrong_bytes_is_refused(serve, small, tmp_path):
    server = serve({f"/{name}": bytes(len(content)) for name, content in CONTENT.items()})
    assert call("download", "scgpt-human", "--to", tmp_path, "--mirror", server.url) == 4


def test_an_unknown_model_is_an_input_error(tmp_path, capsys):
    assert call("download", "scgpt-mouse", "--to", tmp_path) == 3
    assert "known names: scgpt-human" in capsys.readouterr().err


def test_info_writes_a_table_and_the_same_as_json(capsys):
    assert call("info", "scgpt-sim") == 0
    table = capsys.readouterr().out
    assert call("info", "scgpt-sim", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    for value in (f"{found['parameters']:,}", found["key_style"], found["files"][0]["sha256"]):
        assert value in table
    assert found["missing"] == found["extra"] == []


def test_convert_reports_keys_and_writes_a_readable_model(tmp_path, capsys):
    assert call("convert", "scgpt-sim", "--to", tmp_path / "own", "--dtype", "float16") == 0
    out = capsys.readouterr().out
    assert "missing keys  none" in out
    assert "dropped keys  none" in out
    assert call("info", tmp_path / "own") == 0
    assert call("convert", "scgpt-sim", "--to", tmp_path / "x", "--dtype", "int8") == 2


def test_check_prints_the_scores_and_ends_well_with_a_warning(tmp_path, capsys):
    import interp

    cells = interp.simulate(n_donors=2, n_cells=80, seed=1)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    assert call("check", "scgpt-sim", "--cells", tmp_path / "cells.h5ad") == 0
    shown = capsys.readouterr()
    assert "gene mean" in shown.out
    assert "fits           yes" in shown.out
    assert "Warning" not in shown.err
    assert call("check", "scgpt-mini", "--cells", tmp_path / "cells.h5ad", "--n-cells", "30") == 0
    shown = capsys.readouterr()
    assert "no better than gene means" in shown.out
    assert "Warning: the model predicts masked values" in shown.err


def test_check_calls_logged_counts_by_their_name_and_takes_a_layer(tmp_path, capsys):
    import numpy as np

    import interp

    cells = interp.simulate(n_donors=2, n_cells=60, seed=1)
    cells.layers["counts"] = cells.X.copy()
    cells.X = np.log1p(cells.X)
    cells.write_h5ad(tmp_path / "logged.h5ad")
    assert call("check", "scgpt-sim", "--cells", tmp_path / "logged.h5ad") == 3
    assert "looks log-transformed" in capsys.readouterr().err
    assert call("check", "scgpt-sim", "--cells", tmp_path / "logged.h5ad", "--layer", "counts", "--n-cells", "30") == 0
