"""The model card of a compact algorithm: verdict, panel, intended use, limits, figures, how to run it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp.extraction.algorithm import CompactAlgorithm

# Longest list of names that a line of the card spells out.
SHOWN = 12
NO_VERDICT = "No verdict was recorded: nothing is known about what this algorithm is worth."

USE = """\
## Use

With interp:

```python
import interp

algorithm = interp.CompactAlgorithm.load("path/of/this/folder")
cells = algorithm.transform(cells)  # obsm["X_interp"], obs["interp_pseudotime"], ["interp_stage"], ["interp_ood"]
probabilities = algorithm.predict_proba("stage", cells.obsm["X_interp"])
```

From a shell, in chunks and so of any size: `interp transform path/of/this/folder cells.h5ad --out out.h5ad`.

With Python, NumPy and safetensors only, in this folder:

```sh
python algorithm.py counts.csv --out latents.csv   # one row per cell, its name first; a header of gene symbols
```

Input: raw counts of all genes of the cell; each count is divided by the cell's total, multiplied by {target:,.0f} and
log1p-transformed. Where a file was cut to fewer genes, give the totals over all genes. Genes of the algorithm that are
missing stand at their training mean; below {least:.0%} of the map's weight the cells are refused. Genes are named by
symbol{ids}.
"""

INTENDED = """\
## Intended use and limits

For research on hematopoietic cells: latents, a pseudotime and first guesses of stage and branch for cells of the kind
in the panel below. Not for diagnosis, and no substitute for an annotation by markers.

- Every cell is given a stage, also one that is not hematopoietic or whose stage was not in the panel. {score}
- Pseudotime is the angle from the centroid of {root} in units of the ruler ({ruler}). It is the same for a
  cell in any company; it is no time, and does not order cells along branches that the panel lacks.
- Other technologies, organisms and diseased cells were not part of the panel unless it is listed there.
- Unless the verdict above finds the result model-specific, the model that the map was read from deserves no credit for
  it: a matched control does as well.
"""


CALIBRATION = """\
Scores are divided by a temperature that was fitted on held-out donors of studies with several; another study may need
another. Classes count as equally frequent. Log loss and expected calibration error before and after, on donors that
neither readout nor temperature had seen; a temperature that did not lower their log loss is left at 1:
"""

FILES = """\
## Files

