import numpy as np
import pandas as pd
import pytest

from interp.cells import read_cells
from interp.cells.anchors import anchor_means, anchors, detection
from interp.errors import InputError


@pytest.fixture
def panel(make_file, columns):
    adata = make_file(60, ["A", "B", "C", "D"], n_donors=2)
    adata.obs["n_umi"] = 200.0
    adata.obs["cell_type"] = ["HSC"] * 30 + ["CD4 T cell"] * 26 + ["erythroblast"] * 4
    return read_cells(adata, **columns, total_counts="n_umi")


def readable(cells, genes, min_cells):
    """Anchors one group at a time, from dense counts."""
    frame = pd.DataFrame(cells.X.toarray(), index=cells.obs_names, columns=cells.var_names)[list(genes)].astype(float)
    frame = np.log1p(frame.div(cells.obs["total_counts"], axis=0) * 10_000)
    keys = [cells.obs[name].astype(str) for name in ("donor", "tissue", "cell_type", "replicate")]
    means = {}
    for key, rows in frame.groupby(keys):
        if len(rows) >= min_cells:
            means["|".join(part for part in key if part)] = rows.mean()
    return pd.DataFrame(means).T


def test_anchors_are_the_means_of_their_cells(panel) -> None:
    found = anchors(panel, ["C", "A"])
    expected = readable(panel, ["C", "A"], 5)
    assert found.obs.index.tolist() == expected.index.tolist()
    assert found.genes == ("C", "A")
    assert found.features.dtype == np.float64
    np.testing.assert_allclose(found.features, expected.to_numpy(), rtol=1e-12)


def test_one_anchor_by_hand(make_file, columns) -> None:
    adata = make_file(5, ["A", "B"], n_donors=1)
    adata.X = np.array([[1, 3], [0, 4], [0, 4], [0, 4], [0, 4]], dtype=np.float32)
    adata.obs["cell_type"] = "HSC"
    found = anchors(read_cells(adata, **columns), ["A"])
    assert found.features[0, 0] == pytest.approx(np.log(2501) / 5)
    assert found.obs.index.tolist() == ["cells:d1|blood|HSC"]
    assert found.obs["n_cells"].tolist() == [5]


def test_detection_is_the_share_of_an_anchors_cells(make_file, columns) -> None:
    adata = make_file(5, ["A", "B"], n_donors=1)
    adata.X = np.array([[1, 3], [0, 4], [0, 4], [2, 4], [0, 4]], dtype=np.float32)
    adata.obs["cell_type"] = "HSC"
    cells = read_cells(adata, **columns)
    found = detection(cells, ["B", "A"])
    assert found.features.tolist() == [[1.0, 0.4]]
    assert found.obs.equals(anchors(cells, ["B", "A"]).obs)


def test_small_groups_make_no_anchor(panel) -> None:
    assert "erythroblast" not in set(anchors(panel, ["A"]).obs["cell_type"])
    assert len(anchors(panel, ["A"], min_cells=2)) == 6
    with pytest.raises(InputError, match=r"6 groups.* has 100 cells .the largest has 15.*min_cells"):
        anchors(panel, ["A"], min_cells=100)


def test_coarse_anchors_have_a_branch_and_no_stage(panel) -> None:
    found = anchors(panel, ["A"])
    assert found.obs["cell_type"].tolist() == ["CD4 T cell", "HSC"] * 2
    assert found.exact.tolist() == [False, True] * 2
    assert found.obs["stage"].tolist() == [None, "HSC"] * 2
    assert found.obs["branch"].tolist() == ["T", "stem and progenitor"] * 2
    assert found.obs["depth"].isna().tolist() == [True, False] * 2


def test_replicates_make_more_anchors_of_the_same_donor(make_file, columns) -> None:
    adata = make_file(60, 4, n_donors=1)
    adata.obs["cell_type"] = "HSC"
    adata.obs["plate"] = ["p1"] * 30 + ["p2"] * 26 + ["p3"] * 4
    cells = read_cells(adata, **columns, replicate="plate")
    found = anchors(cells, ["G0", "G3"])
    assert found.obs.index.tolist() == ["cells:d1|blood|HSC|p1", "cells:d1|blood|HSC|p2"]
    assert found.obs["replicate"].tolist() == ["p1", "p2"]
    assert set(found.obs["donor"]) == {"cells:d1"}
    np.testing.assert_allclose(found.features, readable(cells, ["G0", "G3"], 5).to_numpy(), rtol=1e-12)


def test_the_order_of_cells_does_not_matter(panel) -> None:
    shuffled = panel[np.random.default_rng(3).permutation(panel.n_obs)].copy()
    a, b = anchors(panel, ["A", "D"]), anchors(shuffled, ["A", "D"])
    pd.testing.assert_frame_equal(a.obs, b.obs)
    np.testing.assert_allclose(a.features, b.features, rtol=1e-12)


def test_an_anchor_of_several_stages_has_none(make_file, columns, caplog) -> None:
    adata = make_file(20, 3, n_donors=1)
    adata.obs["cell_type"] = "myeloid"
    adata.obs["fine"] = ["classical monocyte"] * 10 + ["non-classical monocyte"] * 10
    found = anchors(read_cells(adata, **columns, stage="fine"), ["G0"])
    assert found.obs["stage"].tolist() == [None]
    assert found.obs["branch"].tolist() == ["monocyte and dendritic"]
    assert np.isnan(found.obs["depth"].iloc[0])
    assert "several stages" in caplog.text


def test_subset_keeps_rows_together(panel) -> None:
    found = anchors(panel, ["A", "B"])
    part = found.subset(found.exact)
    assert len(part) == 2
    assert part.obs["stage"].tolist() == ["HSC", "HSC"]
    np.testing.assert_array_equal(part.features, found.features[[1, 3]])
    assert found.subset(np.array([3, 0])).obs.index.tolist() == found.obs.index[[3, 0]].tolist()


def test_cells_that_are_no_panel_are_refused(make_file) -> None:
    with pytest.raises(InputError, match=r"'replicate'.*read_cells"):
        anchors(make_file(), ["G0"])


def test_means_of_an_embedding_stand_on_the_rows_of_the_anchors(panel):
    cells = panel
    made = anchors(cells, list(cells.var_names))
    values = np.column_stack([np.arange(cells.n_obs), np.ones(cells.n_obs)])
    means = anchor_means(cells, values, names=["place", "one"])
    assert list(means.obs.index) == list(made.obs.index)
    assert means.genes == ("place", "one")
    keys = (
        cells.obs["donor"].astype(str)
        + "|"
        + cells.obs["tissue"].astype(str)
        + "|"
        + cells.obs["cell_type"].astype(str)
    )
    for name, row in zip(means.obs.index, means.features, strict=True):
        assert row.tolist() == [values[(keys == name).to_numpy(), 0].mean(), 1.0]


@pytest.mark.parametrize("values", [np.ones((3, 2)), np.ones(60), np.full((60, 2), np.nan)])
def test_means_need_one_finite_row_per_cell(panel, values):
    with pytest.raises(InputError, match="one finite row per cell"):
        anchor_means(panel, values)
