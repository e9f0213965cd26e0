import json

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
        main(["--quiet", "ablate", "--model", "scgpt-sim", "--device", "cpu", *map(str, words)])
    return stop.value.code


def test_two_targets_are_ablated_and_written(atlas, tmp_path, capsys):
    out = tmp_path / "run"
    words = ("--cells", atlas, "--target", "stage", "age", "--n-cells", 24, "--null-sets", 2, "--pairs", 2, "--gates")
    assert run(*words, "--size", 1, "--out", out) == 0
    said = capsys.readouterr()
    assert "stage, balanced accuracy" in said.out
    assert "age cannot be judged: 0 donors can be scored" in said.out
    assert "Gradients against exact, log-odds of the true class of stage: Spearman" in said.out
    assert "cell/s" not in said.err
    table = pd.read_csv(out / "ablation.csv")
    assert list(table.columns)[: len(COLUMNS)] == list(COLUMNS)
    assert set(table.loc[table["target"] == "age", "status"]) == {"not computable"}
    assert {"ablation.mean.neg_masked_loss", "gradient.mean.log_odds", "ablation.mean.order"} <= set(table["metric"])
    nulls = pd.read_csv(out / "nulls.csv")
    assert set(nulls["replacement"]) == {"mean", "resample"}
    assert (nulls.groupby("replacement")["draw"].max() == 2).all()
    used = json.loads((out / "used.json").read_text())
    assert list(used) == ["stage"]
    assert used["stage"]["status"] == "undecided"
    assert "only 2 other sets" in used["stage"]["reason"]
    text = (out / "summary.md").read_text()
    for heading in (
        "## stage",
        "### Used?",
        "### Together",
        "## Masked-value loss",
        "## Order of stages",
        "## Left out",
    ):
        assert heading in text
    drawn = {path.name for path in (out / "figures").iterdir()}
    names = ("bars_stage", "heads_stage", "heads_masked_loss", "gradient_stage", "gradient_masked_loss")
    assert drawn == {f"{name}.{kind}" for name in (*names, "redundancy_stage") for kind in ("png", "pdf")}
    assert not list(out.rglob("*.part"))


def test_json_of_named_heads_without_null_and_pairs(atlas, tmp_path, capsys):
    words = ("--cells", atlas, "--target", "stage", "--heads", "L1H0", "L0H2", "--n-cells", 12, "--null-sets", 0)
    options = ("--pairs", 0, "--method", "exact", "--replacement", "type mean", "--json", "--out", tmp_path / "run")
    assert run(*words, *options) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["facts"]["replacement"] == "type mean"
    assert {row["name"] for row in found["table"]} >= {"L0H0", "L3H3"}
    assert found["used"] == {}
    assert found["exact_vs_gradient"] == []
    assert not (tmp_path / "run" / "nulls.csv").exists()


def test_gradients_alone_check_their_top_heads_and_judge_named_ones(atlas, tmp_path, capsys):
    words = ("--cells", atlas, "--target", "stage", "--heads", "L1H0", "--n-cells", 12, "--method", "gradient")
    assert run(*words, "--null-sets", 1, "--json", "--out", tmp_path / "run") == 0
    found = json.loads(capsys.readouterr().out)
    exact = [row for row in found["exact_vs_gradient"] if row["exact"] is not None]
    assert 0 < len(exact) < len(found["exact_vs_gradient"])
    assert found["used"]["stage"]["heads"] == "L1H0"
    assert found["pairs"] == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--heads", "L9H0"), "there is no head L9H0"),
        (("--heads", "second"), "'second' is no head; write them as L2H5"),
        (("--heads", "L1H0", "L1H0"), "L1H0 stands twice"),
        (("--target", "stagee"), "did you mean 'stage'"),
    ],
)
def test_bad_input_ends_before_the_screen(atlas, tmp_path, capsys, words, message):
    out = tmp_path / "run"
    assert run("--cells", atlas, "--target", "stage", *words, "--out", out) == 3
    assert message in capsys.readouterr().err
    assert not out.exists()
