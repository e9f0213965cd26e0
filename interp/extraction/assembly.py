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
    from interp.extraction.typical import TypicalFit

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
    typical: TypicalFit | None,
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
    parts["typical"] = None if typical is None else typical.typical
    manifest = _manifest(name, operator, root[0]) | readout_entries(parts["readouts"]) | dict(described)
    manifest |= {"n_training_cells": expression.shape[0], "n_latent": M.shape[1]}
    manifest |= {} if typical is None else {"typical": typical.described()}
    algorithm = runner.Algorithm(**parts, manifest=plain(manifest))
    try:
        runner.check_arrays(arrays(algorithm), algorithm.manifest)
    except runner.FolderError as error:
        msg = f"The parts of the algorithm do not fit: {error}."
        raise InputError(msg) from error
    return vars(algorithm) | {"manifest": algorithm.manifest | {"n_parameters": n_parameters(algorithm)}}


def arrays(algorithm: runner.Algorithm) -> dict[str, NDArray]:
    """Return all arrays of an algorithm by the name they are saved under; shapes as in the class, ``beta`` (1,)."""
    named = {key: getattr(algorithm, key) for key in ("M", "c", "centroid", "gene_mean", "gene_sd")}
    named["beta"] = np.array([algorithm.beta])
    for name, readout in algorithm.readouts.items():
        named |= {f"readout.{name}.{key}": getattr(readout, key) for key in runner.LAYER}
        if readout.hidden:
            named |= {f"readout.{name}.{key}": part for key, part in zip(runner.HIDDEN, readout.hidden, strict=True)}
        if readout.temperature is not None:
            named[f"readout.{name}.{runner.TEMPERATURE}"] = np.array([readout.temperature])
    if algorithm.typical is not None:
        named |= {f"typical.{key}": getattr(algorithm.typical, key) for key in runner.TYPICAL}
    return named


def n_parameters(algorithm: runner.Algorithm) -> dict[str, int]:
    """Numbers that each part stores; a readout's are coefficients, intercepts, hidden layer and temperature.

    Returns
    -------
    dict
        ``map`` (M and c), ``genes`` (means and sds, for missing genes and coverage), ``pseudotime`` (centroid and
        beta), every readout, ``out of distribution`` where there is that score, and ``all``.
    """
    parts = {"map": algorithm.M.size + algorithm.c.size, "genes": algorithm.gene_mean.size + algorithm.gene_sd.size}
    parts |= {"pseudotime": algorithm.centroid.size + 1}
    parts |= {name: readout.n_parameters for name, readout in sorted(algorithm.readouts.items())}
    if algorithm.typical is not None:
        parts["out of distribution"] = sum(getattr(algorithm.typical, key).size for key in runner.TYPICAL)
    return parts | {"all": sum(parts.values())}


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


def readout_entries(readouts: Mapping[str, runner.Readout]) -> dict[str, Any]:
    """Describe readouts for the manifest, under ``readouts``."""
    entries = {}
    for name, readout in readouts.items():
        entry: dict[str, Any] = {"classes": readout.classes, "n_parameters": readout.n_parameters}
        entry |= {"hidden": len(readout.hidden[1])} if readout.hidden else {}
        entry |= {"calibrated": True, "calibration": readout.report} if readout.temperature is not None else {}
        entries[name] = entry
    return {"readouts": entries}


def _manifest(name: str, operator: Operator, root: str) -> dict[str, Any]:
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
    }