- `algorithm.safetensors`: all arrays
- `manifest.json`: genes, preprocessing, provenance, figures, verdict, SHA-256 of the files
- `algorithm.py`: the single-file runner
"""


def algorithm_card(algorithm: CompactAlgorithm) -> str:
    """Write the model card.

    Parameters
    ----------
    algorithm
        Its manifest gives verdict, metrics and provenance.

    Returns
    -------
    str
        Markdown; equal algorithms give equal text.
    """
    manifest = algorithm.manifest
    name = algorithm.name or "compact algorithm"
    parts = [
        f"# {name}",
        _summary(algorithm),
        "## Verdict\n\n" + _verdict(manifest.get("verdict") or {}),
        _figures(manifest.get("metrics") or {}),
        INTENDED.format(
            root=manifest.get("root") or "the root stage",
            ruler=_ruler(manifest, "hops between stages"),
            score=_score(manifest.get("typical")),
        ),
        _panel(manifest),
        _calibration(manifest.get("readouts") or {}),
        USE.format(
            target=algorithm.target_sum, least=algorithm.min_coverage, ids=" or Ensembl id" * bool(algorithm.ensembl)
        ),
        _parameters(algorithm),
        _provenance(manifest.get("provenance") or {}),
        FILES,
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _summary(algorithm: CompactAlgorithm) -> str:
    operator = algorithm.manifest.get("operator") or {}
    heads = [f"L{layer}H{head}" for layer, head in operator.get("heads", [])]
    source = f"operator `{operator.get('name', 'unnamed')}`" + (f" ({_listed(heads)})" if heads else "")
    n_genes, n_latent = algorithm.M.shape
    size = algorithm.M.nbytes / 1e3
    ruler = _ruler(manifest=algorithm.manifest, hops="hop distances between stages")
    return (
        f"A linear map from log1p expression of {n_genes:,} genes to {n_latent} latents ({size:,.1f} kB), with "
        f"{_layers(algorithm)} readouts. It is {source} and an adaptor fitted to {ruler}, folded into one matrix: "
        "`z = x M + c`."
    )


def _ruler(manifest: Mapping[str, Any], hops: str) -> str:
    ruler = (manifest.get("provenance") or {}).get("ruler")
    if not isinstance(ruler, Mapping) or ruler["name"] == "hops":
        return hops
    return f"the ruler {ruler['name']!r} ({ruler['source']}), scaled to the mean square of hops"


def _verdict(verdict: Mapping[str, Any]) -> str:
    if not verdict:
        return NO_VERDICT
    lines = [f"**{verdict['status']}**"] if isinstance(verdict.get("status"), str) else []
    rest = {key: value for key, value in verdict.items() if not (lines and key == "status")}
    return "\n\n".join([*lines, _bullets(rest)]).strip()


def _figures(metrics: Mapping[str, Any]) -> str:
    if not metrics:
        return ""
    rows = ["## Figures", "", "| figure | value | interval | notes |", "|---|---|---|---|"]
    for name, metric in metrics.items():
        entry = dict(metric) if isinstance(metric, Mapping) else {"value": metric}
        value, low, high = entry.pop("value", None), entry.pop("lo", None), entry.pop("hi", None)
        interval = f"{_shown(low)} to {_shown(high)}" if low is not None and high is not None else ""
        notes = ", ".join(f"{key} {_shown(item)}" for key, item in entry.items())
        rows.append(f"| {_cell(name)} | {_shown(value)} | {interval} | {_cell(notes)} |")
    return "\n".join(rows)


def _panel(manifest: Mapping[str, Any]) -> str:
    lines = [f"- training cells: {manifest.get('n_training_cells', 0):,}"]
    panel = (manifest.get("provenance") or {}).get("panel")
    if isinstance(panel, Mapping):
        lines.append(_bullets(panel))
    for name, readout in (manifest.get("readouts") or {}).items():
        if readout["classes"]:
            classes = ", ".join(readout["classes"])
            lines.append(f"- {name} ({len(readout['classes'])}): {classes}")
    return "## Panel\n\n" + "\n".join(lines)


def _layers(algorithm: CompactAlgorithm) -> str:
    return "two-layer" if any(readout.hidden for readout in algorithm.readouts.values()) else "linear"


def _score(typical: Mapping[str, Any] | None) -> str:
    if not typical:
        return "This algorithm has no out-of-distribution score."
    return (
        "The\n  out-of-distribution score (`interp_ood`) says which cells are not of the training kind: 0.99 is more "
        f"surprising\n  than 99 % of {typical['n_calibration_cells']:,} cells ({typical['calibrated_on']})."
    )


def _calibration(readouts: Mapping[str, Any]) -> str:
    found = {name: readout["calibration"] for name, readout in readouts.items() if readout.get("calibration")}
    if not found:
        return ""
    rows = ["## Calibration of probabilities", "", CALIBRATION, "| readout | temperature | log loss | ECE | cells |"]
    rows += ["|---|---|---|---|---|"]
    for name, report in found.items():
        pairs = [
            f"{_shown(report[f'{key}_before'])} to {_shown(report[f'{key}_after'])}" for key in ("log_loss", "ece")
        ]
        rows.append(
            f"| {_cell(name)} | {_shown(report['temperature'])} | {pairs[0]} | {pairs[1]} | {report['n_cells']:,} |"
        )
    return "\n".join(rows)


def _provenance(provenance: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in provenance.items() if key != "panel"}  # the panel has its own section
    return "## Provenance\n\n" + (_bullets(rest) or "Nothing was recorded.")


def _parameters(algorithm: CompactAlgorithm) -> str:
    counts = algorithm.n_parameters
    rows = [f"| {_cell(name)} | {number:,} |" for name, number in counts.items()]
    return "\n".join(["## Stored numbers", "", "| part | numbers |", "|---|---|", *rows])


def _bullets(value: Mapping[str, Any], depth: int = 0) -> str:
    lines = []
    for key, item in value.items():
        if isinstance(item, Mapping):
            lines += [f"{'  ' * depth}- {key}", _bullets(item, depth + 1)]
        else:
            lines.append(f"{'  ' * depth}- {key}: {_shown(item)}")
    return "\n".join(line for line in lines if line)


def _shown(item: Any) -> str:
    if item is None:
        return "not computable"
    if isinstance(item, bool):
        return "yes" if item else "no"
    if isinstance(item, float):
        return f"{item:.4g}"
    if isinstance(item, list):
        return _listed([_shown(part) for part in item])
    if isinstance(item, Mapping):
        return ", ".join(f"{key} {_shown(part)}" for key, part in item.items())
    return str(item)


def _listed(items: list[str]) -> str:
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(items[:SHOWN]) + more


def _cell(text: str) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")
