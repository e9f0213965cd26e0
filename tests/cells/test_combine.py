import tracemalloc

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import random as random_sparse

from interp.cells import read_cells
from interp.errors import InputError


@pytest.fixture
def two(make_file, tmp_path):
    """Two studies with overlapping genes in another order, the same cell and donor names, and different columns."""
    left = make_file(20, ["A", "B", "C", "D"], seed=1)
    right = make_file(16, ["D", "E", "B"], seed=2)
    left.obs["plate"] = [f"p{i % 3}" for i in range(20)]
    right.obs = right.obs.rename(columns={"donor": "patient"})
    right.obs["n_umi"] = 500
    paths = [tmp_path / "left.h5ad", tmp_path / "right.h5ad"]
    left.write_h5ad(paths[0])
    right.write_h5ad(paths[1])
    return left, right, paths


@pytest.fixture
def panel(two):
    return read_cells(
        two[2], donor=["donor", "patient"], tissue="tissue", cell_type="cell_type",
        replicate=["plate", None], total_counts=[None, "n_umi"],
    )  # fmt: skip


def test_counts_stand_on_the_union_of_genes(two, panel) -> None:
    left, right, _ = two
    assert panel.var_names.tolist() == ["A", "B", "C", "D", "E"]
    frame = pd.DataFrame(panel.X.toarray(), index=panel.obs_names, columns=panel.var_names)
    parts = [left.to_df().add_prefix("left:", axis=0), right.to_df().add_prefix("right:", axis=0)]
    pd.testing.assert_frame_equal(frame, pd.concat(parts).fillna(0)[frame.columns], check_names=False)
    assert panel.X.has_canonical_format


def test_measured_says_who_measured_what(panel) -> None:
    assert panel.varm["measured"].to_dict("list") == {
        "left": [True, True, True, True, False],
        "right": [False, True, False, True, True],
    }
    assert panel.uns["interp"]["panel"]["n_common_genes"] == 2
    assert panel.uns["interp"]["panel"]["genes_per_study"].tolist() == [4, 3]


def test_names_carry_their_study(panel) -> None:
    assert set(panel.obs["donor"]) == {"left:d1", "left:d2", "right:d1", "right:d2"}
    assert panel.obs_names.is_unique
    assert set(panel.obs.loc[panel.obs["study"] == "left", "replicate"]) == {"p0", "p1", "p2"}
    assert set(panel.obs.loc[panel.obs["study"] == "right", "replicate"]) == {""}


def test_totals_are_per_file(two, panel) -> None:
    assert panel.obs["total_counts"].tolist() == [*two[0].X.sum(1).A1, *[500.0] * 16]


def test_columns_that_one_file_lacks_are_empty_there(panel) -> None:
    assert panel.obs["patient"].isna().tolist() == [True] * 20 + [False] * 16
    assert panel.obs["n_umi"].dtype.kind == "f"


def test_a_file_read_with_another_equals_the_file_read_alone(two, panel) -> None:
    alone = read_cells(two[2][0], donor="donor", tissue="tissue", cell_type="cell_type", replicate="plate")
    part = panel[panel.obs["study"] == "left", alone.var_names]
    assert (part.X != alone.X).nnz == 0
    for name in ("donor", "stage", "branch", "total_counts", "depth"):
        assert part.obs[name].astype(object).equals(alone.obs[name].astype(object)), name


def test_a_panel_of_two_studies_combines_with_a_third(panel, make_file, columns) -> None:
    third = read_cells([panel, make_file(genes=["B", "Z"])], **columns)
    assert third.varm["measured"].columns.tolist() == ["left", "right", "cells2"]
    assert third.varm["measured"].loc["A"].tolist() == [True, False, False]
    assert third.varm["measured"].loc["B"].all()
    assert set(third.obs["donor"]) == {"left:d1", "left:d2", "right:d1", "right:d2", "cells2:d1", "cells2:d2"}


def test_the_report_counts_labels_per_study(panel) -> None:
    report = panel.uns["interp"]["labels"]
    assert report.groupby("study")["n_cells"].sum().to_dict() == {"left": 20, "right": 16}
    assert set(report["status"]) == {"exact"}


def test_a_list_needs_one_name_per_file(make_file, columns) -> None:
    with pytest.raises(InputError, match="tissue= lists 3 columns for 2 files"):
        read_cells([make_file(), make_file()], **{**columns, "tissue": ["a", "b", "c"]})
    with pytest.raises(InputError, match="no cells"):
        read_cells([], **columns)


def test_two_files_of_one_name_are_refused(make_file, columns, tmp_path) -> None:
    paths = [tmp_path / "a" / "cells.h5ad", tmp_path / "b" / "cells.h5ad"]
    for path in paths:
        path.parent.mkdir()
        make_file().write_h5ad(path)
    with pytest.raises(InputError, match="several files are called 'cells'"):
        read_cells(paths, **columns)


def test_files_of_one_study_need_the_same_genes_and_other_cells(make_file, columns) -> None:
    files = [make_file(genes=["A", "B"], cells="x"), make_file(genes=["A", "C"], cells="y")]
    for file in files:
        file.obs["lab"] = "one"
    with pytest.raises(InputError, match=r"'one' stands in several files.*different genes \(2 and 2, 1 in common\)"):
        read_cells(files, **columns, study="lab")
    same = [files[0], files[0].copy()]
    with pytest.raises(InputError, match="24 cells stand in more than one file"):
        read_cells(same, **columns, study="lab")
    same[1].obs_names = [f"other{i}" for i in range(24)]
    assert read_cells(same, **columns, study="lab").varm["measured"].columns.tolist() == ["one"]


def test_a_study_name_that_would_break_other_names_is_refused(make_file, columns) -> None:
    adata = make_file()
    adata.obs["lab"] = "a:b"
    with pytest.raises(InputError, match="study names may not be empty or hold any of"):
        read_cells(adata, **columns, study="lab")


def test_a_wide_panel_is_combined_without_dense_arrays(columns) -> None:
    rng = np.random.default_rng(0)
    files = []
    for start in (0, 1000):
        x = random_sparse(2000, 4000, density=0.01, format="csr", dtype=np.float32, rng=rng)
        x.data = np.ceil(9 * x.data)
        obs = pd.DataFrame({"donor": "d", "tissue": "t", "cell_type": "HSC"}, index=[f"c{i}" for i in range(2000)])
        files.append(AnnData(x, obs=obs, var=pd.DataFrame(index=[f"G{i}" for i in range(start, start + 4000)])))
    tracemalloc.start()
    cells = read_cells(files, **columns)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert cells.shape == (4000, 5000)
    # Dense, the union would take 80 MB; its counts take 1.3 MB.
    assert peak < 30e6
