from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from interp.cli import main
from interp.cli.arguments import spread_lists


def run(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", "from interp.cli import main; main()", *words],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "verb",
    [
        [],
        ["discover"],
        ["capture"],
        ["geometry"],
        ["transform"],
        ["power"],
        ["simulate"],
        ["pretrain"],
        ["model"],
        ["model", "download"],
        ["model", "convert"],
        ["model", "info"],
        ["model", "check"],
    ],
)
def test_help_teaches_and_loads_nothing_heavy(verb):
    code = (
        "import sys\nfrom interp.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as stop:\n    code = stop.code\n"
        "names = {'torch', 'transformer_lens', 'scanpy', 'sklearn', 'matplotlib', 'pandas', 'anndata', 'numba'}\n"
        "heavy = names & set(sys.modules)\n"
        "assert code == 0, code\nassert not heavy, heavy\n"
    )
    found = subprocess.run([sys.executable, "-c", code, *verb, "--help"], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert "Usage: interp" in found.stdout
    if verb[:1] == ["model"]:
        assert "Example: interp model" in found.stdout


def test_unknown_option_is_a_usage_error():
    assert run("simulate", "--nonsense").returncode == 2


def test_missing_file_is_an_input_error():
    found = run("transform", "hematopoiesis-mini", "nowhere.h5ad", "--out", "x.h5ad")
    assert found.returncode == 3
    assert "nowhere.h5ad" in found.stderr
    assert "Traceback" not in found.stderr


def test_a_broken_checkpoint_is_refused(tmp_path):
    (tmp_path / "args.json").write_text("{}")
    found = run("model", "info", str(tmp_path))
    assert found.returncode in {3, 4}
    assert "Traceback" not in found.stderr


def test_simulated_atlas_is_written_and_read_back(tmp_path, capsys):
    path = tmp_path / "sim.h5ad"
    with pytest.raises(SystemExit) as stop:
        main(["simulate", "--donors", "2", "--cells", "60", "--genes", "300", "--out", str(path)])
    assert stop.value.code == 0
    assert "60 cells x 300 genes" in capsys.readouterr().out
    import anndata

    assert anndata.read_h5ad(path).shape == (60, 300)


def test_lists_may_follow_one_option():
    words = ["discover", "--cells", "a", "b", "--external", "c", "--out", "d"]
    assert spread_lists(words, ("--cells", "--external")) == [
        "discover", "--cells", "a", "--cells", "b", "--external", "c", "--out", "d",
    ]  # fmt: skip


@pytest.mark.parametrize("words", [["--ruler", "x.csv"], ["--ruler-source", "a textbook"]])
def test_a_ruler_and_its_source_go_together(words, tmp_path):
    found = run("discover", *words, "--out", str(tmp_path / "run"))
    assert found.returncode == 3
    assert "go together" in found.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "kinds"), [([], ("mean", "sum", "drift")), (["--kinds", "mean, ov"], ("mean", "ov"))]
)
def test_kinds_reach_the_job_by_comma(words, kinds, tmp_path, monkeypatch):
    given = []

    def job(*_args, out, settings, **_options):
        given.append(settings.kinds)
        out.mkdir()
        (out / "summary.md").write_text("# done")
        return out

    monkeypatch.setattr(import_module("interp.discover"), "discover", job)
    with pytest.raises(SystemExit) as stop:
        main(["discover", *words, "--out", str(tmp_path / "run")])
    assert stop.value.code == 0
    assert given == [kinds]


def test_a_ruler_file_reaches_the_job_with_its_source(tmp_path, monkeypatch):
    path = tmp_path / "days.csv"
    path.write_text("a,b,length\nHSC,CLP,3\nCLP,NK,4\n")
    given = []

    def job(*_args, out, ruler, **_options):
        given.append(ruler)
        out.mkdir()
        (out / "summary.md").write_text("# done")
        return out

    monkeypatch.setattr(import_module("interp.discover"), "discover", job)
    with pytest.raises(SystemExit) as stop:
        main(["discover", "--ruler", str(path), "--ruler-source", "sampling days", "--out", str(tmp_path / "run")])
    assert stop.value.code == 0
    assert given[0].of(["HSC", "NK"]).tolist() == [[0, 7], [7, 0]]
    assert (given[0].name, given[0].source) == ("days", "sampling days")
