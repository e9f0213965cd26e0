"""Cells whose class is an interaction of two genes, so that no linear readout of their expression has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from interp.errors import InputError
from interp.runs.seeds import stream

if TYPE_CHECKING:
    from anndata import AnnData

# Counts of the two genes beyond the one that makes them a token, when low and when high: among the simulator's counts
# of some five per expressed gene, the lowest and the highest bins.
LOW, HIGH = 0.3, 11.0
AGREE, DIFFER = "agree", "differ"


def with_interaction(
    cells: AnnData,
    genes: tuple[str, str],
    *,
    target: str = "agreement",
    low: float = LOW,
    high: float = HIGH,
    seed: int = 0,
) -> AnnData:
    """Draw two genes' counts anew, each low or high whatever else the cell is, and label whether they agree.

    Parameters
    ----------
    cells
        Raw counts.
    genes
        The two.
    target
        obs column of the label.
    low, high
        Expected counts, beyond one, in the two states.
    seed
        Seed of states and counts.

    Returns
    -------
    AnnData
        A copy. obs gains the target (``"agree"`` where both are high or both low, else ``"differ"``) and
        ``"high " + gene`` for both.

    Raises
    ------
    InputError
        The genes are not two of the cells'.

    Examples
    --------
    >>> from interp.simulate import simulate
    >>> cells = with_interaction(simulate(n_donors=2, n_cells=40, n_genes=100), ("CD34", "GATA1"))
    >>> sorted(cells.obs["agreement"].unique())
    ['agree', 'differ']
    """
    if len(set(genes)) != 2 or not set(genes) <= set(cells.var_names):
        msg = f"The interaction is of two different genes of the cells; {genes} were given."
        raise InputError(msg)
    rng = stream(seed, "simulate.interaction")
    states = rng.integers(0, 2, (cells.n_obs, 2)).astype(bool)
    drawn = 1 + rng.poisson(np.where(states, high, low))
    found = cells.copy()
    counts = sparse.lil_matrix(found.X)
    columns = found.var_names.get_indexer(genes)
    for column, values in zip(columns, drawn.T, strict=True):
        counts[:, column] = values[:, None]
    found.X = sparse.csr_matrix(counts, dtype=np.float32)
    for gene, state in zip(genes, states.T, strict=True):
        found.obs[f"high {gene}"] = state
    found.obs[target] = np.where(states[:, 0] == states[:, 1], AGREE, DIFFER)
    return found
