import numpy as np
import pytest

from interp.cells import check_disjoint, read_cells
from interp.errors import InputError


@pytest.fixture
def read(columns):
    def read(adata, study):
        adata = adata.copy()
        adata.obs["lab"] = study
        return read_cells(adata, **columns, study="lab")

    return read


@pytest.fixture
def lab(make_file, read):
    return read(make_file(30, 60, seed=1), "lab")


def statuses(report):
    return report.set_index("check")["status"].to_dict()


def test_panels_that_share_nothing(lab, make_file, read) -> None:
    other = make_file(30, 60, seed=2, cells="x")
    other.obs["donor"] = "p1"
    report = check_disjoint(lab, read(other, "other"), raise_if_shared=True)
    assert set(report["status"]) == {"disjoint"}
    assert report["ok"].all()
    assert report.set_index("check").loc["cell contents", ["n_compared_a", "n_compared_b"]].tolist() == [30, 30]


def test_shared_donors_and_cells_by_name(lab) -> None:
    report = check_disjoint(lab, lab[:10])
    assert statuses(report)["donors"] == statuses(report)["cells"] == statuses(report)["cell contents"] == "shared"
    assert report.set_index("check")["n_shared"].to_dict() == {
        "donors": 2, "donor ids": 2, "cells": 10, "cell ids": 10, "cell contents": 10,
    }  # fmt: skip
    with pytest.raises(InputError, match=r"share 2 donors \(lab:d1, lab:d2\); 10 cells"):
        check_disjoint(lab, lab[:10], raise_if_shared=True)


def test_names_that_agree_without_the_study_are_suspect_and_no_error(lab, make_file, read) -> None:
    report = check_disjoint(lab, read(make_file(30, 60, seed=2), "other"), raise_if_shared=True)
    assert statuses(report) == {
        "donors": "disjoint", "donor ids": "suspect", "cells": "disjoint", "cell ids": "suspect",
        "cell contents": "disjoint",
    }  # fmt: skip
    assert report["ok"].all()
    assert report.set_index("check").loc["donor ids", "examples"] == "d1, d2"


def test_renamed_copies_are_found_by_content_even_when_cut_and_reordered(lab, make_file, read) -> None:
    copy = make_file(30, 60, seed=1)[[3, 17, 5]].copy()
    copy.obs_names = ["x1", "x2", "x3"]
    copy.obs["donor"] = "p1"
    rng = np.random.default_rng(0)
    cut = copy[:, rng.permutation(60)[:40]].copy()
    report = check_disjoint(lab, read(cut, "other"))
    assert statuses(report)["cell contents"] == "shared"
    row = report.set_index("check").loc["cell contents"]
    assert row["n_shared"] == 3
    assert row["examples"] == "lab:c3, lab:c5, lab:c17"
    assert statuses(report)["cells"] == "disjoint"


def test_one_count_makes_another_cell(lab, make_file, read) -> None:
    copy = make_file(30, 60, seed=1)
    copy.obs["donor"] = "p1"
    copy.X = copy.X.toarray()
    copy.X[np.arange(30), np.arange(30)] += 1
    assert statuses(check_disjoint(lab, read(copy, "other")))["cell contents"] == "disjoint"


def test_each_pair_of_studies_is_compared_on_the_genes_both_measured(make_file, columns, read) -> None:
    wide = make_file(20, 60, seed=1)
    narrow = make_file(20, [f"G{i}" for i in range(10)], seed=3, cells="n")
    both = read_cells([wide, narrow], **columns)
    copy = wide[:4].copy()
    copy.obs_names = ["w", "x", "y", "z"]
    report = check_disjoint(both, read(copy, "other")).set_index("check")
    # On the ten genes that all three measured no cell could be told.
    assert report.loc["cell contents", "n_shared"] == 4
    assert report.loc["cell contents", "n_compared_a"] == 20


def test_too_few_common_genes_to_compare_contents(lab, make_file, read) -> None:
    report = check_disjoint(lab, read(make_file(10, ["G1", "G2", "X"], seed=4, cells="x"), "other"))
    row = report.set_index("check").loc["cell contents"]
    assert (row["status"], row["n_compared_b"]) == ("not computable", 0)


def test_plain_anndata_is_compared_too(make_file) -> None:
    a = make_file(30, 60, seed=1)
    assert statuses(check_disjoint(a, a.copy()))["cell contents"] == "shared"
