"""The compact algorithm: folding is exact, files are safe and reproducible, cells come out annotated."""

import hashlib
import json
import re
import runpy
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save as save_tensors
from scipy import sparse

from interp.errors import InputError, IntegrityError
from interp.extraction.algorithm import CompactAlgorithm
from interp.extraction.assembly import plain
from interp.extraction.folding import fold
from interp.extraction.let import LetProblem, fit_let
from interp.extraction.measure import measure
from interp.extraction.runner import algorithm as runner
from interp.extraction.span import SpanBasis

FILES = {"algorithm.safetensors", "manifest.json", "README.md", "algorithm.py"}


def relative_error(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


def latents_of(world):
    return world.algorithm.latents(world.counts, world.genes)


def first_schema(algorithm, folder):
    """Write a folder as the first schema had it: no temperatures, score or parameter counts."""
    readouts = {name: replace(readout, temperature=None, report={}) for name, readout in algorithm.readouts.items()}
    bare = replace(algorithm, readouts=readouts, typical=None)
    added = ("n_parameters", "typical", "readouts", "schema_version")
    manifest = {key: value for key, value in algorithm.manifest.items() if key not in added}
    entries = {name: {"classes": r.classes, "n_parameters": r.n_parameters} for name, r in readouts.items()}
    manifest = plain({**manifest, "schema_version": 1, "readouts": entries})
    folder.mkdir()
    tensors = save_tensors(bare.arrays(), metadata={"manifest_sha256": runner.manifest_hash(manifest)})
    (folder / "algorithm.safetensors").write_bytes(tensors)
    files = {"algorithm.safetensors": hashlib.sha256(tensors).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps({**manifest, "files": files}))
    return folder


class TestFolding:
    def test_folded_map_equals_operator_then_adaptor_for_every_kind(self, world):
        rng = np.random.default_rng(0)
        ruler = np.abs(np.subtract.outer(np.arange(12), np.arange(12))).astype(float)
        x = world.expression[:12]
        problems = [LetProblem(SpanBasis.from_features(op.apply(x)), ruler) for op in world.operators]
        fits = fit_let(problems, n_latent=4, n_starts=1, max_iter=20)
        new = world.expression[50:90] * rng.uniform(0.5, 2.0, size=(40, 1))
        assert {op.kind for op in world.operators} == {"mean", "sum"}
        assert {op.orientation for op in world.operators} == {"out", "in"}
        for operator, fit in zip(world.operators, fits, strict=True):
            chain = fit.transform(operator.apply(new))
            folded = fold(operator, fit)
            assert folded.M.shape == (len(world.genes), 4)
            assert relative_error(folded.latents(new), chain) < 1e-9, operator.name
            assert relative_error(folded.latents(sparse.csr_matrix(new)), chain) < 1e-9, operator.name

    def test_float32_algorithm_equals_the_chain_to_1e_5(self, world):
        chain = world.fit.transform(world.operator.apply(world.expression))
        found = world.algorithm.latents(world.counts, world.genes)
        assert world.algorithm.M.dtype == np.float32
        assert relative_error(found, chain) < 1e-5

    def test_rounding_the_map_does_not_move_the_mean_cell(self, world):
        mean = world.algorithm.gene_mean.astype(np.float64)
        exact = fold(world.operator, world.fit)
        error = np.abs(mean @ world.algorithm.M.astype(np.float64) + world.algorithm.c - exact.latents(mean[None])[0])
        assert error.max() < 1e-10

    def test_an_adaptor_of_another_operator_is_refused(self, world):
        drift = next(op for op in world.operators if op.name == "drift.mean.out")
        with pytest.raises(InputError, match=r"drift.mean.out gives 80 features and the adaptor was fitted on 40"):
            fold(drift, world.fit)


class TestLatents:
    @pytest.mark.parametrize("store", [np.asarray, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array])
    @pytest.mark.parametrize("dtype", [np.int64, np.float32, np.uint8])
    @pytest.mark.parametrize("chunk", [1, 7, 10_000])
    def test_same_bytes_whatever_storage_type_and_chunk(self, world, store, dtype, chunk):
        expected = world.algorithm.latents(world.counts, world.genes)
        X = store(world.counts.astype(dtype))
        X = X.tocsr() if sparse.issparse(X) else X
        np.testing.assert_array_equal(measure(world.algorithm, X, world.genes, chunk=chunk).z, expected)

    def test_order_of_genes_and_genes_it_does_not_know_change_nothing_but_the_total(self, world):
        expected = world.algorithm.latents(world.counts, world.genes)
        order = np.random.default_rng(1).permutation(len(world.genes))
        genes = [world.genes[i] for i in order] + ["OTHER"]
        counts = np.hstack([world.counts[:, order], np.full((len(world.counts), 1), 9)])
        totals = world.counts.sum(axis=1)
        totals_with_other = world.algorithm.latents(counts, genes)
        assert not np.allclose(totals_with_other, expected)
        found = world.algorithm.latents(counts, genes, total_counts=totals)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)

    def test_by_hand(self, world):
        algorithm, counts = world.algorithm, world.counts[:3]
        x = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)
        by_hand = x @ algorithm.M.astype(float) + algorithm.c
        np.testing.assert_allclose(algorithm.latents(counts, world.genes), by_hand, rtol=1e-12)

    def test_missing_genes_stand_at_their_training_mean(self, world):
        algorithm, gone = world.algorithm, [3, 17]
        kept = [i for i in range(len(world.genes)) if i not in gone]
        totals = world.counts.sum(axis=1)
        found = algorithm.latents(world.counts[:, kept], [world.genes[i] for i in kept], totals)
        filled = world.expression.copy()
        filled[:, gone] = algorithm.gene_mean[gone]
        np.testing.assert_allclose(found, filled @ algorithm.M.astype(float) + algorithm.c, rtol=1e-9)

    def test_too_few_genes_are_refused_by_the_weight_they_carry(self, world):
        algorithm = world.algorithm
        weight = np.linalg.norm(algorithm.M, axis=1) * algorithm.gene_sd
        heavy = np.argsort(-weight)[:10]
        share = float(weight[heavy].sum() / weight.sum())
        genes = [world.genes[i] for i in heavy]
        assert algorithm.coverage(genes) == pytest.approx(share)
        totals = world.counts.sum(axis=1)
        message = re.escape(f"10 of the algorithm's 40 genes were found; they carry {share:.0%} of its weight")
        with pytest.raises(InputError, match=message):
            algorithm.latents(world.counts[:, heavy], genes, totals, min_coverage=share + 0.01)
        algorithm.latents(world.counts[:, heavy], genes, totals, min_coverage=share - 0.01)
        with pytest.raises(InputError, match="0 of the algorithm's 40 genes"):
            algorithm.latents(np.ones((2, 2)), ["X", "Y"], min_coverage=0.0)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda x: np.log1p(x / x.sum(axis=1, keepdims=True) * 1e4), "looks log-transformed"),
            (lambda x: x / x.sum(axis=1, keepdims=True) * 1e4, "looks normalised"),
            (lambda x: x - 1.0, "negative"),
            (lambda x: np.where(x == x.max(), np.nan, x), "NaN"),
            (lambda x: x * (np.arange(len(x)) != 2)[:, None], "1 of 300 cells have no counts"),
            (lambda x: x[:, :-1], r"shape \(300, 39\) do not fit 40 genes"),
        ],
    )
    @pytest.mark.parametrize("store", [np.asarray, sparse.csr_matrix])
    def test_what_is_no_count_matrix_is_refused(self, world, change, message, store):
        changed = change(world.counts.astype(float))
        with pytest.raises(InputError, match=message):
            world.algorithm.latents(store(changed), world.genes)

    def test_text_is_refused(self, world):
        with pytest.raises(InputError, match="raw counts are numbers"):
            world.algorithm.latents(world.counts.astype(str), world.genes)

    def test_duplicate_genes_matter_only_where_the_algorithm_needs_them(self, world):
        twice = [*world.genes, "OTHER", "OTHER"]
        counts = np.hstack([world.counts, np.zeros((len(world.counts), 2), dtype=int)])
        world.algorithm.latents(counts, twice)
        with pytest.raises(InputError, match="1 genes stand twice, such as GENE4"):
            world.algorithm.latents(counts, [*world.genes, "OTHER", "GENE4"])

    def test_totals_must_fit_and_hold_at_least_the_counts(self, world):
        totals = world.counts.sum(axis=1)
        with pytest.raises(InputError, match=r"totals of shape \(299,\) were given for 300"):
            world.algorithm.latents(world.counts, world.genes, totals[:-1])
        with pytest.raises(InputError, match="300 cells hold more counts"):
            world.algorithm.latents(world.counts, world.genes, totals / 2)


