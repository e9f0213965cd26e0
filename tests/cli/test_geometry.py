import numpy as np
import pandas as pd
import pytest

import interp
from interp.cells.files import write_cells
from interp.cli import main


@pytest.fixture(scope="module")
def atlas(tmp_path_factory):
    cells = interp.simulate(n_donors=5, n_cells=1500, n_genes=200, seed=4)
    rng = np.random.default_rng(0)
    cells.obsm["X_truth"] = np.asarray(cells.obsm["true_latent"]) + 0.05 * rng.standard_normal((cells.n_obs, 34))
    cells.obsm["X_noise"] = rng.standard_normal((cells.n_obs, 6))
    return write_cells(cells, tmp_path_factory.mktemp("cells") / "atlas.h5ad")


def run(*words):
    with pytest.raises(SystemExit) as stop:
        main(["geometry", *map(str, words)])
    return stop.value.code


def agreement(folder):
    table = pd.read_csv(folder / "geometry.csv")
    rows = table[(table["measure"] == "spearman with the ruler") & (table["metric"] == "arc")]
    return rows.set_index("pairs").loc["different-stage"]


def test_truth_follows_the_ruler_and_noise_does_not(atlas, tmp_path, capsys):
    for key in ("X_truth", "X_noise"):
        words = ("--cells", atlas, "--embedding", key, "--out", tmp_path / key, "--nulls", 39)
        assert run(*words) == 0
    assert agreement(tmp_path / "X_truth")["p"] == pytest.approx(1 / 40)
    assert agreement(tmp_path / "X_noise")["p"] > 0.05
    text = (tmp_path / "X_truth" / "geometry.md").read_text()
    assert "Nothing is fitted or held out here" in text
    assert "stages permuted reach" in capsys.readouterr().out
    drawn = {path.name for path in (tmp_path / "X_truth" / "figures").iterdir()}
    assert {"manifold.png", "manifold_3d.png", "distances.png", "gates.png"} <= drawn
    gates = pd.read_csv(tmp_path / "X_truth" / "gates.csv")
    assert gates["gate"].str.contains("within group, frozen").any()


def test_another_ruler_needs_its_source(atlas, tmp_path, capsys):
    graph = interp.StageGraph.hematopoiesis()
    path = tmp_path / "ruler.csv"
    pd.DataFrame(graph.ruler(), index=graph.stages, columns=graph.stages).to_csv(path)
    words = ("--cells", atlas, "--embedding", "X_truth", "--out", tmp_path / "own", "--nulls", 9, "--ruler", path)
    assert run(*words) == 3
    assert "source=" in capsys.readouterr().err
    assert run(*words, "--ruler-source", "a textbook") == 0
    assert "(ruler)" in (tmp_path / "own" / "geometry.md").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--algorithm or --embedding"),
        (["--embedding", "X_umap"], "no obsm['X_umap']; there are: "),
    ],
)
def test_what_cannot_be_measured_is_said(atlas, tmp_path, capsys, words, message):
    assert run("--cells", atlas, "--out", tmp_path / "x", *words) == 3
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
