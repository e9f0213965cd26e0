"""Whether a model fits given cells: masked values beside each gene's mean, and what looks wrong when it does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interp.cells.genes import match_genes
from interp.scgpt.evaluate import masked_value_scores
from interp.scgpt.vocabulary import some

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from scipy import sparse

    from interp.cells.genes import GeneMatch
    from interp.scgpt.model import HookedScGPT

# Cells that a run checks its model on; enough for a warning. The project's choice.
CHECK_CELLS = 300
MODEL, GENE_MEAN = "model", "gene mean"
# Below this share, most of what was measured is invisible to the model. The project's choice.
FEW_GENES = 0.5
# ln(1 + x) of 100,000, more than any gene has in a cell, is 11.5: whole numbers below this may be rounded logarithms.
LOG1P_CEILING = 12
# Totals of raw counts vary by tens of percent between cells; those of normalised ones by rounding only.
EQUAL_TOTALS = 0.01


@dataclass(frozen=True)
class FitCheck:
    """How well a model fits some cells.

    Attributes
    ----------
    scores
        One row per predictor, as from `masked_value_scores`; the model's is called ``"model"``.
    match
        How the panel's genes met the model's vocabulary.
    warnings
        Reasons to distrust the model on these cells; empty when it fits.
    """

    scores: pd.DataFrame
    match: GeneMatch
    warnings: tuple[str, ...]

    @property
    def r2(self) -> tuple[float, float]:
        """R2 of the model and of each gene's mean; NaN for a model without expression decoder."""
        r2 = self.scores.set_index("predictor")["r2"]
        return float(r2[MODEL]), float(r2[GENE_MEAN])

    @property
    def fits(self) -> bool:
        """Whether the model predicts masked values better than each gene's mean."""
        model, mean = self.r2
        return model > mean


def check_fit(model: HookedScGPT, cells: AnnData, *, n_cells: int = CHECK_CELLS, seed: int = 0) -> FitCheck:
    """Compare a model's masked-value prediction with means, and look for the usual reasons of a poor fit.

    The means are learned on the very cells they predict, so a model above them has earned it.

    Parameters
    ----------
    model
        The model.
    cells
        Panel with raw counts in X (cell, gene), from `read_cells`.
    n_cells
        At most so many cells are predicted, drawn by `seed`.
    seed
        Of the cells, subsets and masks.

    Returns
    -------
    FitCheck

    Raises
    ------
    VocabularyError
        Too few genes match for any prediction: the wrong organism or kind of id.
    """
    from scipy.sparse import csr_matrix

    counts = csr_matrix(cells.X)
    per_gene = np.asarray(counts.sum(0)).ravel()
    match = match_genes(cells.var_names, model.vocabulary.genes, counts_per_gene=per_gene)
    scores = masked_value_scores({MODEL: model}, cells, cells, n_cells=n_cells, seed=seed)
    reasons = [*_gene_reasons(match, cells.n_vars), *_count_reasons(counts)]
    if lacking := _score_reason(FitCheck(scores, match, tuple(reasons))):
        reasons.insert(0, lacking)
    return FitCheck(scores, match, tuple(reasons))


def _score_reason(check: FitCheck) -> str:
    """Say that the model is no better than the gene mean, empty when it is."""
    model, mean = check.r2
    if np.isnan(model):
        return "the checkpoint holds no expression decoder, so how well it predicts these cells is not computable"
    if check.fits:
        return ""
    why = "see also the next warning" if check.warnings else "it may be too small, or never have seen such cells"
    return (
        f"the model predicts masked values of these cells no better than each gene's mean (R2 {model:.3f} against "
        f"{mean:.3f}); {why}"
    )


def _gene_reasons(match: GeneMatch, n_genes: int) -> list[str]:
    if match.fraction >= FEW_GENES and not match.count_share < FEW_GENES:
        return []
    advice = match.hint or f"not matched are {some(match.missing)}; check the organism and the gene names"
    return [
        f"the model knows {len(match.matched):,} of {n_genes:,} genes ({match.fraction:.0%} of the smaller of panel "
        f"and vocabulary), which carry {match.count_share:.0%} of the counts; {advice}"
    ]


def _count_reasons(counts: sparse.csr_matrix) -> list[str]:
    largest = counts.data.max(initial=0)
    totals = np.asarray(counts.sum(1)).ravel()
    reasons = []
    if largest < LOG1P_CEILING:
        reasons.append(
            f"the largest value is {largest:.0f}: these look binned, or log-transformed and rounded; raw counts "
            "are wanted, so name the layer that holds them"
        )
    if len(totals) > 1 and totals.std() < EQUAL_TOTALS * totals.mean():
        reasons.append(
            f"every cell sums to about {totals.mean():,.0f}: these look normalised and rounded; raw counts are "
            "wanted, so name the layer that holds them"
        )
    return reasons
