"""Cells in memory and on disk come out annotated, and the same."""

import logging
import re
import subprocess
import sys
from dataclasses import replace

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from interp.errors import InputError
from interp.extraction.algorithm import CompactAlgorithm


def cells_of(world, **columns):
    obs = world.obs.set_axis([f"cell{i}" for i in range(len(world.obs))])
    cells = anndata.AnnData(sparse.csr_matrix(world.counts, dtype=np.float32), obs=obs)
    cells.var_names = list(world.genes)
    for key, value in columns.items():
        cells.obs[key] = value
    return cells


def test_cells_come_out_with_latents_pseudotime_and_stage(world):
    cells = cells_of(world)
    found = world.algorithm.transform(cells)
    z = world.algorithm.latents(world.counts, world.genes)
    np.testing.assert_array_equal(found.obsm["X_interp"], z)
    np.testing.assert_array_equal(found.obs["interp_pseudotime"], world.algorithm.pseudotime(z))
    assert list(found.obs["interp_stage"]) == list(world.algorithm.predict_stage(z))
    assert list(found.obs["interp_stage"].cat.categories) == list(world.algorithm.readouts["stage"].classes)
    record = found.uns["interp"]["algorithm"]
    assert (record["name"], record["coverage"], record["n_missing_genes"]) == ("made-up", 1.0, 0)
    assert "X_interp" not in cells.obsm
    assert sparse.issparse(found.X)


def test_key_names_are_parameters_and_cells_may_be_changed_in_place(world):
    cells = cells_of(world)
    cells.uns["interp"] = {"note": "kept"}
    keys = {"key_added": "Z", "pseudotime_key": "t", "stage_key": "guess"}
    assert world.algorithm.transform(cells, **keys, copy=False) is cells
    assert "Z" in cells.obsm
    assert {"t", "guess"} <= set(cells.obs)
    assert not {"interp_pseudotime", "interp_stage"} & set(cells.obs)
    assert cells.uns["interp"]["note"] == "kept"


def test_annotated_cells_survive_a_file(world, tmp_path):
    world.algorithm.transform(cells_of(world)).write_h5ad(tmp_path / "cells.h5ad")
    found = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert found.uns["interp"]["algorithm"]["keys"]["latent"] == "X_interp"


