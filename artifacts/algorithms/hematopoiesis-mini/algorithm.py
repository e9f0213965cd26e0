"""Runs the compact algorithm of this folder on raw counts, with NumPy and safetensors only.

From a shell: python algorithm.py counts.csv --out latents.csv. From Python, in this folder:

    import algorithm
    model = algorithm.load()
    z, ood = algorithm.read(model, counts, genes)  # raw counts (cell, gene), gene symbols -> (cell, latent), (cell,)
    algorithm.pseudotime(model, z), model.readouts["stage"].predict(z), model.readouts["stage"].predict_proba(z)
"""

import argparse
import csv
import hashlib
import json
import sys
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import load as read_tensors

# 2 added calibrated and two-layer readouts, Ensembl ids and the out-of-distribution score; folders of 1 lack them.
SCHEMA_VERSION, READABLE = 2, (1, 2)
TENSORS, MANIFEST, RUNNER = "algorithm.safetensors", "manifest.json", "algorithm.py"
# Arrays of a readout (hidden: of a two-layer one) and of the out-of-distribution score, as they are named in the file.
LAYER, HIDDEN, TEMPERATURE = ("coef", "intercept"), ("weights", "biases"), "temperature"
TYPICAL = ("logs", "bias", "spread", "quantiles")
# Nothing this program writes comes near these sizes; a larger file is not one of its own.
MAX_BYTES = 2**26
# Cosines are clipped to +-(1 - 1e-7) before arccos, as in the fit.
COSINE_LIMIT = 1.0 - 1e-7
# ln(1 + x) of any count a cell can hold stays below this; a larger non-integer is scaled but not logged.
LOG_CEILING = 20.0
CHUNK_CELLS = 4096  # dense in memory at a time


class FolderError(ValueError):
    """The folder is not a whole algorithm, or not what its manifest says."""


class CountsError(ValueError):
    """The counts given cannot be used."""


@dataclass(frozen=True, eq=False)
class Readout:
    """Classes, or one value, out of latents.

    `coef` (row, input) and `intercept` (row,), a row per class, or one row for two classes or a value; inputs are the
    latents or a hidden ReLU layer's units, `hidden` = weights (unit, latent), biases (unit,). Scores are divided by
    `temperature` before they become probabilities; `report` says how well calibrated these are.
    """

    classes: tuple
    coef: np.ndarray
    intercept: np.ndarray
    hidden: tuple = ()
    temperature: float | None = None
    report: dict = field(default_factory=dict)

    @property
    def n_parameters(self) -> int:
        """Numbers that the readout stores: coefficients, intercepts, hidden layer and temperature."""
        return sum(array.size for array in (self.coef, self.intercept, *self.hidden)) + (self.temperature is not None)

    def values(self, z: np.ndarray) -> np.ndarray:
        """Return the scores of latents (cell, latent): (cell, class), or (cell,) for a readout of one value."""
        inputs = np.maximum(z @ self.hidden[0].T + self.hidden[1], 0.0) if self.hidden else z
        scores = inputs @ self.coef.T + self.intercept
        if not self.classes:
            return scores[:, 0]
        return np.hstack([np.zeros_like(scores), scores]) if len(self.classes) == 2 else scores

    def predict_proba(self, z: np.ndarray) -> np.ndarray:
        """Return class probabilities (cell, class) of latents (cell, latent), all classes being as frequent."""
        scores = self.values(z) / (self.temperature or 1.0)
        exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    def predict(self, z: np.ndarray) -> np.ndarray:
        """Return the likeliest class, (cell,) of str, or the value, (cell,) of float, of latents (cell, latent)."""
        scores = self.values(z)
        return np.array(self.classes, dtype=str)[scores.argmax(axis=1)] if self.classes else scores


