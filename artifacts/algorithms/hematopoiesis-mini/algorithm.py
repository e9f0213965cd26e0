"""Runs the compact algorithm of this folder on raw counts, with NumPy and safetensors only.

From Python, in this folder:

    import algorithm
    model = algorithm.load()
    z = algorithm.latents(model, counts, genes)   # raw counts (cell, gene), gene symbols -> (cell, latent)
    algorithm.stages(model, z), algorithm.pseudotime(model, z)

From a shell:

    python algorithm.py counts.csv --out latents.csv
"""

import argparse
import csv
import hashlib
import json
import sys
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load as read_tensors

SCHEMA_VERSION = 1
TENSORS, MANIFEST, RUNNER = "algorithm.safetensors", "manifest.json", "algorithm.py"
# Nothing this program writes comes near these sizes; a larger file is not one of its own.
MAX_BYTES = 2**26
# Cosines are clipped to +-(1 - 1e-7) before arccos, as in the fit.
COSINE_LIMIT = 1.0 - 1e-7
# ln(1 + x) of any count a cell can hold stays below this; a larger non-integer is scaled but not logged.
LOG_CEILING = 20.0
# Cells that are dense in memory at a time.
CHUNK_CELLS = 4096


class FolderError(ValueError):
    """The folder is not a whole algorithm, or not what its manifest says."""


class CountsError(ValueError):
    """The counts given cannot be used."""


@dataclass(frozen=True, eq=False)
class Readout:
    """A linear readout: `coef` (row, latent), `intercept` (row,); one row per class, one for two classes or a value."""

    classes: tuple
    coef: np.ndarray
    intercept: np.ndarray

    @property
    def n_parameters(self) -> int:
        """Numbers that the readout stores."""
        return int(self.coef.size + self.intercept.size)

    def values(self, z: np.ndarray) -> np.ndarray:
        """Return the linear scores of latents (cell, latent): (cell, class), or (cell,) for a readout of one value."""
        scores = z @ self.coef.T + self.intercept
        if not self.classes:
            return scores[:, 0]
        return np.hstack([np.zeros_like(scores), scores]) if len(self.classes) == 2 else scores

    def probabilities(self, z: np.ndarray) -> np.ndarray:
        """Return class probabilities (cell, class) of latents (cell, latent)."""
        scores = self.values(z)
        exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    def predict(self, z: np.ndarray) -> np.ndarray:
        """Return the likeliest class, (cell,) of str, or the value, (cell,) of float, of latents (cell, latent)."""
        scores = self.values(z)
        return np.array(self.classes, dtype=str)[scores.argmax(axis=1)] if self.classes else scores


@dataclass(frozen=True, eq=False)
class Algorithm:
    """What `load` returns.

    `M` (gene, latent) and `c` (latent,) give z = log1p(counts / total * target) M + c; `beta` and
    `centroid` (latent,) give pseudotime; `gene_mean` and `gene_sd` (gene,) are the training cells'.
    """

    genes: tuple
    M: np.ndarray
    c: np.ndarray
    beta: float
    centroid: np.ndarray
    gene_mean: np.ndarray
    gene_sd: np.ndarray
    readouts: dict
    target_sum: float
    min_coverage: float
    manifest: dict


def load(folder: str | Path | None = None) -> Algorithm:
    """Read the algorithm of a folder (default: the folder of this file) and check it against its manifest.

    Raises FolderError when a file is missing, too large, broken, changed since the export, or of another schema.
    """
    folder = Path(__file__).resolve().parent if folder is None else Path(folder)
    try:
        manifest = json.loads(_bytes(folder / MANIFEST))
        files = manifest["files"]
        if manifest["schema_version"] != SCHEMA_VERSION:
            msg = f"schema version {manifest['schema_version']}, but this program reads {SCHEMA_VERSION}"
            raise FolderError(msg)
        data = _bytes(folder / TENSORS)
        _check_hash(TENSORS, data, files[TENSORS])
        if (folder / RUNNER).exists():
            _check_hash(RUNNER, _bytes(folder / RUNNER), files[RUNNER])
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        if header["__metadata__"]["manifest_sha256"] != manifest_hash(manifest):
            msg = f"{MANIFEST} was changed since the export"
            raise FolderError(msg)
        return _assemble(read_tensors(data), manifest)
    except FolderError as error:
        msg = f"{folder}: {error}; export the algorithm again or fetch an untouched copy."
        raise FolderError(msg) from None
    except Exception as error:  # a broken file can fail in any way while it is parsed
        msg = f"{folder} does not hold a whole algorithm ({type(error).__name__}: {error}); export it again."
        raise FolderError(msg) from error