class TestReadouts:
    def test_planted_stages_are_read_back(self, world):
        z = world.algorithm.latents(world.counts, world.genes)
        stage, branch = world.obs["stage"].to_numpy(), world.obs["branch"].to_numpy()
        assert (world.algorithm.predict_stage(z) == stage).mean() > 0.9
        assert (world.algorithm.predict_branch(z) == branch).mean() > 0.9
        assert set(world.algorithm.readouts) == {"stage", "branch", "depth", "CD4/CD8"}
        assert np.corrcoef(world.algorithm.predict("depth", z), world.obs["depth"])[0, 1] > 0.8
        with pytest.raises(InputError, match="no readout 'NK/ILC'"):
            world.algorithm.predict("NK/ILC", z)

    def test_pseudotime_is_the_calibrated_arc_and_of_a_cell_alone(self, world):
        algorithm = world.algorithm
        z = algorithm.latents(world.counts, world.genes)
        cosine = z @ algorithm.centroid / np.linalg.norm(z, axis=1) / np.linalg.norm(algorithm.centroid)
        np.testing.assert_allclose(algorithm.pseudotime(z), world.fit.beta_ * np.arccos(cosine), rtol=1e-9)
        np.testing.assert_allclose(algorithm.pseudotime(z[5:6]), algorithm.pseudotime(z)[5:6], rtol=1e-12)
        assert algorithm.pseudotime(algorithm.centroid[None])[0] < 1e-3 * algorithm.beta
        roots = (world.obs["stage"] == "HSC").to_numpy()
        assert algorithm.pseudotime(z)[roots].mean() < algorithm.pseudotime(z)[~roots].mean()

    def test_parameters_are_counted_by_part(self, world):
        counts = world.algorithm.n_parameters
        assert counts["map"] == 40 * 10 + 10
        assert counts["genes"] == 2 * 40
        assert counts["stage"] == 5 * 11 + 1
        assert counts["CD4/CD8"] == counts["depth"] + 1 == 11 + 1
        assert counts["out of distribution"] == 40 * 5 + 2 * 5 + 101
        assert counts["all"] == sum(array.size for array in world.algorithm.arrays().values())


