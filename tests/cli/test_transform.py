"""`interp transform`: what it writes, what it refuses, and that it never leaves half of a file."""

import json
import re
import shutil
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from interp.cli import main
from interp.extraction.algorithm import CompactAlgorithm
from interp.runs.artifacts import artifact_folder

SHIPPED = "hematopoiesis-mini"


@pytest.fixture(scope="module")
def cells() -> anndata.AnnData:
    algorithm = CompactAlgorithm.load(SHIPPED)
    genes = [*algorithm.genes, *(f"OTHER{i}" for i in range(50))]
    counts = np.random.default_rng(0).poisson(0.6, size=(40, len(genes))).astype(np.float32)
    made = anndata.AnnData(sparse.csr_matrix(counts))
    made.obs_names = [f"cell{i}" for i in range(40)]
    made.var_names = genes
    made.layers["counts"] = made.X.copy()
    return made


def run(*words) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["transform", *map(str, words)])
    return stop.value.code


def test_an_h5ad_comes_out_with_results(cells, tmp_path, capsys):
    cells.write_h5ad(tmp_path / "in.h5ad")
    assert run(SHIPPED, tmp_path / "in.h5ad", "--out", tmp_path / "out.h5ad") == 0
    assert re.search(r"out.h5ad: 40 cells with latents, pseudotime, stage.*carry 100% of", capsys.readouterr().out)
    written = anndata.read_h5ad(tmp_path / "out.h5ad")
    expected = CompactAlgorithm.load(SHIPPED).transform(cells)
    np.testing.assert_array_equal(written.obsm["X_interp"], expected.obsm["X_interp"])
    assert list(written.obs["interp_stage"]) == list(expected.obs["interp_stage"])
    np.testing.assert_array_equal(written.X.toarray(), cells.X.toarray())


def test_a_csv_holds_one_row_per_cell(cells, tmp_path):
    scaled = cells.copy()
    scaled.X = scaled.X.log1p()
    scaled.obs["n_umi"] = np.asarray(cells.X.sum(axis=1)).ravel() * 2
    scaled.var["symbol"] = list(cells.var_names)
    scaled.var_names = [f"row{i}" for i in range(cells.n_vars)]
    scaled.write_h5ad(tmp_path / "in.h5ad")
    options = ["--layer", "counts", "--gene-key", "symbol", "--total-counts", "n_umi"]
    assert run(SHIPPED, tmp_path / "in.h5ad", "--out", tmp_path / "out.csv", *options) == 0
    table = pd.read_csv(tmp_path / "out.csv", index_col="cell")
    algorithm = CompactAlgorithm.load(SHIPPED)
    z = algorithm.latents(cells.X, list(cells.var_names), scaled.obs["n_umi"])
    assert list(table.index) == list(cells.obs_names)
    np.testing.assert_allclose(table[[f"z{i}" for i in range(10)]], z, rtol=1e-12)
    assert list(table["stage"]) == list(algorithm.predict_stage(z))
    np.testing.assert_allclose(table["stage_probability"], algorithm.predict_proba("stage", z).max(axis=1))


def bad(change):
    """A change that makes the input one that is refused."""

    def apply(cells):
        changed = cells.copy()
        change(changed)
        return changed

    return apply


def set_counts(change):
    def apply(cells):
        cells.X = change(cells.X.toarray())

    return bad(apply)


def rename(change):
    def apply(cells):
        cells.var_names = [change(i, name) for i, name in enumerate(cells.var_names)]

    return bad(apply)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename(lambda _, name: name.capitalize()), "mouse symbols"),
        (rename(lambda i, _: f"ENSG{i:011d}"), "Ensembl ids"),
        (rename(lambda i, name: name if i % 10 == 0 else f"NO{i}"), "genes were found; they carry"),
        (rename(lambda i, name: "ACTB" if i == 9 else name), "stand twice, such as ACTB"),
        (set_counts(np.log1p), "log-transformed"),
        (set_counts(lambda x: x / x.sum(axis=1, keepdims=True) * 1e4), "normalised"),
        (set_counts(lambda x: np.where(x == x.max(), np.nan, x)), "NaN"),
        (set_counts(lambda x: x - 1), "negative"),
        (set_counts(lambda x: x * (np.arange(len(x)) != 7)[:, None]), "such as cell7"),
    ],
    ids=["mouse", "Ensembl", "few genes", "duplicates", "logged", "normalised", "NaN", "negative", "empty cell"],
)
@pytest.mark.parametrize("name", ["out.h5ad", "out.csv"])
def test_bad_cells_end_with_3_and_leave_no_file(cells, tmp_path, capsys, change, message, name):
    made = change(cells)
    made.write_h5ad(tmp_path / "in.h5ad")
    out = tmp_path / "results" / name
    out.parent.mkdir()
    out.write_text("old")
    assert run(SHIPPED, tmp_path / "in.h5ad", "--out", out) == 3
    assert message in capsys.readouterr().err
    assert out.read_text() == "old"
    assert [path.name for path in out.parent.iterdir()] == [name]


def test_empty_cells_are_skipped_when_asked(cells, tmp_path):
    made = set_counts(lambda x: x * (np.arange(len(x)) != 7)[:, None])(cells)
    made.write_h5ad(tmp_path / "in.h5ad")
    assert run(SHIPPED, tmp_path / "in.h5ad", "--out", tmp_path / "out.csv", "--skip-empty") == 0
    table = pd.read_csv(tmp_path / "out.csv", index_col="cell")
    assert list(table.index[table["z0"].isna()]) == ["cell7"]
    assert table.loc["cell7"].isna().all()


@pytest.mark.parametrize("name", ["algorithm.safetensors", "algorithm.py", "manifest.json"])
def test_tampered_algorithms_end_with_4_and_leave_no_file(cells, tmp_path, capsys, name):
    folder = Path(shutil.copytree(artifact_folder(SHIPPED), tmp_path / "algorithm"))
    cells.write_h5ad(tmp_path / "in.h5ad")
    if name == "manifest.json":
        manifest = json.loads((folder / name).read_text())
        manifest["schema_version"] = 99
        (folder / name).write_text(json.dumps(manifest))
    else:
        (folder / name).write_bytes((folder / name).read_bytes()[:-1] + b"#")
    assert run(folder, tmp_path / "in.h5ad", "--out", tmp_path / "out.h5ad") == 4
    error = capsys.readouterr().err
    assert ("update interp" if name == "manifest.json" else f"{name} is not what the manifest says") in error
    assert not (tmp_path / "out.h5ad").exists()


def test_other_endings_and_missing_files_are_input_errors(cells, tmp_path, capsys):
    assert run(SHIPPED, tmp_path / "in.h5ad", "--out", tmp_path / "out.xlsx") == 3
    assert "give a name that ends in .h5ad or .csv" in capsys.readouterr().err
    assert run(SHIPPED, tmp_path / "in.h5ad", "--out", tmp_path / "out.csv") == 3
    assert "there is no file" in capsys.readouterr().err