def test_cells_on_disk_give_the_same(world, tmp_path):
    expected = world.algorithm.transform(cells_of(world))
    cells_of(world).write_h5ad(tmp_path / "cells.h5ad")
    found = world.algorithm.transform(anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r"))
    np.testing.assert_array_equal(found.obsm["X_interp"], expected.obsm["X_interp"])


def test_gene_symbols_may_stand_in_a_column_and_are_pointed_at(world):
    cells = cells_of(world)
    cells.var["symbol"] = list(world.genes)
    cells.var_names = [f"ENSG{i:011d}" for i in range(cells.n_vars)]
    expected = world.algorithm.transform(cells_of(world))
    found = world.algorithm.transform(cells, gene_key="symbol")
    np.testing.assert_array_equal(found.obsm["X_interp"], expected.obsm["X_interp"])
    with pytest.raises(InputError, match="give gene_key='symbol'"):
        world.algorithm.transform(cells)
    with pytest.raises(InputError, match="no var column 'name'"):
        world.algorithm.transform(cells, gene_key="name")


def test_counts_may_stand_in_a_layer(world):
    cells = cells_of(world)
    expected = world.algorithm.transform(cells).obsm["X_interp"]
    cells.layers["counts"] = cells.X.copy()
    cells.X = cells.X.log1p()
    found = world.algorithm.transform(cells, layer="counts")
    np.testing.assert_array_equal(found.obsm["X_interp"], expected)
    with pytest.raises(InputError, match="looks log-transformed"):
        world.algorithm.transform(cells)
    with pytest.raises(InputError, match="no layer 'raw_counts'; there are: 'counts'"):
        world.algorithm.transform(cells, layer="raw_counts")


def test_totals_come_from_a_column_or_from_what_read_cells_recorded(world):
    total = world.counts.sum(axis=1) * 2.0
    expected = world.algorithm.latents(world.counts, world.genes, total)
    cells = cells_of(world, total_counts=total)
    found = world.algorithm.transform(cells, total_counts="total_counts").obsm["X_interp"]
    np.testing.assert_array_equal(found, expected)
    own = world.algorithm.transform(cells).obsm["X_interp"]
    assert not np.allclose(own, expected)
    cells.uns["interp"] = {"panel": {"sha256": "0"}}
    np.testing.assert_array_equal(world.algorithm.transform(cells).obsm["X_interp"], expected)
    with pytest.raises(InputError, match="no obs column 'n_umi'"):
        world.algorithm.transform(cells, total_counts="n_umi")


def test_a_gene_that_a_study_did_not_measure_is_missing_there_and_not_zero(world, caplog):
    study = np.where(np.arange(len(world.counts)) % 2, "one", "two")
    counts, total = world.counts.copy(), world.counts.sum(axis=1).astype(float)
    counts[study == "two", 6] = 0
    cells = cells_of(world, study=study)
    cells.X = sparse.csr_matrix(counts, dtype=np.float32)
    measured = pd.DataFrame({"one": True, "two": np.arange(40) != 6}, index=cells.var_names)
    cells.varm["measured"] = measured
    with caplog.at_level(logging.WARNING):
        found = world.algorithm.transform(cells, total_counts=total)
    assert "two: 1 of the algorithm's 40 genes are missing" in caplog.text
    kept = np.arange(40) != 6
    genes = [gene for gene, keep in zip(world.genes, kept, strict=True) if keep]
    expected = world.algorithm.latents(world.counts, world.genes, total)
    expected[study == "two"] = world.algorithm.latents(counts[:, kept], genes, total)[study == "two"]
    np.testing.assert_array_equal(found.obsm["X_interp"], expected)
    assert found.uns["interp"]["algorithm"]["n_missing_genes"] == 1


def test_a_study_that_measured_too_little_is_named(world):
    cells = cells_of(world, study="poor")
    cells.varm["measured"] = pd.DataFrame({"poor": np.arange(40) < 3}, index=cells.var_names)
    with pytest.raises(InputError, match="poor: 3 of the algorithm's 40 genes were found"):
        world.algorithm.transform(cells)


def test_geodesic_pseudotime_is_written_only_where_it_is_asked_for(world):
    found = world.algorithm.transform(cells_of(world), geodesic_key="geodesic")
    z = found.obsm["X_interp"]
    np.testing.assert_allclose(found.obs["geodesic"], world.algorithm.geodesic_pseudotime(z))
    assert found.obs["geodesic"].notna().all()


def stored(world, path, form, *, layer=None):
    """Write the cells with their counts stored in one of the forms h5ad knows, in X or in a layer."""
    cells = cells_of(world, n_umi=world.counts.sum(axis=1) * 2.0)
    matrix = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": np.asarray}[form](
        world.counts.astype(np.float32)
    )
    if layer is None:
        cells.X = matrix
    else:
        cells.layers[layer] = matrix
        cells.X = cells.X.log1p()
    cells.layers["other"] = sparse.csr_matrix(cells.shape)
    cells.obsm["X_pca"] = np.ones((cells.n_obs, 2))
    cells.write_h5ad(path)
    return path


@pytest.mark.parametrize("layer", [None, "counts"])
@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
def test_a_file_gives_what_memory_gives_whatever_it_stores(world, tmp_path, form, layer):
    expected = world.algorithm.transform(cells_of(world))
    path = stored(world, tmp_path / "cells.h5ad", form, layer=layer)
    found = world.algorithm.transform(path, layer=layer)
    np.testing.assert_allclose(found.obsm["X_interp"], expected.obsm["X_interp"], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.obs["interp_ood"], expected.obs["interp_ood"], rtol=1e-9, atol=1e-9)
    assert list(found.obs["interp_stage"]) == list(expected.obs["interp_stage"])
    assert found.X is None
    if layer is None:
        backed = anndata.read_h5ad(path, backed="r")
        again = world.algorithm.transform(backed)
        np.testing.assert_array_equal(again.obsm["X_interp"], found.obsm["X_interp"])
        backed.file.close()