@dataclass(frozen=True, eq=False)
class Typical:
    """What the counts of training cells look like, to tell cells that are not of their kind.

    `logs` (gene, profile): log shares of counts in the training stages; `bias` and `spread` (profile,): mean and
    variance, beyond sampling, of a training cell's surprise; `quantiles` (step,) of the standardised surprise.
    """

    logs: np.ndarray
    bias: np.ndarray
    spread: np.ndarray
    quantiles: np.ndarray

    def excess(self, found: np.ndarray, inside: np.ndarray, fits: np.ndarray) -> tuple:
        """Return each cell's best profile, its surprise beyond that profile's own and the variance of that by sampling.

        Surprise is the mean of -log share over a cell's counts. `found` (gene,) bool; `inside` (cell,): counts in these
        genes; `fits` (cell, profile): the counts times `logs`. The results are (cell,).
        """
        norm = np.log(np.exp(self.logs[found].astype(np.float64)).sum(axis=0))
        logs = self.logs[found] - norm
        entropy = -(np.exp(logs) * logs).sum(axis=0)
        variance = (np.exp(logs) * logs**2).sum(axis=0) - entropy**2
        fits = fits - inside[:, None] * norm
        best, n = fits.argmax(axis=1), np.maximum(inside, 1.0)
        return best, -fits[np.arange(len(fits)), best] / n - entropy[best], variance[best] / n

    def outlying(self, found: np.ndarray, inside: np.ndarray, fits: np.ndarray) -> np.ndarray:
        """Return the share of cells like the training cells with less standardised surprise, (cell,), 0 to 1."""
        best, excess, sampling = self.excess(found, inside, fits)
        surprise = np.where(inside > 0, (excess - self.bias[best]) / np.sqrt(sampling + self.spread[best]), np.inf)
        return np.interp(surprise, self.quantiles, np.linspace(0.0, 1.0, len(self.quantiles)))


