import numpy as np
import pytest

from interp.cells import check_disjoint, operator_genes, read_cells
from interp.cells.anchors import anchors

COLUMNS = {"donor": "donor", "tissue": "tissue", "cell_type": "cell_type", "study": "study"}


@pytest.fixture(scope="module")
def panel(real_cells):
    names = ("kang2018_pbmc_5donors", "zheng2017_pbmc_sorted", "paul2015_marrow_mouse_orthologs")
    return read_cells(
        [real_cells / f"{name}.h5ad" for name in names],
        **COLUMNS,
        total_counts=[None, None, "total_counts_source"],
        replicate=[None, None, "plate"],
    )


@pytest.fixture(scope="module")
def external(real_cells):
    return read_cells(real_cells / "tenx_pbmc_3donors.h5ad", **COLUMNS, total_counts="n_umi_full")


def test_the_studies_have_750_genes_in_common(panel, external) -> None:
    assert panel.shape == (13_484, 9_746)
    assert len(operator_genes(panel, vocabulary=panel.var_names)) == 750
    assert len(operator_genes(panel, vocabulary=panel.var_names, extra=[external])) == 115


def test_plates_are_replicates_and_never_donors(panel) -> None:
    paul = panel.obs[panel.obs["study"] == "Paul2015"]
    assert set(paul["donor"]) == {"Paul2015:mouse2"}
    assert paul["replicate"].nunique() == 8
    assert panel.obs["donor"].nunique() == 7


def test_totals_are_those_of_the_source(panel, external) -> None:
    paul = panel.obs[panel.obs["study"] == "Paul2015"]
    assert (paul["total_counts"] == paul["total_counts_source"]).all()
    assert (external.obs["total_counts"] == external.obs["n_umi_full"]).all()
    kang = (panel.obs["study"] == "Kang2018").to_numpy()
    np.testing.assert_array_equal(panel.obs["total_counts"][kang], panel.X[kang].sum(1).A1)


def test_every_label_maps_and_coarse_ones_have_a_branch(panel) -> None:
    labels = panel.uns["interp"]["labels"]
    assert "unmapped" not in set(labels["status"])
    coarse = labels[labels["status"] == "coarse"]
    assert set(coarse["label"]) == {"B cell", "CD4 T cell", "CD4 helper T cell", "CD8 T cell"}
    assert set(coarse["branch"]) == {"B and plasma", "T"}


def test_anchors_per_study(panel) -> None:
    found = anchors(panel, operator_genes(panel, vocabulary=panel.var_names))
    counts = found.obs.assign(exact=found.exact).groupby("study")["exact"].agg(["size", "sum"])
    assert counts["size"].to_dict() == {"Kang2018": 20, "Paul2015": 55, "Zheng2017_sorted": 9}
    assert counts["sum"].to_dict() == {"Kang2018": 10, "Paul2015": 55, "Zheng2017_sorted": 6}


def test_the_external_panel_is_disjoint(panel, external) -> None:
    report = check_disjoint(panel, external, raise_if_shared=True).set_index("check")
    assert set(report["status"]) == {"disjoint"}
    assert report.loc["cell contents", "n_compared_b"] == 1200


def test_a_panel_without_hematopoietic_cells_is_read_as_a_negative(real_cells) -> None:
    cells = read_cells(real_cells / "baron2016_pancreas_4donors.h5ad", **COLUMNS, require_stages=False)
    others = cells[cells.obs["cell_type"] != "macrophage"]
    assert others.obs["stage"].isna().all()
    assert len(anchors(others.copy(), list(cells.var_names[:50]))) > 8