def test_chunks_of_a_file_change_nothing(world, tmp_path, monkeypatch):
    path = stored(world, tmp_path / "cells.h5ad", "dense")
    expected = world.algorithm.transform(path).obsm["X_interp"]
    monkeypatch.setattr("interp.extraction.tally.DENSE_ENTRIES", 7 * len(world.genes))
    np.testing.assert_array_equal(world.algorithm.transform(path).obsm["X_interp"], expected)


def test_counts_on_disk_are_read_in_blocks_and_never_whole(world, tmp_path, monkeypatch):
    path = stored(world, tmp_path / "cells.h5ad", "dense")
    asked = []
    read = h5py.Dataset.__getitem__

    def spy(self, key, *rest, **options):
        if self.ndim == 2 and self.shape == world.counts.shape:
            asked.append(key.stop - key.start)
        return read(self, key, *rest, **options)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", spy)
    monkeypatch.setattr("interp.extraction.tally.DENSE_ENTRIES", 50 * len(world.genes))
    world.algorithm.transform(path)
    assert asked == [50] * 6


def test_backed_cells_stay_on_disk_and_views_read_their_rows_alone(world, tmp_path):
    expected = world.algorithm.transform(cells_of(world))
    path = stored(world, tmp_path / "cells.h5ad", "csr")
    backed = anndata.read_h5ad(path, backed="r")
    found = world.algorithm.transform(backed)
    assert found.isbacked
    assert "X_interp" not in backed.obsm
    np.testing.assert_array_equal(found[3:5].X.toarray(), world.counts[3:5])
    part = world.algorithm.transform(backed[10:40])
    np.testing.assert_array_equal(part.obsm["X_interp"], expected.obsm["X_interp"][10:40])
    assert world.algorithm.transform(backed, copy=False) is backed
    np.testing.assert_array_equal(backed.obsm["X_interp"], expected.obsm["X_interp"])
    backed.file.close()


def test_out_holds_all_of_the_file_and_the_results(world, tmp_path):
    path = stored(world, tmp_path / "cells.h5ad", "csr")
    before = path.read_bytes()
    found = world.algorithm.transform(path, out=tmp_path / "new" / "out.h5ad", total_counts="n_umi")
    written = anndata.read_h5ad(tmp_path / "new" / "out.h5ad")
    assert path.read_bytes() == before
    np.testing.assert_array_equal(written.X.toarray(), world.counts)
    np.testing.assert_array_equal(written.obsm["X_pca"], 1.0)
    assert list(written.layers) == ["other"]
    np.testing.assert_array_equal(written.obsm["X_interp"], found.obsm["X_interp"])
    for column in ("interp_pseudotime", "interp_stage", "interp_ood", "n_umi"):
        pd.testing.assert_series_equal(written.obs[column], found.obs[column])
    assert written.uns["interp"]["algorithm"]["keys"]["ood"] == "interp_ood"
    again = world.algorithm.transform(tmp_path / "new" / "out.h5ad", out=tmp_path / "new" / "out.h5ad")
    assert list(anndata.read_h5ad(tmp_path / "new" / "out.h5ad").obs) == list(again.obs)
    assert [item.name for item in (tmp_path / "new").iterdir()] == ["out.h5ad"]


def test_a_run_that_fails_leaves_the_old_output_and_nothing_half_written(world, tmp_path, monkeypatch):
    path, out = stored(world, tmp_path / "cells.h5ad", "csr"), tmp_path / "out" / "out.h5ad"
    out.parent.mkdir()
    out.write_text("old")

    def full(*_args, **_options):
        msg = "no space left on device"
        raise OSError(msg)

    monkeypatch.setattr("anndata.io.write_elem", full)
    with pytest.raises(OSError, match="no space left"):
        world.algorithm.transform(path, out=out)
    assert out.read_text() == "old"
    assert [item.name for item in out.parent.iterdir()] == ["out.h5ad"]


