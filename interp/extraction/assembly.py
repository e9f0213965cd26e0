"""Putting the parts of a compact algorithm together: folding, rounding, gene statistics and the manifest."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.errors import InputError
from interp.extraction.folding import fold
from interp.extraction.runner import algorithm as runner
from interp.runs.hashes import json_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from scipy import sparse

    from interp.extraction.let import LetFit
    from interp.extraction.operators import Operator

# Counts are scaled to this total before the log (design, expression input).
TARGET_SUM = 1e4
# Share of the map's weight that the genes given must carry. Under one half, most of a latent is the training mean.
MIN_COVERAGE = 0.5


def assemble(
    name: str,
    operator: Operator,
    fit: LetFit,
    *,
    expression: NDArray | sparse.csr_matrix,
    readouts: Mapping[str, runner.Readout],
    root: tuple[str, NDArray],
    described: Mapping[str, Any],
) -> dict[str, Any]:
    """Fold operator and adaptor and make every field of a `CompactAlgorithm`; parameters as in its `build`.

    Returns
    -------
    dict
        Field to value; M is float32, as it is saved.

    Raises
    ------
    InputError
        Parts that do not fit each other, or that are not finite.
    """
    if expression.shape[1] != len(operator.genes):
        msg = f"Expression of {expression.shape[1]:,} genes was given for an operator on {len(operator.genes):,}."
        raise InputError(msg)
    folded = fold(operator, fit)
    statistics = gene_statistics(expression)
    M, mean, sd = (array.astype(np.float32) for array in (folded.M, *statistics))
    # c takes up what rounding M did to the mean cell, so that the rounding error of z grows with the deviation only.
    c = folded.c + mean.astype(np.float64) @ (folded.M - M.astype(np.float64))
    parts: dict[str, Any] = {"genes": operator.genes, "M": M, "c": c, "beta": float(fit.beta_)}
    parts |= {"centroid": np.asarray(root[1], dtype=np.float64), "gene_mean": mean, "gene_sd": sd}
    parts |= {"readouts": dict(sorted(readouts.items())), "target_sum": TARGET_SUM, "min_coverage": MIN_COVERAGE}
    algorithm = runner.Algorithm(**parts, manifest={})
    try:
        runner.check_arrays(runner.arrays(algorithm), algorithm.genes, {k: r.classes for k, r in readouts.items()})
    except runner.FolderError as error:
        msg = f"The parts of the algorithm do not fit: {error}."
        raise InputError(msg) from error
    sizes = {"n_training_cells": expression.shape[0], "n_latent": M.shape[1]}
    return parts | {"manifest": plain(_manifest(name, operator, algorithm, root[0]) | sizes | dict(described))}


def gene_statistics(expression: NDArray | sparse.csr_matrix) -> tuple[NDArray, NDArray]:
    """Mean and population sd of expression (cell, gene), dense or sparse, over cells: two arrays (gene,) float64."""
    n_cells = expression.shape[0]
    squares = expression.multiply(expression) if hasattr(expression, "multiply") else np.square(expression)
    mean = np.asarray(expression.sum(axis=0), dtype=np.float64).ravel() / n_cells
    square = np.asarray(squares.sum(axis=0), dtype=np.float64).ravel() / n_cells
    return mean, np.sqrt(np.maximum(square - mean**2, 0.0))


def plain(value: Any) -> Any:
    """Reduce a value to what JSON gives back: lists, strings, numbers, None for NaN."""
    return json.loads(json_text(value))


def _manifest(name: str, operator: Operator, algorithm: runner.Algorithm, root: str) -> dict[str, Any]:
    return {
        "schema_version": runner.SCHEMA_VERSION,
        "name": name,
        "genes": operator.genes,
        "root": root,
        "preprocessing": {
            "target_sum": TARGET_SUM,
            "log1p": True,
            "total": "all genes of the cell",
            "missing_genes": "training mean",
            "min_coverage": MIN_COVERAGE,
        },
        "operator": {
            "name": operator.name,
            "kind": operator.kind,
            "orientation": operator.orientation,
            "heads": operator.heads,
            "n_cells": operator.n_cells,
            "provenance": operator.provenance,
        },
        "readouts": {
            key: {"classes": readout.classes, "n_parameters": readout.n_parameters}
            for key, readout in algorithm.readouts.items()
        },
    }