class TestFolder:
    def test_load_gives_back_what_was_saved(self, world, tmp_path):
        folder = world.algorithm.save(tmp_path / "algorithm")
        assert {file.name for file in folder.iterdir()} == FILES
        loaded = CompactAlgorithm.load(folder)
        expected, found = world.algorithm.arrays(), loaded.arrays()
        assert expected.keys() == found.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype
        assert loaded.sha256 == world.algorithm.sha256
        assert loaded.genes == world.genes
        assert {**loaded.manifest, "files": None} == {**world.algorithm.manifest, "files": None}

    def test_equal_algorithms_give_equal_bytes(self, world, build_world, tmp_path):
        folders = [world.algorithm.save(tmp_path / "a"), build_world().algorithm.save(tmp_path / "b")]
        folders.append(CompactAlgorithm.load(folders[0]).save(tmp_path / "c"))
        folders.append(world.algorithm.save(tmp_path / "a"))  # over itself
        for name in FILES:
            assert len({(folder / name).read_bytes() for folder in folders}) == 1, name

    def test_manifest_says_what_a_reader_needs(self, world, tmp_path):
        manifest = json.loads((world.algorithm.save(tmp_path / "a") / "manifest.json").read_text())
        work = manifest["preprocessing"]
        assert (work["target_sum"], work["log1p"], work["total"]) == (1e4, True, "all genes of the cell")
        assert manifest["schema_version"] == 2
        assert manifest["n_parameters"] == world.algorithm.n_parameters
        assert manifest["genes"] == list(world.genes)
        assert manifest["operator"]["heads"] == [[1, 1]]
        assert manifest["provenance"]["seed"] == 0
        assert manifest["metrics"]["order"] == {"value": 0.5, "lo": 0.4, "hi": None}
        assert set(manifest["files"]) == {"algorithm.safetensors", "algorithm.py"}

    def test_card_states_verdict_panel_use_and_limits(self, world, tmp_path):
        card = (world.algorithm.save(tmp_path / "a") / "README.md").read_text()
        for part in (
            "readable, not model-specific",
            "L1H1",
            "Intended use and limits",
            "| order | 0.5 |",
            "python alg",
        ):
            assert part in card
        assert "training cells: 300" in card
        assert (
            "No verdict was recorded"
            in (world.algorithm.described(verdict={}).save(tmp_path / "b") / "README.md").read_text()
        )

    def test_card_names_the_ruler_the_map_was_fitted_to(self, world, tmp_path):
        assert (
            "fitted to hop distances between stages" in (world.algorithm.save(tmp_path / "a") / "README.md").read_text()
        )
        days = {"ruler": {"name": "days", "source": "sampling", "sha256": "0"}}
        card = (world.algorithm.described(provenance=days).save(tmp_path / "b") / "README.md").read_text()
        assert "fitted to the ruler 'days' (sampling)" in card
        assert "hops between stages" not in card

    def test_results_can_be_added_later_and_nothing_else(self, world, tmp_path):
        later = world.algorithm.described(metrics={"order": 0.7}, verdict={"status": "undecided"})
        assert CompactAlgorithm.load(later.save(tmp_path / "a")).manifest["verdict"] == {"status": "undecided"}
        assert later.sha256 == world.algorithm.sha256
        with pytest.raises(InputError, match="given: genes"):
            world.algorithm.described(genes={})

    @pytest.mark.parametrize("name", ["algorithm.safetensors", "algorithm.py"])
    def test_a_changed_file_is_refused(self, world, tmp_path, name):
        path = world.algorithm.save(tmp_path / "a") / name
        data = bytearray(path.read_bytes())
        data[-2] ^= 1
        path.write_bytes(bytes(data))
        with pytest.raises(IntegrityError, match=f"{name} is not what the manifest says"):
            CompactAlgorithm.load(path.parent)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda m: m["genes"].reverse(), "manifest.json was changed"),
            (lambda m: m["readouts"]["stage"]["classes"].reverse(), "manifest.json was changed"),
            (lambda m: m["preprocessing"].update(target_sum=1e6), "manifest.json was changed"),
            (lambda m: m["verdict"].update(status="model-specific"), "manifest.json was changed"),
            (lambda m: m.update(schema_version=3), "schema version 3.* update interp"),
            (lambda m: m.update(schema_version=0), "schema version 0"),
            (lambda m: m.update(schema_version=1), "manifest.json was changed"),
            (lambda m: m["n_parameters"].update(all=1), "manifest.json was changed"),
            (lambda m: m.pop("files"), "does not hold a whole algorithm"),
            (lambda m: m.update(files=[]), "does not hold a whole algorithm"),
        ],
    )
    def test_a_changed_manifest_is_refused(self, world, tmp_path, change, message):
        path = world.algorithm.save(tmp_path / "a") / "manifest.json"
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_text(json.dumps(manifest))
        with pytest.raises(IntegrityError, match=message):
            CompactAlgorithm.load(path.parent)

    @pytest.mark.parametrize("name", ["algorithm.safetensors", "manifest.json"])
    def test_a_missing_file_is_refused(self, world, tmp_path, name):
        path = world.algorithm.save(tmp_path / "a") / name
        path.unlink()
        with pytest.raises(IntegrityError, match=f"no {name}"):
            CompactAlgorithm.load(path.parent)

    def test_a_folder_that_is_too_large_is_refused_before_it_is_read(self, world, tmp_path):
        path = world.algorithm.save(tmp_path / "a") / "algorithm.safetensors"
        with path.open("r+b") as file:
            file.truncate(2**27)
        with pytest.raises(IntegrityError, match="134,217,728 bytes"):
            CompactAlgorithm.load(path.parent)

    def test_the_runner_of_a_folder_is_never_executed(self, world, tmp_path):
        folder = world.algorithm.save(tmp_path / "a")
        mark = tmp_path / "executed"
        program = f"import pathlib; pathlib.Path({str(mark)!r}).touch()\n".encode()
        (folder / "algorithm.py").write_bytes(program)
        with pytest.raises(IntegrityError):
            CompactAlgorithm.load(folder)
        (folder / "algorithm.py").unlink()
        CompactAlgorithm.load(folder)
        assert not mark.exists()
        (folder / "algorithm.py").write_bytes(program)
        runpy.run_path(str(folder / "algorithm.py"))
        assert mark.exists()  # so it would have left its mark

    def test_a_folder_of_the_first_schema_is_read_and_written_as_the_present_one(self, world, tmp_path):
        old = CompactAlgorithm.load(first_schema(world.algorithm, tmp_path / "old"))
        assert old.manifest["schema_version"] == 1
        assert (old.typical, old.ensembl) == (None, ())
        assert all(readout.temperature is None for readout in old.readouts.values())
        np.testing.assert_array_equal(old.latents(world.counts, world.genes), latents_of(world))
        new = CompactAlgorithm.load(old.save(tmp_path / "new"))
        assert new.manifest["schema_version"] == 2
        assert (new.sha256, new.n_parameters) == (old.sha256, old.n_parameters)
        assert "has no out-of-distribution score" in (tmp_path / "new" / "README.md").read_text()

    def test_the_shipped_algorithm_loads(self):
        shipped = CompactAlgorithm.load("hematopoiesis-mini")
        assert len(shipped.genes) == shipped.M.shape[0]
        assert shipped.coverage(shipped.genes) == pytest.approx(1.0)

    def test_saving_never_replaces_something_else(self, world, tmp_path):
        (tmp_path / "thesis").mkdir()
        (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
        with pytest.raises(InputError, match="is no algorithm, so it is not replaced"):
            world.algorithm.save(tmp_path / "thesis")
        assert (tmp_path / "thesis" / "chapter.txt").exists()

    def test_an_unknown_name_lists_the_known_ones(self):
        with pytest.raises(InputError, match="no-such-algorithm"):
            CompactAlgorithm.load("no-such-algorithm")


class TestBuild:
    def test_parts_that_do_not_fit_are_refused(self, world):
        parts = {"expression": world.expression, "readouts": world.algorithm.readouts, "root": ("HSC", np.ones(10))}
        with pytest.raises(InputError, match="Expression of 39 genes"):
            CompactAlgorithm.build("x", world.operator, world.fit, **parts | {"expression": world.expression[:, 1:]})
        with pytest.raises(InputError, match="wrong shape: centroid"):
            CompactAlgorithm.build("x", world.operator, world.fit, **parts | {"root": ("HSC", np.ones(9))})
        with pytest.raises(InputError, match="finite numbers: centroid"):
            CompactAlgorithm.build("x", world.operator, world.fit, **parts | {"root": ("HSC", np.full(10, np.nan))})

    def test_gene_statistics_are_those_of_the_training_cells(self, world):
        np.testing.assert_allclose(world.algorithm.gene_mean, world.expression.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(world.algorithm.gene_sd, world.expression.std(axis=0), rtol=1e-5)
