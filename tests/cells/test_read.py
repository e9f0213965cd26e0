import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix, isspmatrix_csr

from interp.biology import StageGraph
from interp.cells import read_cells
from interp.errors import InputError


def test_a_panel_has_the_promised_form(make_file, columns, tmp_path) -> None:
    make_file().write_h5ad(tmp_path / "lab.h5ad")
    cells = read_cells(tmp_path / "lab.h5ad", **columns)
    assert isspmatrix_csr(cells.X)
    assert cells.X.dtype == np.float32
    for name in ("donor", "tissue", "cell_type", "stage", "branch", "study", "replicate"):
        assert isinstance(cells.obs[name].dtype, pd.CategoricalDtype), name
    assert cells.obs["depth"].dtype == np.float32
    assert cells.obs["total_counts"].dtype == np.float64
    assert cells.obs["total_counts"].tolist() == cells.X.sum(1).A1.tolist()
    assert cells.obs["donor"].cat.categories.tolist() == ["lab:d1", "lab:d2"]
    assert cells.obs_names[0] == "lab:c0"
    assert set(cells.obs["replicate"]) == {""}
    assert cells.varm["measured"].columns.tolist() == ["lab"]
    facts = cells.uns["interp"]["panel"]
    assert (facts["n_cells"], facts["n_genes"], facts["n_donors"]) == (24, 12, 2)


def test_stage_branch_and_depth_are_those_of_the_graph(make_file, columns) -> None:
    graph = StageGraph.hematopoiesis()
    cells = read_cells(make_file(), **columns)
    for label in ("HSC", "erythroblast", "classical monocyte"):
        rows = cells.obs[cells.obs["cell_type"] == label]
        assert set(rows["stage"]) == {label}
        assert set(rows["branch"]) == {graph.branch(label)}
        assert set(rows["depth"]) == {graph.depth(label)}


def test_coarse_labels_have_a_branch_and_no_stage(make_file, columns) -> None:
    adata = make_file()
    adata.obs["cell_type"] = ["CD4 T cell", "no such cell"] * 12
    cells = read_cells(adata, **columns)
    assert cells.obs["stage"].isna().all()
    assert cells.obs["depth"].isna().all()
    graph = StageGraph.hematopoiesis()
    assert set(cells.obs["branch"][::2]) == {graph.branch("naive CD4 T")}
    assert cells.obs["branch"][1::2].isna().all()
    report = cells.uns["interp"]["labels"].set_index("label")
    assert report["status"].to_dict() == {"CD4 T cell": "coarse", "no such cell": "unmapped"}
    assert report["n_cells"].to_dict() == {"CD4 T cell": 12, "no such cell": 12}
    assert "naive CD4 T" in report.loc["CD4 T cell", "candidates"]


def test_a_stage_column_is_mapped_instead_of_the_cell_type(make_file, columns) -> None:
    adata = make_file()
    adata.obs["fine"] = ["HSC", "Cl_Mono", None, "mystery"] * 6
    adata.obs["cell_type"] = "erythroblast"
    cells = read_cells(adata, **columns, stage="fine")
    assert cells.obs["stage"].astype(object).where(cells.obs["stage"].notna(), "-").tolist()[:4] == [
        "HSC", "classical monocyte", "-", "-",
    ]  # fmt: skip
    assert set(cells.obs["cell_type"]) == {"erythroblast"}


def test_labels_that_map_to_nothing_are_an_error_unless_allowed(make_file, columns) -> None:
    adata = make_file()
    adata.obs["cell_type"] = ["alpha", "beta"] * 12
    with pytest.raises(InputError, match=r"none of the 2 labels is a stage.*alpha, beta.*require_stages"):
        read_cells(adata, **columns)
    cells = read_cells(adata, **columns, require_stages=False)
    assert cells.obs["stage"].isna().all()
    assert set(cells.uns["interp"]["labels"]["status"]) == {"unmapped"}


def test_cells_without_labels_can_be_read(make_file) -> None:
    cells = read_cells(make_file(), donor="donor", tissue=None, cell_type=None)
    assert set(cells.obs["cell_type"]) == {"unknown"}
    assert set(cells.obs["tissue"]) == {"unknown"}
    assert cells.obs["stage"].isna().all()
    assert len(cells.uns["interp"]["labels"]) == 0


