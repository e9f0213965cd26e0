"""Representations without a model for cross-validation: fixed ones, and ones learned anew on every training subset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from interp.cells.panel import N_TOP, expression, measured_genes, operator_genes
from interp.errors import InputError
from interp.runs.seeds import stream

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    # (cell, feature); or a function from the rows of the training cells to that; or why there is none.
    Features: TypeAlias = NDArray | Callable[[NDArray[np.int64]], NDArray] | str

RAW, HVG, BAG = "raw log1p", "HVG", "bag of tokens"
PCA, PROJECTION = "PCA", "random projection"
# Genes of raw expression and of the bag at most, the most variable ones of the training cells: a probe of more takes
# minutes for each training subset, and no study at hand has gained by more.
MAX_GENES = 4000
# Components are exact up to so many cells or genes, the fewer of the two; beyond, a randomized decomposition with this
# many power iterations is, which is what scikit-learn takes for few components.
MOST_EXACT, POWER_ITERATIONS = 2000, 7


def without_model(cells: AnnData, *, widths: Sequence[int], seed: int = 0) -> dict[str, Features]:
    """Represent cells without a model, each representation as cross-validation needs it.

    Parameters
    ----------
    cells
        A panel of `read_cells`.
    widths
        Widths of the principal components and of the random projections; give the model's, so that they are matched.
    seed
        Seed of the random projections and of the decomposition.

    Returns
    -------
    dict
        Name to (cell, feature), or to a function from row numbers of training cells to (cell, feature) of all cells, or
        to the reason why there is none. ``raw log1p`` of the genes that every study measured, ``HVG`` (the 1,200 most
        variable of them), ``PCA-n`` and ``random projection-n`` of the raw ones, ``bag of tokens`` (which genes are
        expressed at all).

    Raises
    ------
    InputError
        No gene was measured by every study, or the cells are no panel.
    """
    measured = measured_genes(cells)
    genes = list(measured.index[measured.to_numpy().all(axis=1)])
    if not genes:
        msg = f"no gene was measured by all of {', '.join(map(str, measured.columns))}; leave a study out"
        raise InputError(msg)
    raw = expression(cells, genes)
    whole = raw.toarray() if len(genes) <= MAX_GENES else None

    def variable(n_top: int) -> Callable[[NDArray[np.int64]], NDArray]:
        return lambda train: raw[:, np.isin(genes, _most_variable(cells, genes, n_top, train))].toarray()

    found: dict[str, Features] = {RAW: variable(MAX_GENES) if whole is None else whole}
    few = f"the studies share {len(genes):,} genes, no more than the {N_TOP:,} of this representation"
    found[HVG] = variable(N_TOP) if len(genes) > N_TOP else few
    found[BAG] = _as_bag(found[RAW])
    components = _Components(raw, max(widths), seed)
    for width in sorted(set(widths)):
        found[f"{PCA}-{width}"] = _first(components, width)
        axes = stream(seed, f"baselines.random projection {width}").standard_normal((len(genes), width))
        found[f"{PROJECTION}-{width}"] = np.asarray(raw @ (axes / np.sqrt(width)))
    return found


def _most_variable(cells: AnnData, genes: Sequence[str], n_top: int, train: NDArray[np.int64]) -> list[str]:
    return operator_genes(cells[train].copy(), vocabulary=frozenset(genes), n_top=n_top)


def _as_bag(features: Features) -> Features:
    if isinstance(features, np.ndarray):
        return (features > 0).astype(np.float64)
    return lambda train: (features(train) > 0).astype(np.float64) if callable(features) else np.empty(0)


def _first(components: _Components, width: int) -> Features:
    return lambda train: components(train)[:, :width]


class _Components:
    """Principal components of training cells; the last subset's are kept, as several widths share them."""

    def __init__(self, raw: csr_matrix, most: int, seed: int) -> None:
        self.raw, self.most, self.seed = raw, most, seed
        self.kept: tuple[bytes, NDArray] | None = None

    def __call__(self, train: NDArray[np.int64]) -> NDArray:
        kept, key = self.kept, train.tobytes()
        if kept is not None and kept[0] == key:
            return kept[1]
        part = self.raw[train]
        mean = np.asarray(part.mean(axis=0))
        axes = self._axes(part.toarray() - mean)
        found = np.asarray(self.raw @ axes - mean @ axes)
        self.kept = key, found
        return found

    def _axes(self, centred: NDArray) -> NDArray:
        """Return the leading principal axes of centred cells (cell, gene), (gene, axis)."""
        from scipy.linalg import eigh
        from sklearn.utils.extmath import randomized_svd

        n_cells, n_genes = centred.shape
        n, least = min(self.most, n_cells, n_genes), min(n_cells, n_genes)
        if least > MOST_EXACT:
            return randomized_svd(centred, n, n_iter=POWER_ITERATIONS, random_state=self.seed)[2].T
        wide = n_genes > n_cells
        square = centred @ centred.T if wide else centred.T @ centred
        values, vectors = eigh(square, subset_by_index=[least - n, least - 1])
        values, vectors = values[::-1], vectors[:, ::-1]
        if not wide:
            return vectors
        return centred.T @ (vectors / np.sqrt(np.maximum(values, np.finfo(float).tiny)))
