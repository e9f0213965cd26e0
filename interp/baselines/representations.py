"""Raw expression, its principal components and random projections, learned on training cells only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from interp.cells.panel import expression
from interp.runs.seeds import stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

Pair = tuple["NDArray[np.float64]", "NDArray[np.float64]"]


def model_free(
    train: AnnData,
    test: AnnData,
    genes: Sequence[str],
    *,
    width: int,
    components: Sequence[int] = (10, 50),
    seed: int = 0,
) -> dict[str, Pair]:
    """Represent training and test cells without a model.

    Parameters
    ----------
    train, test
        Panels of `read_cells`.
    genes
        Genes that both measured.
    width
        Width of the random projection; give the model's, so that the two are matched.
    components
        Numbers of principal components.
    seed
        Seed of the random projection.

    Returns
    -------
    dict
        Name to (training cell, feature) and (test cell, feature): `raw log1p`, `PCA-n`, `random projection`.
    """
    from sklearn.decomposition import PCA

    x_train, x_test = (expression(cells, genes).toarray() for cells in (train, test))
    found: dict[str, Pair] = {"raw log1p": (x_train, x_test)}
    most = min(max(components), *x_train.shape)
    pca = PCA(most, svd_solver="covariance_eigh" if len(genes) < 4000 else "randomized", random_state=seed).fit(x_train)
    scores = pca.transform(x_train), pca.transform(x_test)
    for n in components:
        found[f"PCA-{min(n, most)}"] = (scores[0][:, :n], scores[1][:, :n])
    axes = stream(seed, "baselines.random projection").standard_normal((len(genes), width)) / np.sqrt(width)
    found["random projection"] = ((x_train - pca.mean_) @ axes, (x_test - pca.mean_) @ axes)
    return found