def test_out_is_for_files_alone(world, tmp_path):
    with pytest.raises(InputError, match="out= is for cells given as the path"):
        world.algorithm.transform(cells_of(world), out=tmp_path / "out.h5ad")


def test_files_that_hold_no_cells_are_named(world, tmp_path):
    (tmp_path / "text.h5ad").write_text("cells")
    with h5py.File(tmp_path / "empty.h5ad", "w") as file:
        file["X"] = np.ones((2, 2))
    with pytest.raises(InputError, match=r"no file .*absent.h5ad"):
        world.algorithm.transform(tmp_path / "absent.h5ad")
    with pytest.raises(InputError, match=r"text.h5ad is not an h5ad file"):
        world.algorithm.transform(tmp_path / "text.h5ad")
    with pytest.raises(InputError, match=r"empty.h5ad holds no AnnData"):
        world.algorithm.transform(tmp_path / "empty.h5ad")
    path = stored(world, tmp_path / "cells.h5ad", "csr")
    with pytest.raises(InputError, match=r"no layer 'counts' .* its layers are: 'other'"):
        world.algorithm.transform(path, layer="counts")


def test_empty_cells_are_refused_by_name_or_skipped_when_asked(world, caplog):
    cells = cells_of(world)
    counts = world.counts.copy()
    counts[[4, 17]] = 0
    cells.X = sparse.csr_matrix(counts, dtype=np.float32)
    with pytest.raises(InputError, match=r"2 of 300 cells have no counts.* such as cell4, cell17; leave them out"):
        world.algorithm.transform(cells)
    with caplog.at_level(logging.WARNING):
        found = world.algorithm.transform(cells, skip_empty=True, geodesic_key="geodesic")
    assert "2 of 300 cells have no counts and are skipped" in caplog.text
    expected = world.algorithm.transform(cells_of(world))
    there = np.arange(300) != 4
    there[17] = False
    np.testing.assert_array_equal(found.obsm["X_interp"][there], expected.obsm["X_interp"][there])
    assert np.isnan(found.obsm["X_interp"][~there]).all()
    for column in ("interp_pseudotime", "interp_stage", "interp_ood", "geodesic"):
        assert list(found.obs[column].isna()) == list(~there), column
    assert found.uns["interp"]["algorithm"]["n_skipped_cells"] == 2


def test_a_total_that_is_no_number_is_refused_even_when_empty_cells_are_skipped(world):
    total = world.counts.sum(axis=1).astype(float)
    total[3] = np.nan
    with pytest.raises(InputError, match="such as cell3"):
        world.algorithm.transform(cells_of(world, total=total), total_counts="total", skip_empty=True)


def test_score_and_its_key(world):
    found = world.algorithm.transform(cells_of(world), ood_key="strangeness")
    np.testing.assert_array_equal(found.obs["strangeness"], world.algorithm.outlying(world.counts, world.genes))
    assert "interp_ood" not in found.obs
    assert "interp_ood" not in world.algorithm.transform(cells_of(world), ood_key=None).obs


def test_an_algorithm_without_score_writes_none(world):
    plain = replace(world.algorithm, typical=None)
    assert "interp_ood" not in plain.transform(cells_of(world)).obs
    with pytest.raises(InputError, match="no out-of-distribution score"):
        plain.outlying(world.counts, world.genes)


def ids(n):
    return [f"ENSG{i:011d}" for i in range(n)]


