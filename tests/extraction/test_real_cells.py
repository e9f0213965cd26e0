"""On real cells: pancreatic cells are told from held-out blood donors, and probabilities hold on them.

Kang's five donors, Zheng's sorted cells and Paul's mouse marrow train on the identity operator, two of Kang's donors
held out; their cells are scored against Baron's pancreatic cells, of which 35 are macrophages.
"""

from dataclasses import dataclass

import anndata
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from interp.biology import StageGraph
from interp.cells import read_cells
from interp.cells.anchors import anchors
from interp.errors import InputError
from interp.extraction.algorithm import CompactAlgorithm
from interp.extraction.final import FinalFit
from interp.extraction.operators import Operator
from interp.extraction.temperature import calibration_error, log_loss

HELD_OUT = ("Kang2018:kang_1015", "Kang2018:kang_1244")


@dataclass(frozen=True)
class Panel:
    algorithm: CompactAlgorithm
    held_out: anndata.AnnData
    pancreas: anndata.AnnData


@pytest.fixture(scope="module")
def panel(real_cells) -> Panel:
    files = ("kang2018_pbmc_5donors", "zheng2017_pbmc_sorted", "paul2015_marrow_mouse_orthologs")
    cells = read_cells(
        [real_cells / f"{name}.h5ad" for name in files],
        donor="donor",
        tissue="tissue",
        cell_type="cell_type",
        study="study",
        total_counts=[None, None, "total_counts_source"],
    )
    genes = tuple(sorted(cells.var_names[cells.varm["measured"].all(axis=1)]))
    out = cells.obs["donor"].isin(HELD_OUT).to_numpy()
    train, held_out = cells[~out].copy(), cells[out].copy()
    operator = Operator("identity", "identity", "out", np.eye(len(genes)), genes)
    final = FinalFit(operator, anchors(train, genes), StageGraph.hematopoiesis(), alpha=1.0, ridge=1.0, n_starts=1)
    pancreas = anndata.read_h5ad(real_cells / "baron2016_pancreas_4donors.h5ad")
    return Panel(final.algorithm("real", train, {}), held_out, pancreas)


def test_pancreatic_cells_are_out_of_distribution_and_held_out_donors_are_not(panel):
    blood = panel.algorithm.transform(panel.held_out).obs["interp_ood"]
    strange = panel.algorithm.transform(panel.pancreas).obs["interp_ood"][~panel.pancreas.obs["is_hematopoietic"]]
    assert (len(strange), panel.algorithm.manifest["typical"]["calibrated_on"]) == (140, "held-out donors")
    labels = np.repeat([0, 1], [len(blood), len(strange)])
    assert roc_auc_score(labels, np.concatenate([blood, strange])) > 0.97
    assert np.mean(strange > 0.95) > 0.85
    for donor in HELD_OUT:
        mine = blood[(panel.held_out.obs["donor"] == donor).to_numpy()]
        assert np.mean(mine > 0.95) < 0.1


def test_temperature_makes_probabilities_of_held_out_donors_truer_or_is_left_at_one(panel):
    z = panel.algorithm.transform(panel.held_out).obsm["X_interp"]
    kept = []
    for name in ("stage", "branch"):
        readout = panel.algorithm.readouts[name]
        report, known = readout.report, panel.held_out.obs[name].isin(readout.classes).to_numpy()
        true = [readout.classes.index(label) for label in panel.held_out.obs[name][known]]
        parts = [(readout.values(z[known]), np.array(true), readout.classes)]
        helped = report["log_loss_after"] < report["log_loss_before"]
        assert helped == (readout.temperature != 1.0)
        if helped:
            assert log_loss(parts, readout.temperature) < log_loss(parts, 1.0)
            assert calibration_error(parts, readout.temperature) < calibration_error(parts, 1.0)
            kept.append(name)
    assert "stage" in kept


def test_mouse_symbols_of_the_same_cells_are_refused(panel, real_cells):
    mouse = anndata.read_h5ad(real_cells / "paul2015_marrow_mouse_orthologs.h5ad")
    mouse.var_names = [name.capitalize() for name in mouse.var_names]
    with pytest.raises(InputError, match=r"look like mouse symbols \(such as Actb, human ACTB\)|look like mouse"):
        panel.algorithm.transform(mouse)
