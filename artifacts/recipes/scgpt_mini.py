"""Train `scgpt-mini` on real cells and write its card.

Usage: python artifacts/recipes/scgpt_mini.py CELLS_FOLDER [OUT]

The folder holds the four training files and the 10x file under the names below. An interrupted training continues.
"""

# ruff: noqa: E501
# the prose of the cards is easier to read unbroken
from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from common import pooled, representations, write_card

from interp.cells.read import read_cells
from interp.figures import learning_curve, save, style
from interp.probing import probe_classes
from interp.runs.seeds import stream
from interp.scgpt.checkpoint import save_checkpoint
from interp.scgpt.evaluate import masked_value_scores
from interp.scgpt.load import load_model, untrained_like
from interp.scgpt.pretrain import PretrainSettings, expressed_genes, pretrain, split_panel

FILES = {
    "kang2018_pbmc_5donors.h5ad": {},
    "zheng2017_pbmc_sorted.h5ad": {},
    "paul2015_marrow_mouse_orthologs.h5ad": {"replicate": "plate", "total_counts": "total_counts_source"},
    "zheng2017_pbmc_frozen_unlabelled.h5ad": {},
}
EXTERNAL = "tenx_pbmc_3donors.h5ad"
HELD_OUT = ("kang_1488", "plate9")
SETTINGS = PretrainSettings(
    n_layers=6, n_heads=4, d_model=128, d_hid=128, steps=2800, batch_cells=64, tokens=192, dropout=0.1,
    learning_rate=1e-3, evaluate_every=100, patience=12, profile_weight=1.0,
)  # fmt: skip
MIN_CELLS = 10
# Cells that a probe is trained and tested on, at most.
PROBE_TRAIN, PROBE_TEST = 1500, 1000
COLUMNS = {"donor": "donor", "tissue": "tissue", "cell_type": "cell_type"}


def read_training(folder: Path):
    """Read the four training files as one panel."""
    optional = {key: [options.get(key) for options in FILES.values()] for key in ("replicate", "total_counts")}
    return read_cells([folder / name for name in FILES], **COLUMNS, study="study", **optional, require_stages=False)


def main(folder: Path, out: Path) -> None:
    """Train, save and describe the model."""
    cells = read_training(folder)
    train, held_out = split_panel(cells, HELD_OUT)
    state = out.with_name(f"{out.name}.training")
    model = pretrain(train, held_out, state, genes=expressed_genes(train, MIN_CELLS), settings=SETTINGS)
    (out / "learning_curve.png").unlink(missing_ok=True)  # drawn anew below
    save_checkpoint(out, model)
    model = load_model(out)  # what is judged is what is shipped: float16 weights
    external = read_cells(folder / EXTERNAL, **COLUMNS, study="study", total_counts="n_umi_full")
    curve = pd.read_csv(state / "learning_curve.csv")
    with style():
        save(learning_curve(curve).figure, out / "learning_curve")
    (out / "learning_curve.pdf").unlink(missing_ok=True)
    write_card(out, "scgpt-mini", _sections(model, train, held_out, external, curve))


def _at_most(cells, n: int):
    return cells[np.sort(stream(0, "recipe.cells").permutation(cells.n_obs)[:n])].copy()


def _part(cells, text: str):
    columns = [cells.obs[name].astype(str).str.contains(text, regex=False) for name in ("donor", "replicate")]
    return cells[np.logical_or(*columns)].copy()


def _sections(model, train, held_out, external, curve) -> dict:
    values, probes = [], []
    for name, test in {
        "kang_1488": _part(held_out, "kang_1488"),
        "Paul plate9": _part(held_out, "plate9"),
        "10x, 3 donors": external,
    }.items():
        table = masked_value_scores({"scgpt-mini": model, "untrained": untrained_like(model, 0)}, test, train)
        values.append(table.assign(cells=name))
    pairs = {
        "kang_1488 from the other Kang donors": (_part(train, "kang_"), _part(held_out, "kang_1488")),
        "Paul plate9 from the other plates": (_part(train, "plate"), _part(held_out, "plate9")),
        "10x_5p from the other 10x donors": (
            external[~external.obs["donor"].str.contains("5p")].copy(),
            _part(external, "5p"),
        ),
    }
    for name, (known, test) in pairs.items():
        known, test = _at_most(known, PROBE_TRAIN), _at_most(test, PROBE_TEST)
        found = probe_classes(
            representations(model, known, test, width=model.config.d_model),
            known.obs["cell_type"],
            test.obs["cell_type"],
        )
        probes.append(pooled(found, "balanced_accuracy").assign(task=name))
    n = sum(p.numel() for p in model.parameters())
    best = curve.loc[(curve["masked"] + curve["profile"]).idxmin()]
    missed = [t["task"].iloc[0] for t in probes if t.set_index("representation")["balanced_accuracy"].pipe(_not_above)]
    return {
        "What it is": (
            f"A scGPT of {SETTINGS.n_layers} layers x {SETTINGS.n_heads} heads, d_model {SETTINGS.d_model}, {n:,} parameters, "
            f"{len(model.vocabulary.genes):,} genes; weights in float16. It stands in for the whole-human model in examples and "
            "tests: four small studies are no atlas."
        ),
        "Trained on": (
            f"{train.n_obs:,} cells of Kang 2018 (GSE96583, 4 donors), Zheng 2017 (bead-sorted and frozen PBMC, 1 donor each) and "
            "Paul 2015 (GSE72857, one mouse, one-to-one human orthologs, 7 plates). Held out: donor kang_1488, Paul plate9 (early "
            "stopping), and the 10x file whole. A gene enters the vocabulary when 10 training cells express it."
        ),
        "How": (
            f"{int(curve['step'].max())} steps of {SETTINGS.batch_cells} cells, up to {SETTINGS.tokens} random genes of a cell, "
            f"{SETTINGS.mask_share:.0%} masked; mean squared error on masked bins plus that of {SETTINGS.profile_genes} random genes of the "
            "whole profile predicted from the CLS row; AdamW, cosine schedule from "
            f"{SETTINGS.learning_rate:g}, dropout {SETTINGS.dropout:g} (none in attention), seed {SETTINGS.seed}. Best at step {int(best['step'])}. "
            "Recipe: `artifacts/recipes/scgpt_mini.py`."
        ),
        "Learning curve": "![learning curve](learning_curve.png)",
        "Masked-value prediction (R2 over masked bins, 40 % masked, at most 1,000 cells)": pd.concat(values)
        .pivot(index="predictor", columns="cells", values="r2").reset_index(),
        "Linear probe for the cell type, trained on at most 1,500 cells of other donors (balanced accuracy on at most 1,000)": pd.concat(probes)[
            ["task", "representation", "balanced_accuracy", "min", "max"]
        ],
        "Where it falls short": (
            ("Its CLS embedding is not above the untrained model's on: " + "; ".join(missed) + ". " if missed else "")
            + "Where raw expression or principal components reach more than the CLS row, as the table shows, the model adds nothing to a "
            "linear probe. No claim about human hematopoiesis can rest on it."
        ),
    }  # fmt: skip


def _not_above(scores: pd.Series) -> bool:
    return not scores["CLS, trained"] > scores[[name for name in scores.index if "untrained" in name]].max()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "artifacts/scgpt-mini"))