@dataclass(frozen=True, eq=False)
class Algorithm:
    """What `load` returns.

    `M` (gene, latent) and `c` (latent,) give z = log1p(counts / total * target) M + c; `beta` and `centroid` (latent,)
    give pseudotime; `gene_mean` and `gene_sd` (gene,) are the training cells'; `ensembl` (gene,): ids, "" if unknown.
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
    ensembl: tuple = ()
    typical: Typical | None = None


def load(folder: str | Path | None = None) -> Algorithm:
    """Read a folder (default: this file's); FolderError if a file is missing, broken, changed or of unknown schema."""
    folder = Path(__file__).resolve().parent if folder is None else Path(folder)
    try:
        manifest = json.loads(_bytes(folder / MANIFEST))
        files, version = dict(manifest["files"]), manifest["schema_version"]
        if version not in READABLE:
            msg = f"schema version {version}, and this program reads {READABLE}; if it is newer, update interp (pip "
            msg += "install --upgrade interp) or run the folder's own algorithm.py; if not"
            raise FolderError(msg)
        data = _bytes(folder / TENSORS, str(files[TENSORS]))
        if (folder / RUNNER).exists():
            _bytes(folder / RUNNER, str(files[RUNNER]))
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
    """Map raw counts (cell, gene) to latents (cell, latent) float64; parameters and errors as in `read`."""
    return read(algorithm, counts, genes, totals, min_coverage=min_coverage)[0]


def read(algorithm: Algorithm, counts, genes, totals=None, *, min_coverage: float | None = None, cells=None) -> tuple:
    """Return latents (cell, latent) and the out-of-distribution score (cell,), None where the algorithm has none.

    `counts` (cell, gene) are raw; `genes` (gene,) symbols, or Ensembl ids if the algorithm has them; genes of its own
    that are missing stand at their training mean, if the others carry `min_coverage` of the map's weight; `totals`
    (cell,), default the row sums, are counts over all genes; `cells` (cell,) names for messages. The score is that of
    `Typical.outlying`. Raises CountsError: no raw counts, empty cells, duplicate genes, too few genes.
    """
    counts = np.asarray(counts)
    if counts.ndim != 2 or counts.shape[1] != len(genes):
        msg = f"Counts of shape {counts.shape} do not fit {len(genes)} genes; give (cell, gene)."
        raise CountsError(msg)
    columns, _ = match(algorithm, genes, min_coverage)
    (matrix, offset), typical, found = restricted(algorithm, columns), algorithm.typical, columns >= 0
    check_counts(counts)
    totals = np.asarray(counts.sum(axis=1, dtype=np.float64) if totals is None else totals, dtype=np.float64)
    inside = counts[:, columns[found]].sum(axis=1, dtype=np.float64)
    check_totals(totals, inside, [f"row {row}" for row in range(len(counts))] if cells is None else cells)
    z, score = np.empty((len(counts), len(offset))), np.full(len(counts), np.nan)
    for start in range(0, len(counts), CHUNK_CELLS):
        rows = slice(start, start + CHUNK_CELLS)
        block = counts[rows][:, columns[found]].astype(np.float64)
        z[rows] = np.log1p(block / totals[rows, None] * algorithm.target_sum) @ matrix + offset
        if typical:
            score[rows] = typical.outlying(found, inside[rows], block @ typical.logs[found])
    return z, score if typical else None


def pseudotime(algorithm: Algorithm, z: np.ndarray) -> np.ndarray:
    """Return the arc distance of latents (cell, latent) from the root's centroid, (cell,), in hops of the ruler."""
    lengths = np.linalg.norm(z, axis=1) * np.linalg.norm(algorithm.centroid)
    cosine = np.divide(z @ algorithm.centroid, lengths, out=np.zeros(len(z)), where=lengths > 0)
    return algorithm.beta * np.arccos(np.clip(cosine, -COSINE_LIMIT, COSINE_LIMIT))


def find(algorithm: Algorithm, genes) -> tuple[np.ndarray, float]:
    """Find the algorithm's genes among the genes given, by symbol or by Ensembl id, whose version is ignored.

    Returns the column of each gene, (gene,), -1 where missing; and the coverage, the share of the map's weight (norm of
    a gene's row times the gene's training sd) that the genes found carry.
    """
    wanted = {name: place for place, name in enumerate(algorithm.ensembl) if name}
    wanted |= {gene: place for place, gene in enumerate(algorithm.genes)}
    columns, twice = np.full(len(algorithm.genes), -1), set()
    for column, name in enumerate(map(str, genes)):
        place = wanted.get(name.partition(".")[0] if name.startswith("ENSG") else name)
        if place is not None:
            twice |= {algorithm.genes[place]} if columns[place] >= 0 else set()
            columns[place] = column
    if twice:
        msg = f"{len(twice)} genes stand twice, such as {', '.join(sorted(twice)[:5])}; merge them."
        raise CountsError(msg)
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
            f"Genes are given as human symbols{' or Ensembl ids' if algorithm.ensembl else ''}."
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


def check_totals(totals: np.ndarray, inside: np.ndarray, cells) -> None:
    """Refuse totals (cell,) that are missing, zero or less than the counts `inside` the algorithm's genes (cell,)."""
    if totals.shape != inside.shape:
        msg = f"Totals of shape {totals.shape} were given for {len(inside)} cells; give one total per cell."
        raise CountsError(msg)
    bad = np.flatnonzero(~(np.isfinite(totals) & (totals > 0)))
    if len(bad):
        msg = f"{len(bad)} of {len(totals)} cells have no counts, or a total that is no positive number, such as "
        raise CountsError(msg + ", ".join(str(cells[row]) for row in bad[:5]) + "; leave them out.")
    if less := int((inside > totals * (1 + 1e-6)).sum()):
        msg = f"{less} cells hold more counts in the algorithm's genes than in their total; give totals over all genes."
        raise CountsError(msg)


def read_counts(path: str | Path, totals: str | None = None) -> tuple:
    """Read (cells, genes, counts, totals or None) from a .csv or .npz file; their forms stand in the help of `main`."""
    try:
        if Path(path).suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                held = dict(file)
            genes, counts = list(held["genes"].astype(str)), held["counts"]
            return list(held.get("cells", np.arange(len(counts))).astype(str)), genes, counts, held.get("totals")
        with Path(path).open(newline="") as file:
            header, *rows = [row for row in csv.reader(file) if row]
        table = np.array([row[1:] for row in rows], dtype=np.float64).reshape(len(rows), len(header) - 1)
        sums = table[:, header.index(totals) - 1] if totals else None
    except (ValueError, KeyError) as error:
        msg = f"{path} is not a table of counts as the help describes it ({error})."
        raise CountsError(msg) from error
    kept = [column for column, name in enumerate(header[1:]) if name != totals]
    return [row[0] for row in rows], [header[1 + column] for column in kept], table[:, kept], sums


def main(arguments: list | None = None) -> int:
    """Read counts, write one row per cell: latents, pseudotime, score and every readout. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Latents, stages and pseudotime of raw counts.")
    parser.add_argument("counts", help="a .csv (cells x genes, names first) or an .npz (counts, genes, cells, totals)")
    parser.add_argument("--totals", help="column of the .csv with each cell's counts over all its genes")
    parser.add_argument("--out", help="the .csv to write; default the standard output")
    options = parser.parse_args(arguments)
    try:
        algorithm = load()
        cells, genes, counts, totals = read_counts(options.counts, options.totals)
        z, score = read(algorithm, counts, genes, totals, cells=cells)
    except (FolderError, CountsError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 4 if isinstance(error, FolderError) else 3
    columns = {"pseudotime": pseudotime(algorithm, z)} | ({} if score is None else {"ood": score})
    columns |= {name: readout.predict(z) for name, readout in sorted(algorithm.readouts.items())}
    aside = Path(f"{options.out}.part")  # a run that fails leaves no half-written file under the name asked for
    with aside.open("w", newline="") if options.out else nullcontext(sys.stdout) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["cell", *(f"z{i}" for i in range(z.shape[1])), *columns])
        for row, cell in enumerate(cells):
            values = (*z[row], *(column[row] for column in columns.values()))
            writer.writerow([cell, *(f"{value:.9g}" if isinstance(value, float) else value for value in values)])
    if options.out:
        aside.replace(options.out)
    return 0


def check_arrays(found: dict, manifest: dict) -> None:
    """Refuse arrays that are not finite or whose shapes do not fit the manifest's genes, readouts and profiles."""
    genes, n_latent, typical = manifest["genes"], found["M"].shape[-1], manifest.get("typical")
    shapes = {"M": (len(genes), n_latent), "c": (n_latent,), "centroid": (n_latent,), "beta": (1,)}
    shapes |= {"gene_mean": (len(genes),), "gene_sd": (len(genes),)}
    for name, readout in manifest["readouts"].items():
        rows, units = {0: 1, 2: 1}.get(len(readout["classes"]), len(readout["classes"])), readout.get("hidden") or 0
        layers = {LAYER[0]: (rows, units or n_latent), LAYER[1]: (rows,)}
        layers |= {HIDDEN[0]: (units, n_latent), HIDDEN[1]: (units,)} if units else {}
        layers |= {TEMPERATURE: (1,)} if readout.get("calibrated") else {}
        shapes |= {f"readout.{name}.{key}": shape for key, shape in layers.items()}
    if typical:
        n = len(typical["profiles"])
        shapes |= {"typical.logs": (len(genes), n), "typical.quantiles": (typical["steps"],)}
        shapes |= {"typical.bias": (n,), "typical.spread": (n,)}
    given = {name: array.shape for name, array in found.items()}
    wrong = [name for name in given.keys() | shapes.keys() if given.get(name) != shapes.get(name)]
    odd = [name for name, array in found.items() if array.dtype.kind != "f" or not np.isfinite(array).all()]
    if wrong or odd:
        what = "missing, unknown or of the wrong shape" if wrong else "not made of finite numbers"
        msg = f"arrays are {what}: {', '.join(sorted(wrong or odd))}"
        raise FolderError(msg)
    named = set(genes) if all(isinstance(gene, str) for gene in genes) else set()
    if not genes or len(named) != len(genes) or len(manifest.get("ensembl") or genes) != len(genes):
        msg = "the genes are not distinct names, or the Ensembl ids not one for each"
        raise FolderError(msg)


def _bytes(path: Path, expected: str | None = None) -> bytes:
    if not path.is_file():
        msg = f"there is no {path.name}"
        raise FolderError(msg)
    if path.stat().st_size > MAX_BYTES:
        msg = f"{path.name} has {path.stat().st_size:,} bytes, more than the {MAX_BYTES:,} any algorithm needs"
        raise FolderError(msg)
    found = hashlib.sha256(data := path.read_bytes()).hexdigest()
    if expected is not None and found != expected:
        msg = f"{path.name} is not what the manifest says (sha256 {found[:12]}..., expected {expected[:12]}...)"
        raise FolderError(msg)
    return data


def _assemble(tensors: dict, manifest: dict) -> Algorithm:
    check_arrays(tensors, manifest)
    readouts = {}
    for name, entry in manifest["readouts"].items():
        coef, intercept = (tensors[f"readout.{name}.{key}"] for key in LAYER)
        hidden = tuple(tensors[f"readout.{name}.{key}"] for key in HIDDEN if entry.get("hidden"))
        temperature = float(tensors[f"readout.{name}.{TEMPERATURE}"][0]) if entry.get("calibrated") else None
        report = entry.get("calibration") or {}
        readouts[name] = Readout(tuple(entry["classes"]), coef, intercept, hidden, temperature, report)
    return Algorithm(
        genes=tuple(manifest["genes"]),
        beta=float(tensors["beta"][0]),
        readouts=readouts,
        target_sum=float(manifest["preprocessing"]["target_sum"]),
        min_coverage=float(manifest["preprocessing"]["min_coverage"]),
        manifest=manifest,
        ensembl=tuple(name or "" for name in manifest.get("ensembl") or ()),
        typical=Typical(*(tensors[f"typical.{key}"] for key in TYPICAL)) if manifest.get("typical") else None,
        **{key: tensors[key] for key in ("M", "c", "centroid", "gene_mean", "gene_sd")},
    )


if __name__ == "__main__":
    raise SystemExit(main())
