import json
import re

import pandas as pd
import pytest

import interp
from interp.cells.files import write_cells
from interp.cli import main
from interp.heads import COLUMNS


@pytest.fixture(scope="module")
def atlas(tmp_path_factory):
    cells = interp.simulate(
        n_donors=4, n_cells=160, n_genes=100, seed=4, stages=["classical monocyte", "naive B", "NK"]
    )
    cells.obs["age"] = 40
    return write_cells(cells, tmp_path_factory.mktemp("cells") / "atlas.h5ad")


def run(*words):
    with pytest.raises(SystemExit) as stop:
        main(["probe", "--model", "scgpt-sim", "--device", "cpu", *map(str, words)])
    return stop.value.code


def test_two_targets_are_probed_and_written(atlas, tmp_path, capsys):
    out = tmp_path / "run"
    words = ("--cells", atlas, "--target", "stage", "age", "--sites", "z", "resid_post", "--draws", 3, "--out", out)
    assert run(*words) == 0
    said = capsys.readouterr().out
    assert re.search(r"stage, balanced accuracy on \d donors never seen: best (z|resid_post) 0\.\d+", said)
    assert re.search(r"\d donors cannot give p < 0\.05", said)
    assert "age cannot be probed: 0 donors can be scored" in said
    table = pd.read_csv(out / "probes.csv")
    assert list(table.columns)[: len(COLUMNS)] == list(COLUMNS)
    assert set(table.loc[table["target"] == "age", "status"]) == {"not computable"}
    baselines = pd.read_csv(out / "baselines.csv")
    assert {"raw log1p", "untrained best z"} <= set(baselines["name"])
    donors = pd.read_csv(out / "donors.csv")
    assert {"raw log1p", "L0H0.z", "best z"} <= set(donors["name"])
    text = (out / "probe.md").read_text()
    assert "## stage" in text
    assert "Without the model, or without its training" in text
    drawn = {path.name for path in (out / "figures").iterdir()}
    assert drawn == {f"{name}.{kind}" for name in ("layers_stage", "heads_stage_z") for kind in ("png", "pdf")}


def test_json_is_whole_and_needs_no_baselines(atlas, tmp_path, capsys):
    words = ("--cells", atlas, "--target", "stage", "--sites", "resid_post", "--reduce", "mean", "--draws", 3)
    assert run(*words, "--no-baselines", "--json", "--out", tmp_path / "run") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["facts"]["target"] == "stage"
    assert {row["name"] for row in found["table"]} >= {"L0.resid_post", "best resid_post"}
    assert found["baselines"] == []


def test_an_unknown_target_is_said_before_the_capture(atlas, tmp_path, capsys):
    out = tmp_path / "run"
    assert run("--cells", atlas, "--target", "stagee", "--out", out) == 3
    assert "did you mean 'stage'" in capsys.readouterr().err
    assert not out.exists()