def manifest_hash(manifest: dict) -> str:
    """Hash everything in the manifest but the file hashes; the tensor file carries this."""
    rest = {key: value for key, value in manifest.items() if key != "files"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def latents(algorithm: Algorithm, counts, genes, totals=None, *, min_coverage: float | None = None) -> np.ndarray:
    """Map raw counts to latents.

    Parameters
    ----------
    algorithm
        From `load`.
    counts
        Raw counts, (cell, gene).
    genes
        Gene symbols, (gene,), in any order; the algorithm's genes that are missing stand at their training mean.
    totals
        Counts of each cell over all its genes, (cell,); default the row sums. Give them when `counts` was cut.
    min_coverage
        Smallest share of the map's weight that the genes given must carry; default the manifest's.

    Returns
    -------
    numpy.ndarray
        (cell, latent) float64.

    Raises
    ------
    CountsError
        Not raw counts, empty cells, duplicate genes, or too few of the algorithm's genes.
    """
    counts = np.asarray(counts)
    if counts.ndim != 2 or counts.shape[1] != len(genes):
        msg = f"Counts of shape {counts.shape} do not fit {len(genes)} genes; give (cell, gene)."
        raise CountsError(msg)
    columns, _ = match(algorithm, genes, min_coverage)
    matrix, offset = restricted(algorithm, columns)
    check_counts(counts)
    totals = check_totals(counts.sum(axis=1, dtype=np.float64) if totals is None else totals, len(counts))
    z = np.empty((len(counts), len(offset)))
    for start in range(0, len(counts), CHUNK_CELLS):
        rows = slice(start, start + CHUNK_CELLS)
        block = counts[rows][:, columns[columns >= 0]].astype(np.float64)
        check_share(block.sum(axis=1), totals[rows])
        z[rows] = np.log1p(block / totals[rows, None] * algorithm.target_sum) @ matrix + offset
    return z


def stages(algorithm: Algorithm, z: np.ndarray) -> np.ndarray:
    """Return the likeliest stage of latents (cell, latent), (cell,) of str."""
    return algorithm.readouts["stage"].predict(z)


def branches(algorithm: Algorithm, z: np.ndarray) -> np.ndarray:
    """Return the likeliest branch of latents (cell, latent), (cell,) of str."""
    return algorithm.readouts["branch"].predict(z)


def pseudotime(algorithm: Algorithm, z: np.ndarray) -> np.ndarray:
    """Return the arc distance of latents (cell, latent) from the root's centroid, (cell,), in hops of the ruler."""
    lengths = np.linalg.norm(z, axis=1) * np.linalg.norm(algorithm.centroid)
    cosine = np.divide(z @ algorithm.centroid, lengths, out=np.zeros(len(z)), where=lengths > 0)
    return algorithm.beta * np.arccos(np.clip(cosine, -COSINE_LIMIT, COSINE_LIMIT))


def find(algorithm: Algorithm, genes) -> tuple[np.ndarray, float]:
    """Find the algorithm's genes among the genes given.

    Returns
    -------
    tuple
        Column of each of the algorithm's genes, (gene,), -1 where missing; and the coverage, the share of the map's
        weight (norm of a gene's row times the gene's training sd) that the genes found carry.
    """
    names, wanted = list(map(str, genes)), set(algorithm.genes)
    twice = sorted(gene for gene, number in Counter(names).items() if number > 1 and gene in wanted)
    if twice:
        msg = f"{len(twice)} genes stand twice, such as {', '.join(twice[:5])}; merge them."
        raise CountsError(msg)
    place = dict(zip(names, range(len(names)), strict=True))
    columns = np.array([place.get(gene, -1) for gene in algorithm.genes])
    weight = np.linalg.norm(algorithm.M, axis=1) * algorithm.gene_sd
    return columns, float(weight[columns >= 0].sum() / weight.sum()) if weight.any() else 0.0


def match(algorithm: Algorithm, genes, min_coverage: float | None = None) -> tuple[np.ndarray, float]:
    """Find the algorithm's genes as `find` does, and refuse when they carry less than `min_coverage` of its weight."""
    columns, coverage = find(algorithm, genes)
    least = algorithm.min_coverage if min_coverage is None else min_coverage
    if coverage < least or not (columns >= 0).any():
        missing = [gene for gene, column in zip(algorithm.genes, columns, strict=True) if column < 0]
        msg = (
            f"{len(columns) - len(missing)} of the algorithm's {len(columns)} genes were found; they carry "
            f"{coverage:.0%} of its weight and {least:.0%} are needed. Missing: {', '.join(missing[:5])}, ... "
            f"Genes are given as symbols such as {algorithm.genes[0]}."
        )
        raise CountsError(msg)
    return columns, coverage


def restricted(algorithm: Algorithm, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return matrix (found gene, latent) and offset (latent,) with the missing genes at their training mean."""
    matrix, missing = algorithm.M.astype(np.float64), columns < 0
    return matrix[~missing], algorithm.c + algorithm.gene_mean[missing].astype(np.float64) @ matrix[missing]


def check_counts(values: np.ndarray) -> None:
    """Refuse what cannot be raw counts: NaN, infinite, negative or not whole."""
    if not (np.issubdtype(values.dtype, np.number) or values.dtype == bool):
        msg = f"The counts have type {values.dtype}; raw counts are numbers."
        raise CountsError(msg)
    if not np.isfinite(values).all() or (values < 0).any():
        msg = "Some values are NaN, infinite or negative; give raw counts."
        raise CountsError(msg)
    if (values != np.rint(values)).any():
        looks = "log-transformed" if values.max() < LOG_CEILING else "normalised"
        msg = f"Some values are not whole numbers (largest {values.max():.4g}): this looks {looks}; give raw counts."
        raise CountsError(msg)


def check_totals(totals, n_cells: int) -> np.ndarray:
    """Return the totals as float64 (cell,), or refuse totals that are missing, zero or of another length."""
    totals = np.asarray(totals, dtype=np.float64)
    if totals.shape != (n_cells,):
        msg = f"Totals of shape {totals.shape} were given for {n_cells} cells; give one total per cell."
        raise CountsError(msg)
    bad = int(np.count_nonzero(~(np.isfinite(totals) & (totals > 0))))
    if bad:
        msg = f"{bad} of {n_cells} cells have no counts, or a total that is no positive number; leave them out."
        raise CountsError(msg)
    return totals


def check_share(sums: np.ndarray, totals: np.ndarray) -> None:
    """Refuse totals that are smaller than what the algorithm's genes alone hold."""
    less = int(np.count_nonzero(sums > totals * (1 + 1e-6)))
    if less:
        msg = f"{less} cells hold more counts in the algorithm's genes than in their total; give totals over all genes."
        raise CountsError(msg)


def read_counts(path: str | Path, totals: str | None = None) -> tuple:
    """Read (cells, genes, counts, totals or None) from a .csv or .npz file; their forms stand in the help of `main`."""
    path = Path(path)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            held = {key: file[key] for key in ("counts", "genes", "cells", "totals") if key in file}
        if "counts" not in held or "genes" not in held:
            msg = f"{path} needs the arrays counts (cell, gene) and genes."
            raise CountsError(msg)
        cells = held.get("cells", np.arange(len(held["counts"]))).astype(str)
        return list(cells), list(held["genes"].astype(str)), held["counts"], held.get("totals")
    with path.open(newline="") as file:
        header, *rows = [row for row in csv.reader(file) if row]
    try:
        table = np.array([row[1:] for row in rows], dtype=np.float64).reshape(len(rows), len(header) - 1)
    except ValueError as error:
        msg = f"{path} is not a table of counts with cell names first and a header of genes ({error})."
        raise CountsError(msg) from error
    cells, genes = [row[0] for row in rows], header[1:]
    if totals is None:
        return cells, genes, table, None
    if totals not in genes:
        msg = f"{path} has no column {totals!r} for the totals."
        raise CountsError(msg)
    column = genes.index(totals)
    return cells, genes[:column] + genes[column + 1 :], np.delete(table, column, axis=1), table[:, column]


def main(arguments: list | None = None) -> int:
    """Read counts, write one row per cell: latents, pseudotime and every readout. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Latents, stages and pseudotime of raw counts.")
    parser.add_argument("counts", help="a .csv (cells x genes, names first) or an .npz (counts, genes, cells, totals)")
    parser.add_argument("--totals", help="column of the .csv with each cell's counts over all its genes")
    parser.add_argument("--out", help="the .csv to write; default the standard output")
    options = parser.parse_args(arguments)
    try:
        algorithm = load()
        cells, genes, counts, totals = read_counts(options.counts, options.totals)
        z = latents(algorithm, counts, genes, totals)
    except (FolderError, CountsError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 4 if isinstance(error, FolderError) else 3
    names = sorted(algorithm.readouts)
    header = ["cell", *(f"z{i}" for i in range(z.shape[1])), "pseudotime", *names]
    found = [pseudotime(algorithm, z), *(algorithm.readouts[name].predict(z) for name in names)]
    with Path(options.out).open("w", newline="") if options.out else nullcontext(sys.stdout) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for row, cell in enumerate(cells):
            writer.writerow([cell, *map(_shown, z[row]), *(_shown(column[row]) for column in found)])
    return 0


def arrays(algorithm: Algorithm) -> dict:
    """Return all arrays by the name they have in the tensor file."""
    named = {"M": algorithm.M, "c": algorithm.c, "centroid": algorithm.centroid, "beta": np.array([algorithm.beta])}
    named |= {"gene_mean": algorithm.gene_mean, "gene_sd": algorithm.gene_sd}
    for name, readout in algorithm.readouts.items():
        named |= {f"readout.{name}.coef": readout.coef, f"readout.{name}.intercept": readout.intercept}
    return named


def check_arrays(found: dict, genes, classes: dict) -> None:
    """Refuse arrays whose shapes do not fit the genes and the readouts' classes, or that are not finite."""
    n_latent = found["M"].shape[-1]
    shapes = {"M": (len(genes), n_latent), "c": (n_latent,), "centroid": (n_latent,), "beta": (1,)}
    shapes |= {"gene_mean": (len(genes),), "gene_sd": (len(genes),)}
    for name, names in classes.items():
        rows = len(names) if len(names) > 2 else 1
        shapes |= {f"readout.{name}.coef": (rows, n_latent), f"readout.{name}.intercept": (rows,)}
    given = {name: array.shape for name, array in found.items()}
    wrong = [name for name in given.keys() | shapes.keys() if given.get(name) != shapes.get(name)]
    if wrong:
        msg = f"arrays are missing, unknown or of the wrong shape: {', '.join(sorted(wrong))}"
        raise FolderError(msg)
    odd = [name for name, array in found.items() if array.dtype.kind != "f" or not np.isfinite(array).all()]
    if odd:
        msg = f"arrays are not made of finite numbers: {', '.join(sorted(odd))}"
        raise FolderError(msg)
    if not genes or len(set(genes)) != len(genes) or not all(isinstance(gene, str) for gene in genes):
        msg = "the genes are not distinct names"
        raise FolderError(msg)


def _shown(value) -> str:
    return str(value) if isinstance(value, str) else f"{value:.9g}"


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        msg = f"there is no {path.name}"
        raise FolderError(msg)
    if path.stat().st_size > MAX_BYTES:
        msg = f"{path.name} has {path.stat().st_size:,} bytes, more than the {MAX_BYTES:,} any algorithm needs"
        raise FolderError(msg)
    return path.read_bytes()


def _check_hash(name: str, data: bytes, expected: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        msg = f"{name} is not what the manifest says (sha256 {found[:12]}..., expected {str(expected)[:12]}...)"
        raise FolderError(msg)


def _assemble(tensors: dict, manifest: dict) -> Algorithm:
    genes, work = tuple(manifest["genes"]), manifest["preprocessing"]
    classes = {name: tuple(readout["classes"]) for name, readout in manifest["readouts"].items()}
    check_arrays(tensors, genes, classes)
    readouts = {
        name: Readout(names, tensors[f"readout.{name}.coef"], tensors[f"readout.{name}.intercept"])
        for name, names in classes.items()
    }
    return Algorithm(
        genes=genes,
        beta=float(tensors["beta"][0]),
        readouts=readouts,
        target_sum=float(work["target_sum"]),
        min_coverage=float(work["min_coverage"]),
        manifest=manifest,
        **{key: tensors[key] for key in ("M", "c", "centroid", "gene_mean", "gene_sd")},
    )


if __name__ == "__main__":
    raise SystemExit(main())
