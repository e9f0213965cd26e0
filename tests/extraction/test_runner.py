"""The exported folder runs where only NumPy and safetensors can be imported, and gives the same numbers."""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from interp.extraction.algorithm import CompactAlgorithm
from interp.extraction.assembly import plain, readout_entries
from interp.extraction.readout import fit_readouts
from interp.extraction.runner import algorithm as runner

# Refuses every import outside the standard library, NumPy, safetensors and the runner itself.
BLOCKER = """
import sys
ALLOWED = set(sys.stdlib_module_names) | {"numpy", "safetensors", "algorithm"}
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in ALLOWED:
            raise ImportError(f"{name} must not be imported")
sys.meta_path.insert(0, Blocker())
sys.path.insert(0, FOLDER)
"""


@pytest.fixture(scope="module")
def folder(world, tmp_path_factory):
    return world.algorithm.save(tmp_path_factory.mktemp("export") / "algorithm")


def run(folder, program, *arguments):
    text = BLOCKER.replace("FOLDER", repr(str(folder))) + program
    return subprocess.run(
        [sys.executable, "-c", text, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_the_blocker_blocks(folder):
    for name in ("scipy", "torch", "interp", "pandas"):
        done = run(folder, f"import {name}")
        assert done.returncode == 1
        assert f"{name} must not be imported" in done.stderr.replace("scipy._lib", "scipy")


def test_exported_file_is_the_module_word_for_word(folder):
    assert (folder / "algorithm.py").read_bytes() == Path(runner.__file__).read_bytes()


def test_numpy_and_safetensors_alone_give_the_same_to_1e_6(world, folder, tmp_path):
    np.savez(tmp_path / "in.npz", counts=world.counts, genes=np.array(world.genes))
    program = """
import numpy as np, algorithm
model = algorithm.load()
given = np.load(sys.argv[1])
z, ood = algorithm.read(model, given["counts"], given["genes"])
np.savez(sys.argv[2], z=z, ood=ood, stage=model.readouts["stage"].predict(z),
         branch=model.readouts["branch"].predict(z), pseudotime=algorithm.pseudotime(model, z),
         depth=model.readouts["depth"].predict(z), pair=model.readouts["CD4/CD8"].predict_proba(z))
"""
    done = run(folder, program, tmp_path / "in.npz", tmp_path / "out.npz")
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "out.npz")
    z = world.algorithm.latents(world.counts, world.genes)
    assert np.abs(found["z"] - z).max() / np.abs(z).max() < 1e-6
    np.testing.assert_array_equal(found["stage"], world.algorithm.predict_stage(z))
    np.testing.assert_array_equal(found["branch"], world.algorithm.predict_branch(z))
    np.testing.assert_allclose(found["pseudotime"], world.algorithm.pseudotime(z), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found["depth"], world.algorithm.predict("depth", z), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found["ood"], world.algorithm.outlying(world.counts, world.genes), atol=1e-6)
    np.testing.assert_allclose(found["pair"], world.algorithm.readouts["CD4/CD8"].predict_proba(z), atol=1e-6)


def test_missing_genes_and_totals_as_in_the_package(world, folder):
    model = runner.load(folder)
    kept = [i for i in range(40) if i % 7]
    genes, totals = [world.genes[i] for i in kept], world.counts.sum(axis=1)
    found = runner.latents(model, world.counts[:, kept], genes, totals)
    np.testing.assert_allclose(
        found, world.algorithm.latents(world.counts[:, kept], genes, totals), rtol=1e-9, atol=1e-9
    )


def test_chunks_change_nothing(world, folder, monkeypatch):
    model = runner.load(folder)
    expected = runner.latents(model, world.counts, world.genes)
    monkeypatch.setattr(runner, "CHUNK_CELLS", 7)
    np.testing.assert_allclose(runner.latents(model, world.counts, world.genes), expected, rtol=1e-12)


@pytest.mark.parametrize("suffix", ["csv", "npz"])
def test_command_line_reads_counts_and_writes_one_row_per_cell(world, folder, tmp_path, suffix):
    totals, names = world.counts.sum(axis=1) * 2, [f"cell {i}" for i in range(len(world.counts))]
    source, out, options = tmp_path / f"counts.{suffix}", tmp_path / "out.csv", []
    if suffix == "npz":
        np.savez(source, counts=world.counts, genes=np.array(world.genes), cells=np.array(names), totals=totals)
    else:
        rows = np.column_stack([world.counts, totals]).tolist()
        with source.open("w", newline="") as file:
            csv.writer(file).writerows(
                [["cell", *world.genes, "n_counts"], *([n, *r] for n, r in zip(names, rows, strict=True))]
            )
        options = ["--totals", "n_counts"]
    done = run(folder, "import algorithm; sys.exit(algorithm.main(sys.argv[1:]))", source, *options, "--out", out)
    assert done.returncode == 0, done.stderr
    with out.open() as file:
        rows = list(csv.DictReader(file))
    z = world.algorithm.latents(world.counts, world.genes, totals)
    assert [row["cell"] for row in rows] == names
    np.testing.assert_allclose([[float(row[f"z{i}"]) for i in range(10)] for row in rows], z, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose([float(row["pseudotime"]) for row in rows], world.algorithm.pseudotime(z), rtol=1e-6)
    assert [row["stage"] for row in rows] == list(world.algorithm.predict_stage(z))
    score = world.algorithm.outlying(world.counts, world.genes, totals)
    np.testing.assert_allclose([float(row["ood"]) for row in rows], score, atol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([source.name, "out.csv"])


def test_command_line_says_what_is_wrong_and_ends_with_its_code(world, folder, tmp_path):
    program = "import algorithm; sys.exit(algorithm.main(sys.argv[1:]))"
    (tmp_path / "words.csv").write_text("cell,GENE1\na,many\n")
    (tmp_path / "scaled.csv").write_text("cell," + ",".join(world.genes) + "\na," + ",".join(["0.5"] * 40) + "\n")
    for name, message in (
        ("absent.csv", "absent.csv"),
        ("words.csv", "is not a table"),
        ("scaled.csv", "log-transformed"),
    ):
        done = run(folder, program, tmp_path / name)
        assert (done.returncode, message in done.stderr) == (3, True), done.stderr
        assert "Traceback" not in done.stderr


def test_two_layers_and_ids_run_as_in_the_package(world, tmp_path):
    z = world.algorithm.latents(world.counts, world.genes)
    readouts = fit_readouts(z, world.obs, hidden=5)
    parts = readout_entries(readouts)
    two = replace(world.algorithm, readouts=readouts, manifest=plain({**world.algorithm.manifest, **parts}))
    ids = [f"ENSG{i:011d}.4" for i in range(40)]
    two = two.with_ensembl(dict(zip(world.genes, ids, strict=True)))
    folder = two.save(tmp_path / "two")
    model, loaded = runner.load(folder), CompactAlgorithm.load(folder)
    assert model.readouts["stage"].hidden[0].shape == (5, 10)
    assert loaded.n_parameters["stage"] == 5 * 11 + 5 * 6 + 1
    found, score = runner.read(model, world.counts, ids)
    np.testing.assert_allclose(found, z, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(score, world.algorithm.outlying(world.counts, world.genes), rtol=1e-9)
    for name in ("stage", "branch", "CD4/CD8"):
        expected = two.predict_proba(name, z)
        np.testing.assert_allclose(model.readouts[name].predict_proba(found), expected, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(loaded.predict_proba(name, z), expected, rtol=1e-12)
    for readout in (model, loaded):
        assert readout.readouts["stage"].report == plain(readouts["stage"].report)
    np.testing.assert_allclose(model.readouts["depth"].predict(found), two.predict("depth", z), rtol=1e-6, atol=1e-6)


def test_a_changed_folder_is_refused(world, tmp_path):
    folder = world.algorithm.save(tmp_path / "algorithm")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["genes"].reverse()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(runner.FolderError, match=r"manifest\.json was changed"):
        runner.load(folder)
    done = run(folder, "import algorithm; sys.exit(algorithm.main(sys.argv[1:]))", "counts.csv")
    assert done.returncode == 4


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (lambda x: x / 2.5, "looks normalised|looks log"),
        (lambda x: -x, "negative"),
        (lambda x: x * 0, "300 of 300 cells have no counts"),
        (lambda x: x[:, 1:], "do not fit 40 genes"),
        (lambda x: x.astype(object), "raw counts are numbers"),
    ],
)
def test_what_is_no_count_matrix_is_refused(world, folder, counts, message):
    with pytest.raises(runner.CountsError, match=message):
        runner.latents(runner.load(folder), counts(world.counts), world.genes)