@pytest.mark.parametrize("parameter", ["donor", "tissue", "cell_type", "stage", "total_counts", "replicate", "study"])
def test_a_missing_column_is_named_with_those_there_are(make_file, columns, parameter) -> None:
    with pytest.raises(InputError, match=f"no column 'nope', which {parameter}= names; there are: 'donor', 'tissue'"):
        read_cells(make_file(), **{**columns, parameter: "nope"})


@pytest.mark.parametrize("parameter", ["donor", "tissue"])
@pytest.mark.parametrize("absent", [None, np.nan, " "])
def test_a_cell_without_donor_or_tissue_is_an_error(make_file, columns, parameter, absent) -> None:
    adata = make_file()
    adata.obs[parameter] = [absent] + ["x"] * 23
    with pytest.raises(InputError, match=f"1 of 24 cells have no {parameter}"):
        read_cells(adata, **columns)


def test_donors_are_needed(make_file, columns) -> None:
    with pytest.raises(InputError, match="donor= is None"):
        read_cells(make_file(), **{**columns, "donor": None})


def test_a_cell_without_cell_type_stays_as_unknown(make_file, columns, caplog) -> None:
    adata = make_file()
    adata.obs["cell_type"] = [None] + ["HSC"] * 23
    cells = read_cells(adata, **columns)
    assert cells.obs["cell_type"].tolist()[:2] == ["unknown", "HSC"]
    assert pd.isna(cells.obs["stage"].iloc[0])
    assert "1 cells have no cell_type" in caplog.text


def test_numbered_donors_read_alike_as_whole_numbers_and_floats(make_file, columns) -> None:
    adata = make_file()
    adata.obs["donor"] = [1015.0, 1016.0] * 12
    assert set(read_cells(adata, **columns).obs["donor"]) == {"cells:1015", "cells:1016"}


def test_empty_cells_are_left_out_and_counted(make_file, columns, caplog) -> None:
    adata = make_file()
    dense = adata.X.toarray()
    dense[3] = 0
    adata.X = csr_matrix(dense)
    adata.obsm["truth"] = np.arange(24)[:, None]
    cells = read_cells(adata, **columns)
    assert cells.n_obs == 23
    assert "cells:c3" not in cells.obs_names
    assert cells.obsm["truth"].ravel().tolist() == [i for i in range(24) if i != 3]
    assert cells.uns["interp"]["panel"]["n_empty_cells_left_out"] == 1
    assert "1 of 24 cells are empty" in caplog.text


def test_only_empty_cells_are_an_error(make_file, columns) -> None:
    adata = make_file()
    adata.X = csr_matrix(adata.shape, dtype=np.float32)
    with pytest.raises(InputError, match="all 24 cells are empty"):
        read_cells(adata, **columns)
    with pytest.raises(InputError, match="0 cells x 12 genes"):
        read_cells(adata[:0].copy(), **columns)


@pytest.mark.filterwarnings("ignore:Variable names are not unique", "ignore:Observation names are not unique")
def test_duplicate_names_are_errors_that_list_them(make_file, columns) -> None:
    genes = make_file(genes=["A", "B", "A", "C", "B", "A"])
    with pytest.raises(InputError, match=r"2 gene names stand more than once: A \(3x\), B \(2x\)"):
        read_cells(genes, **columns)
    cells = make_file()
    cells.obs_names = ["same", "same", *cells.obs_names[2:]]
    with pytest.raises(InputError, match=r"1 cell names stand more than once: same \(2x\)"):
        read_cells(cells, **columns)


def test_log_transformed_files_are_refused_with_the_layer_to_use(make_file, columns) -> None:
    adata = make_file()
    adata.layers["counts"] = adata.X.copy()
    adata.X = adata.X.log1p()
    with pytest.raises(InputError, match=r"log-transformed.*'counts'"):
        read_cells(adata, **columns)
    cells = read_cells(adata, **columns, layer="counts")
    assert abs(cells.X - adata.layers["counts"]).nnz == 0
    assert "counts" not in cells.layers


def test_symbols_come_from_a_var_column(make_file, columns) -> None:
    adata = make_file(genes=["ENSG1", "ENSG2", "ENSG3"])
    adata.var["symbol"] = ["CD34", None, "GATA1"]
    assert read_cells(adata, **columns, gene_key="symbol").var_names.tolist() == ["CD34", "ENSG2", "GATA1"]
    with pytest.raises(InputError, match="var has no column 'name', which gene_key= names; there are: 'symbol'"):
        read_cells(adata, **columns, gene_key="name")


