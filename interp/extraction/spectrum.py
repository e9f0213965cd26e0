"""What an operator looks like: where it has entries, how many directions it uses, and a table of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from jaxtyping import Float
    from numpy.typing import NDArray

    from interp.extraction.operator import Operator

# Largest difference between an entry and its mirror image, as a share of the largest entry, that rounding explains.
SYMMETRY = 1e-6


@dataclass(frozen=True)
class Support:
    """Where an operator has entries.

    Attributes
    ----------
    shape
        (gene, feature).
    n_entries
        Entries that are not zero.
    n_rows, n_columns
        Rows and columns with such an entry.
    symmetric
        Whether both orientations are one map; of the drift, in both blocks.
    """

    shape: tuple[int, int]
    n_entries: int
    n_rows: int
    n_columns: int
    symmetric: bool

    @property
    def density(self) -> float:
        """Share of entries that are not zero."""
        return self.n_entries / (self.shape[0] * self.shape[1])


@dataclass(frozen=True, eq=False)
class Spectrum:
    """How an operator's squared norm is spread over directions.

    Attributes
    ----------
    values
        Singular values, largest first, float64; of a factored operator as many as it has factors at most.
    shape
        (gene, feature).
    eps
        Relative rounding of the numbers that the operator holds.
    """

    values: Float[np.ndarray, " value"]
    shape: tuple[int, int]
    eps: float = float(np.finfo(np.float64).eps)

    @property
    def rank(self) -> int:
        """Number of singular values above rounding: above eps times the larger side times the largest of them."""
        return int((self.values > self.values.max(initial=0.0) * max(self.shape) * self.eps).sum())

    @property
    def stable_rank(self) -> float:
        """Squared norm over the largest squared singular value (Rudelson & Vershynin 2007); 0 of a zero operator."""
        return float(1 / self.share(1)) if self.share(1) else 0.0

    @property
    def effective_rank(self) -> float:
        """Participation ratio of the squared singular values; 0 of a zero operator."""
        squares = self._shares()
        return float(1 / np.square(squares).sum()) if squares.any() else 0.0

    def share(self, k: int = 1) -> float:
        """Share of the squared norm that the k leading directions carry."""
        return float(self._shares()[:k].sum())

    def _shares(self) -> NDArray:
        largest = self.values.max(initial=0.0)
        squares = np.square(self.values / largest) if largest else np.zeros_like(self.values)
        return squares / squares.sum() if largest else squares


def support(operator: Operator) -> Support:
    """Measure where an operator has entries; the matrix is made for it.

    Examples
    --------
    >>> from interp.extraction.operator import Operator
    >>> support(Operator("x", "mean", "out", np.array([[0.0, 1.0], [0.0, 0.0]]), ("A", "B")))
    Support(shape=(2, 2), n_entries=1, n_rows=1, n_columns=1, symmetric=False)
    """
    matrix = operator.matrix
    there = matrix != 0
    n_genes, n_features = matrix.shape
    blocks = [matrix[:, start : start + n_genes] for start in range(0, n_features, n_genes)]
    limit = SYMMETRY * np.abs(matrix).max(initial=0.0)
    symmetric = all(np.abs(block - block.T).max(initial=0.0) <= limit for block in blocks)
    entries = int(there.sum()), int(there.any(axis=1).sum()), int(there.any(axis=0).sum())
    return Support((n_genes, n_features), *entries, bool(symmetric))


def spectrum(operator: Operator) -> Spectrum:
    """Measure the singular values of an operator, from its factors where it has fewer of them than genes.

    Examples
    --------
    >>> from interp.extraction.operator import Operator
    >>> found = spectrum(Operator("x", "mean", "out", np.diag([3.0, 4.0]), ("A", "B")))
    >>> found.values.tolist(), found.rank, found.stable_rank, found.share()
    ([4.0, 3.0], 2, 1.5625, 0.64)
    """
    from scipy.linalg import qr, svdvals

    parts = [np.asarray(part, dtype=np.float64) for part in operator.parts]
    eps = max(float(np.finfo(part.dtype).eps) for part in operator.parts)
    if len(parts) == 1 or parts[0].shape[1] >= len(operator.genes):
        matrix = parts[0] if len(parts) == 1 else parts[0] @ parts[1]
        return Spectrum(svdvals(matrix), matrix.shape, eps)
    left, right = (qr(factor, mode="r")[0][: factor.shape[1]] for factor in (parts[0], parts[1].T))
    return Spectrum(svdvals(left @ right.T), (len(parts[0]), parts[1].shape[1]), eps)


def operator_table(operators: Iterable[Operator], *, spectra: bool = True) -> pd.DataFrame:
    """Tabulate operators.

    Parameters
    ----------
    operators
        Any; the two orientations of one map are measured once where they follow each other and hold the same.
    spectra
        Measure the spectrum: a second for every 1,200 genes that have no factors.

    Returns
    -------
    pandas.DataFrame
        One row each: name, kind, orientation, heads (``L2H5 L3H0``), n_cells, rows, columns, factors (missing where a
        matrix is held), bytes (of what is held, made), density, empty_rows, empty_columns, symmetric; and with
        spectra rank, stable_rank, effective_rank and top_share (of the squared norm, in the leading direction).
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    last: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
    for operator in operators:
        held = operator._held
        if len(held) != len(last[0]) or any(one is not other for one, other in zip(held, last[0], strict=True)):
            last = (held, _measured(operator, spectra=spectra))
        about = {
            "name": operator.name,
            "kind": operator.kind,
            "orientation": operator.orientation,
            "heads": " ".join(f"L{layer}H{head}" for layer, head in operator.heads),
            "n_cells": operator.n_cells,
        }
        rows.append(about | last[1])
    table = pd.DataFrame(rows)
    return table.astype({"factors": "Int64"}) if rows else table


def _measured(operator: Operator, *, spectra: bool) -> dict[str, Any]:
    found = support(operator)
    parts = operator.parts
    row: dict[str, Any] = {
        "rows": found.shape[0],
        "columns": found.shape[1],
        "factors": parts[0].shape[1] if operator.factored else None,
        "bytes": sum(part.nbytes for part in parts),
        "density": found.density,
        "empty_rows": found.shape[0] - found.n_rows,
        "empty_columns": found.shape[1] - found.n_columns,
        "symmetric": found.symmetric,
    }
    if spectra:
        values = spectrum(operator)
        row |= {"rank": values.rank, "stable_rank": values.stable_rank, "effective_rank": values.effective_rank}
        row["top_share"] = values.share(1)
    return row
