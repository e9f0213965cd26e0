"""Take three planted worlds through nulls and gates, without any model, and write what was called readable.

Usage: python artifacts/recipes/worlds.py [OUT]
"""

from __future__ import annotations

import logging
import sys
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from interp.discover.panels import STAGES
from interp.evidence import ALPHA
from interp.evidence.calibration import PLANTED, CalibrationSizes, WorldResult, calibrate
from interp.evidence.verdict import READABLE
from interp.report.tables import markdown, shown
from interp.runs.files import write_text

log = logging.getLogger(__name__)
SIZES = CalibrationSizes(stages=STAGES, n_coherent=99, n_other=29)
ABOUT = """\
Simulated atlases whose truth is known, through the order endpoint, the null families and the gates. No model: the
features are the anchors' own expression, tuned on training donors like any arm. In `ordered` the programs follow the
stage graph. In `labels-only` every stage has a program of its own that knows of no other. In `study-is-stage` the same
holds, and three studies with effects of their own hold other stages each, so that stage and study cannot be told apart.

Made by `python artifacts/recipes/worlds.py`: {sizes}."""


def main(out: Path) -> None:
    """Calibrate every world and write the tables."""
    results = []
    for world in PLANTED:
        log.info("%s", world)
        results.append(calibrate(world, sizes=SIZES))
    write_text(out, page(results))


def page(results: list[WorldResult]) -> str:
    """Write the results as Markdown."""
    sizes = ", ".join(
        f"{name} {len(value) if isinstance(value, tuple) else value}" for name, value in asdict(SIZES).items()
    )
    parts = [
        "# Planted worlds",
        ABOUT.format(sizes=sizes),
        "## What was said\n\n" + markdown(pd.DataFrame([_said(result) for result in results])),
        "## Null families of the order\n\n" + markdown(pd.DataFrame([row for r in results for row in _families(r)])),
        "## The paper's gates\n\nA gate that most null draws pass tells nothing, whatever its value.\n\n"
        + markdown(pd.DataFrame([row for r in results for row in _gates(r)])),
    ]
    return "\n\n".join(parts) + "\n"


def _said(result: WorldResult) -> dict:
    row = {"world": result.world, "order planted": PLANTED[result.world]}
    row |= {"anchors": result.n_anchors, "stages": result.n_stages}
    if result.order is None:
        return row | {"readable": "not computable"}
    found, readable = result.order, result.order["readable"]
    return row | {
        "donors": found["n_donors"], "order": found["value"],
        "95 % interval": f"{shown(found['lo'])} to {shown(found['hi'])}", "largest null mean": found["base"]["mean"],
        "above it by": found["base"]["above_by"], "said": readable["status"],
        "as planted": (readable["status"] == READABLE) == PLANTED[result.world], "reason": readable["reason"],
    }  # fmt: skip


def _families(result: WorldResult) -> list[dict]:
    if result.order is None:
        return []
    value = result.order["value"]
    return [
        {
            "world": result.world, "family": family, "draws": c["n_draws"], "observed": value, "mean": c["null_mean"],
            "sd": c["null_sd"], "95th percentile": c["percentile"], "p over draws": c["p_draws"],
            "p over donors": c["p_donors"], "passes": value > c["percentile"] and c["p_donors"] < ALPHA,
        }
        for family, c in result.order["readable"]["against"].items()
    ]  # fmt: skip


def _gates(result: WorldResult) -> list[dict]:
    columns = {
        "gate": "gate", "pairs": "pairs", "value": "value", "threshold": "threshold", "status": "status",
        "null_pass_rate": "null pass rate", "reason": "reason",
    }  # fmt: skip
    return [{"world": result.world} | {words: row[name] for name, words in columns.items()} for row in result.gates]


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "artifacts/runs/worlds.md"))