def test_total_counts_come_from_the_column_where_it_holds_a_number(make_file, columns) -> None:
    adata = make_file()
    own = adata.X.sum(1).A1
    adata.obs["n_umi"] = [np.nan, *(own[1:] + 100)]
    totals = read_cells(adata, **columns, total_counts="n_umi").obs["total_counts"].tolist()
    assert totals == [own[0], *(own[1:] + 100)]


def test_impossible_totals_are_errors(make_file, columns) -> None:
    adata = make_file()
    adata.obs["n_umi"] = 1.0
    with pytest.raises(InputError, match="in 24 cells obs\\['n_umi'\\] is smaller"):
        read_cells(adata, **columns, total_counts="n_umi")
    adata.obs["n_umi"] = "many"
    with pytest.raises(InputError, match="holds no number"):
        read_cells(adata, **columns, total_counts="n_umi")


def test_what_a_single_file_has_beside_its_counts_stays(make_file, columns, caplog) -> None:
    caplog.set_level("INFO")
    adata = make_file()
    adata.obs["true_pseudotime"] = np.linspace(0, 1, 24)
    adata.obs["stage"] = "foreign name"
    adata.obs["label"] = "kept"
    adata.var["program"] = [f"p{i}" for i in range(12)]
    adata.layers["rate"] = adata.X * 0.5
    adata.uns["truth"] = {"world": "ordered"}
    cells = read_cells(adata, **columns)
    assert cells.obs["true_pseudotime"].tolist() == adata.obs["true_pseudotime"].tolist()
    assert cells.var["program"].tolist() == adata.var["program"].tolist()
    assert (cells.layers["rate"] != adata.layers["rate"]).nnz == 0
    assert cells.uns["truth"] == {"world": "ordered"}
    assert "foreign name" not in set(cells.obs["stage"])
    assert "columns that give way to the panel's own: stage" in caplog.text
    assert set(cells.obs["label"]) == {"kept"}


def test_the_input_is_left_as_it_was(make_file, columns) -> None:
    adata = make_file()
    adata.X.data[:3] = 0
    before = adata.copy()
    cells = read_cells(adata, **columns)
    cells.X.data[:] = 7
    assert adata.obs.equals(before.obs)
    assert adata.X.nnz == before.X.nnz
    assert (adata.X != before.X).nnz == 0
    assert "interp" not in adata.uns


def test_a_panel_read_again_is_the_same_panel(make_file, columns) -> None:
    adata = make_file()
    adata.obs["plate"] = "p1"
    adata.obs["n_umi"] = 1000.0
    once = read_cells(adata, **columns, replicate="plate", total_counts="n_umi")
    again = read_cells(once, **columns)
    assert again.uns["interp"]["panel"]["sha256"] == once.uns["interp"]["panel"]["sha256"]
    assert again.obs_names.equals(once.obs_names)


def test_the_hash_follows_content_and_not_the_container(make_file, columns) -> None:
    def sha(adata: AnnData, **more: str) -> str:
        return read_cells(adata, **{**columns, **more}).uns["interp"]["panel"]["sha256"]

    adata = make_file()
    dense = adata.copy()
    dense.X = dense.X.toarray().astype(np.float64)
    assert sha(adata) == sha(dense)
    changed = adata.copy()
    changed.X[0, 0] += 1
    renamed = adata.copy()
    renamed.obs["donor"] = renamed.obs["donor"].replace("d1", "d9")
    assert len({sha(adata), sha(changed), sha(renamed)}) == 3


@pytest.mark.parametrize("content", [b"", b"not a file of cells"])
def test_a_file_that_is_no_h5ad_is_an_error(columns, tmp_path, content) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        read_cells(tmp_path / "gone.h5ad", **columns)
    (tmp_path / "broken.h5ad").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as an"):
        read_cells(tmp_path / "broken.h5ad", **columns)


def test_a_truncated_h5ad_is_an_error(make_file, columns, tmp_path) -> None:
    make_file().write_h5ad(tmp_path / "a.h5ad")
    data = (tmp_path / "a.h5ad").read_bytes()
    (tmp_path / "a.h5ad").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="cannot be read as an"):
        read_cells(tmp_path / "a.h5ad", **columns)
