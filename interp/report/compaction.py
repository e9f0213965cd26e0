"""What the compaction chain, the factors and the attribution found, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from interp.evidence.chain import FOLDED, TOP
from interp.evidence.factor_ablation import OVERALL
from interp.evidence.losses import LOST

if TYPE_CHECKING:
    import pandas as pd

    from interp.evidence.factor_tables import FactorTables

KB = 1024
"""Bytes in the kilobyte that the method counts in: 1,200 genes x 10 latents in float32 are 47 of them."""


def chain_words(steps: pd.DataFrame, losses: pd.DataFrame) -> list[str]:
    """Say what folding means and what each step of the chain lost.

    Parameters
    ----------
    steps, losses
        Tables of `interp.evidence.chain.Chain`.

    Returns
    -------
    list of str
        Sentences in markdown; empty without a folded map.
    """
    measured = steps[steps["endpoint"].notna()].drop_duplicates("step").set_index("step")
    if FOLDED not in measured.index:
        return []
    folded, top = measured.loc[FOLDED], measured.loc[TOP]
    words = [
        f"Operator and adaptor are both linear, so the two are one matrix: the folded map gives the same latents as "
        f"the top head (largest difference {folded['latent_difference']:.1g} of the largest latent, from rounding to "
        f"float32) from {_kb(folded['chain_bytes'])} of numbers, a file of {_kb(folded['size_bytes'])} with its gene "
        f"names; the head's own file has {_kb(top['size_bytes'])}.",
    ]
    smaller = [step for step in measured.index if step not in (TOP, FOLDED)]
    chains = measured.loc[smaller, "chain_bytes"].astype(float)
    if len(chains):
        words.append(
            f"Every other step needs its adaptor beside it, together {_kb(chains.min())} at least ({chains.idxmin()}), "
            "and folds to the same size as any other. So low rank and sparsity serve reading, not size: they name "
            "genes that a factor reads and writes, and are paid for in accuracy."
        )
    for step in smaller:
        mine = losses[(losses["step"] == step) & losses["loss"].notna()]
        lost = mine[mine["status"] == LOST]
        named = "; ".join(f"{row.endpoint} by {row.loss:.3f}" for row in lost.itertuples())
        kept = f"{len(lost)} of {len(mine)} endpoints lost against the top head"
        words.append(f"{step} ({_kb(measured.loc[step, 'size_bytes'])}): {kept}" + (f" ({named})." if named else "."))
    return words


def factor_words(tables: FactorTables) -> list[str]:
    """Say how concentrated the impact of the factors is, beside random bases, and what the core suffices for.

    Parameters
    ----------
    tables
        From `interp.evidence.factor_tables`.

    Returns
    -------
    list of str
        Sentences in markdown.
    """
    words = []
    own = tables.concentration[tables.concentration["endpoint"] == OVERALL]
    for measure, rows in own.groupby("measure", sort=False):
        shares = "; ".join(
            f"the top {row.n_top} carry {row.observed:.1%} (random bases of the same operator {row.rotated_mean:.1%}, "
            f"p = {row.p:.2g}; equal factors {row.even:.1%})"
            for row in rows.itertuples()
        )
        words.append(f"Share of the total impact, {_MEASURES[str(measure)]}: {shares}.")
    for n_top, rows in tables.core.groupby("n_top"):
        kept = "; ".join(
            f"{row.endpoint} {row.full:.3f} to {row.value:.3f} (random cores {row.random_mean:.3f})"
            for row in rows.itertuples()
            if np.isfinite(row.value)
        )
        chosen = rows["chosen_on"].iloc[0]
        words.append(f"Only the top {n_top} factors kept, chosen on {chosen}: {kept}.")
    return words


_MEASURES = {"negative as zero": "negative impacts set to 0", "absolute": "impacts by their size"}


def _kb(size: float) -> str:
    return f"{size / KB:,.0f} KB"
