"""Train `scgpt-sim` on simulated cells and write its card.

Usage: python artifacts/recipes/scgpt_sim.py [OUT]
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
from interp.probing import probe_classes, probe_value
from interp.scgpt.checkpoint import save_checkpoint
from interp.scgpt.evaluate import masked_value_scores, rate_ceiling
from interp.scgpt.load import load_model, untrained_like
from interp.scgpt.pretrain import PretrainSettings, pretrain
from interp.simulate import simulate

# Seeds that no other atlas of the project uses.
TRAIN_SEED, STOP_SEED, TEST_SEED = 1001, 1002, 1003
SETTINGS = PretrainSettings(
    n_layers=4, n_heads=4, d_model=64, d_hid=64, max_tokens=400, steps=4000, batch_cells=64, tokens=192, dropout=0.0,
    learning_rate=2.5e-3, evaluate_every=100, patience=15, profile_weight=1.0,
)  # fmt: skip
FEW = 5


def panel(**options):
    """Simulate and read a panel."""
    return read_cells(
        simulate(stages="all", **options), donor="donor", tissue="tissue", cell_type="cell_type", study="study"
    )


def main(out: Path) -> None:
    """Train, save and describe the model."""
    train = panel(n_donors=40, n_cells=100_000, seed=TRAIN_SEED)
    held_out = panel(n_donors=6, n_cells=2000, seed=STOP_SEED)
    state = out.with_name(f"{out.name}.training")
    model = pretrain(train, held_out, state, genes=sorted(train.var_names), settings=SETTINGS)
    (out / "learning_curve.png").unlink(missing_ok=True)  # drawn anew below
    save_checkpoint(out, model)
    model = load_model(out)
    curve = pd.read_csv(state / "learning_curve.csv")
    with style():
        save(learning_curve(curve).figure, out / "learning_curve")
    (out / "learning_curve.pdf").unlink(missing_ok=True)
    write_card(out, "scgpt-sim", _sections(model, train, curve))


def _sections(model, train, curve) -> dict:
    test = panel(n_donors=10, n_cells=4000, seed=TEST_SEED, with_rate=True)
    reference = train[np.arange(0, train.n_obs, 10)].copy()
    values = masked_value_scores({"scgpt-sim": model, "untrained": untrained_like(model, 0)}, test, reference)
    values = pd.concat([values, rate_ceiling(test, model)])
    donors = sorted(test.obs["donor"].astype(str).unique())
    known = test.obs["donor"].isin(donors[:5]).to_numpy()
    first, second = test[known].copy(), test[~known].copy()
    found = representations(model, first, second, width=model.config.d_model)
    stage = probe_classes(found, first.obs["stage"], second.obs["stage"], per_class=FEW, repeats=10)
    depth = probe_value(found, first.obs["depth"], second.obs["depth"], n_labels=100, repeats=10)
    n = sum(p.numel() for p in model.parameters())
    best = curve.loc[(curve["masked"] + curve["profile"]).idxmin()]
    return {
        "What it is": (
            f"A scGPT of {SETTINGS.n_layers} layers x {SETTINGS.n_heads} heads, d_model {SETTINGS.d_model}, {n:,} parameters, "
            f"{len(model.vocabulary.genes):,} genes; weights in float16. It has learned a simulated hematopoiesis whose truth is known, so "
            "that the default run of `interp discover` can be checked against it. It knows nothing of real cells."
        ),
        "Trained on": (
            f"{train.n_obs:,} cells of 40 simulated donors over all stages of the graph (`interp simulate`, seed {TRAIN_SEED}); early stopping on 6 "
            f"donors of seed {STOP_SEED}. No other atlas of the project uses these seeds or donors."
        ),
        "How": (
            f"{int(curve['step'].max())} steps of {SETTINGS.batch_cells} cells, up to {SETTINGS.tokens} random genes of a cell, "
            f"{SETTINGS.mask_share:.0%} masked; masked bins and {SETTINGS.profile_genes} random genes of the whole profile from the CLS row, mean "
            f"squared errors 1:{SETTINGS.profile_weight:g}; AdamW, cosine schedule from {SETTINGS.learning_rate:g}. Best at step {int(best['step'])}. Recipe: "
            "`artifacts/recipes/scgpt_sim.py`."
        ),
        "Learning curve": "![learning curve](learning_curve.png)",
        f"Masked-value prediction on 10 unseen donors (seed {TEST_SEED})": values,
        f"Probe for the stage, {FEW} labelled cells a stage, 5 donors to 5 others (balanced accuracy, 10 draws)": pooled(stage, "balanced_accuracy"),
        "Probe for the depth, 100 labelled cells (Spearman, 10 draws)": pooled(depth, "spearman"),
    }  # fmt: skip


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "artifacts/scgpt-sim"))