def test_cells_may_be_named_by_ensembl_id_with_or_without_version(world, tmp_path):
    expected = world.algorithm.transform(cells_of(world)).obsm["X_interp"]
    table = dict(zip(world.genes, ids(40), strict=True))
    saved = world.algorithm.with_ensembl(pd.Series(table)).save(tmp_path / "a")
    algorithm = CompactAlgorithm.load(saved)
    assert algorithm.ensembl == tuple(ids(40))
    cells = cells_of(world)
    cells.var["symbol"] = list(world.genes)
    for suffix in ("", ".12"):
        cells.var_names = [f"{name}{suffix}" for name in ids(40)]
        np.testing.assert_array_equal(algorithm.transform(cells).obsm["X_interp"], expected)
    cells.var["id"] = list(cells.var_names)
    cells.var_names = [f"row{i}" for i in range(40)]
    for key in ("symbol", "id"):
        np.testing.assert_array_equal(algorithm.transform(cells, gene_key=key).obsm["X_interp"], expected)
    mixed = [name if i % 2 else ids(40)[i] for i, name in enumerate(world.genes)]
    np.testing.assert_array_equal(algorithm.latents(world.counts, mixed), expected)
    with pytest.raises(InputError, match="1 genes stand twice, such as GENE0"):
        algorithm.latents(np.hstack([world.counts, world.counts[:, :1]]), [*world.genes, ids(40)[0]])


def test_ids_that_the_algorithm_does_not_know_are_explained(world):
    cells = cells_of(world)
    cells.var_names = [f"ENSG{i:011d}.3" for i in range(40)]
    message = "are Ensembl ids .such as ENSG00000000000.3., and this algorithm knows symbols alone: gene_key= names"
    with pytest.raises(InputError, match=message):
        world.algorithm.transform(cells)
    cells.var["symbol"] = list(world.genes)
    with pytest.raises(InputError, match="var column 'symbol' holds 40 of them; give gene_key='symbol'"):
        world.algorithm.transform(cells)
    with pytest.raises(InputError, match="holds no Ensembl id"):
        world.algorithm.with_ensembl({"GENE0": "ENSMUSG00000000001", "OTHER": "ENSG00000000001"})


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        (
            str.capitalize,
            "look like mouse symbols .such as Gene0, human GENE0.: map them to human one-to-one orthologs",
        ),
        (lambda name: f"ENSMUSG{int(name[4:]):011d}", "Ensembl ids of another organism .such as ENSMUSG00000000000."),
        (lambda name: name[4:] + "0", "bare numbers"),
    ],
)
def test_another_organism_is_said_to_be_one(world, rename, message):
    with pytest.raises(InputError, match=message):
        world.algorithm.latents(world.counts, [rename(name) for name in world.genes])
    cells = cells_of(world)
    cells.var_names = [rename(name) for name in world.genes]
    with pytest.raises(InputError, match=message):
        world.algorithm.transform(cells)


def test_counts_of_a_gene_that_was_not_measured_are_a_contradiction(world):
    cells = cells_of(world, study="one")
    cells.varm["measured"] = pd.DataFrame({"one": np.arange(40) != 6}, index=cells.var_names)
    cells.obs.loc[cells.obs_names[:150], "study"] = "two"
    cells.varm["measured"]["two"] = True
    with pytest.raises(InputError, match=re.escape("counts of 1 genes that varm['measured'] says")):
        world.algorithm.transform(cells)


def test_arrays_need_neither_torch_nor_pandas(world, tmp_path):
    folder = world.algorithm.save(tmp_path / "algorithm")
    np.savez(tmp_path / "cells.npz", counts=world.counts, genes=np.array(world.genes))
    program = (
        "import sys, numpy as np, interp\n"
        "given = np.load(sys.argv[2])\n"
        "z = interp.CompactAlgorithm.load(sys.argv[1]).latents(given['counts'], given['genes'])\n"
        "heavy = {'torch', 'pandas', 'anndata', 'numba', 'sklearn', 'scanpy', 'matplotlib'} & set(sys.modules)\n"
        "assert z.shape == (300, 10) and not heavy, heavy\n"
    )
    words = [sys.executable, "-c", program, str(folder), str(tmp_path / "cells.npz")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
