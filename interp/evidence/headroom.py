"""What could be reached at all: on simulated cells the true programs stand in for the operator."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from interp.extraction.operators import Operator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from anndata import AnnData

    from interp.evidence.arms import Candidates
    from interp.evidence.panel import FloatArray
    from interp.stats import Split

ORACLE = "oracle"
TRUE_LOADINGS = "true_loadings"


def true_loadings(cells: AnnData) -> pd.DataFrame | None:
    """Return the loadings (gene, program) of a simulated panel, None for real cells."""
    import pandas as pd

    if TRUE_LOADINGS not in cells.varm:
        return None
    return pd.DataFrame(np.asarray(cells.varm[TRUE_LOADINGS], dtype=np.float64), index=cells.var_names)


def projector(loadings: FloatArray) -> FloatArray:
    """Return the orthogonal projection (gene, gene) on the span of loadings (gene, program).

    Examples
    --------
    >>> projector(np.array([[2.0], [0.0]])).tolist()
    [[1.0, 0.0], [0.0, 0.0]]
    """
    left, values, _ = np.linalg.svd(loadings, full_matrices=False)
    axes = left[:, values > 1e-9 * values.max(initial=0.0)]
    return axes @ axes.T


def oracle(operators: Candidates, loadings: pd.DataFrame, genes: Callable[[Split], Sequence[str]]) -> Candidates:
    """Make the operator that keeps the true programs and nothing else; it brackets what any operator can reach.

    Parameters
    ----------
    operators
        The model's candidates; lend their expression.
    loadings
        From `true_loadings`.
    genes
        From a split to the genes of its operators.

    Returns
    -------
    Candidates
        One.
    """

    def made(split: Split) -> list[Operator]:
        names = tuple(genes(split))
        return [Operator("oracle.out", ORACLE, "out", projector(loadings.loc[list(names)].to_numpy()), names)]

    return replace(operators, name=ORACLE, family="control", operators=made)
