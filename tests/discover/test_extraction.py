from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from interp.cli.app import app
from interp.discover import Panels, discover, extract
from interp.errors import InputError
from interp.extraction.operators import Operator
from interp.runs.files import sha256_path

from .conftest import TINY, tiny_panels

SIZES = {"top_heads": 2, "rank": 6, "rotations": 3, "bootstraps": 8, "latents": (3, 10), "topologies": (1.0,)}
TABLES = (
    "operators", "chain", "chain_losses", "chain_donors", "factor_impact", "factor_concentration", "factor_curves",
    "factor_core", "factor_subsets", "factor_overlap", "factor_genes", "factor_programs", "attribution",
    "adaptors", "adaptor_values", "adaptor_curves", "adaptor_comparison", "readouts", "readout_values",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory, panels, checkpoint) -> Path:
    out = tmp_path_factory.mktemp("extractions") / "run"
    given = {"external": panels.external, "negative": panels.negative}
    discover(checkpoint, panels.internal, **given, out=out, settings=TINY)
    extract(out, checkpoint, panels.internal, **given, **SIZES)
    return out


def test_an_extraction_is_complete_and_keeps_the_run(run):
    assert [name for name in TABLES if pd.read_csv(run / "extraction" / f"{name}.csv").empty] == []
    page = (run / "extraction" / "extraction.md").read_text()
    assert "## Compaction" in page
    assert "nan" not in page
    steps = json.loads((run / "manifest.json").read_text())["steps"]
    assert {"verdict", "chain", "factors", "attribution"} <= set(steps)


def test_every_kind_is_kept_for_the_best_heads_and_loads_again(run):
    table = pd.read_csv(run / "extraction" / "operators.csv")
    assert set(table["kind"]) >= {"mean", "sum", "lift", "value_weighted", "qk", "ov", "gram", "mvc_gram"}
    assert {"early.mean.out", "mid.mean.out", "late.mean.out", "drift.mean.out", "top2.out"} <= set(table["name"])
    heads = table[table["kind"] == "ov"]["heads"]
    assert len(set(heads)) == SIZES["top_heads"]
    files = {path.stem: Operator.load(path) for path in (run / "extraction" / "operators").iterdir()}
    assert set(files) == set(table["name"])
    ov = files[table[table["kind"] == "ov"]["name"].iloc[0]]
    assert np.linalg.matrix_rank(ov.matrix) <= 4  # d_head of the tiny model
    for row in table.itertuples():
        assert row.rows == len(files[row.name].genes)


def test_the_folded_map_is_the_top_head_in_fewer_bytes(run):
    steps = pd.read_csv(run / "extraction" / "chain.csv").set_index(["step", "endpoint"])
    top, folded = steps.loc[("top head", "order")], steps.loc[("folded map", "order")]
    assert folded["value"] == pytest.approx(top["value"], abs=1e-6)
    assert folded["latent_difference"] < 1e-5
    assert folded["size_bytes"] < top["size_bytes"]


def test_a_second_call_changes_nothing(run, panels, checkpoint):
    before = sha256_path(run / "extraction")
    extract(run, checkpoint, panels.internal, external=panels.external, negative=panels.negative, **SIZES)
    assert sha256_path(run / "extraction") == before


def test_the_command_finds_cells_and_model_by_itself(run, panels, checkpoint, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    refused = CliRunner().invoke(app, ["extract", str(copy)])
    assert isinstance(refused.exception, InputError)
    assert "does not say which cells" in str(refused.exception)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="no run of interp discover"):
        extract(tmp_path)


def test_one_donor_is_refused_with_its_reason(tmp_path, checkpoint):
    cells = tiny_panels(n_donors=1).internal
    out = discover(checkpoint, cells, out=tmp_path / "one", settings=TINY)
    with pytest.raises(InputError, match="one donor"):
        extract(out, checkpoint, cells, **SIZES)
    assert Panels(cells).external is None
