"""Time a whole extraction, from attention sums to the saved algorithm, and say where the minutes go.

``python perf/extraction_time.py [draws] [layers] [heads]``: 12 x 8 heads on 1,200 genes, some 300 anchors of 22
simulated donors, three donor splits, 20 draws of each random control by default. The sums are made up (random shares
of the counts), as only their size matters here; the forward pass that makes real ones is timed by capture_speed.py,
and untrained models, which need it once per draw, are left out. Beside the minutes stand those of all processors
together, which other work on the machine disturbs less.
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from interp import evidence
from interp.biology import StageGraph
from interp.capture import AttentionSums
from interp.cells import read_cells
from interp.cells.anchors import anchors, detection
from interp.cells.panel import expression, operator_genes
from interp.extraction.crossfit import CrossFit
from interp.extraction.final import FinalFit
from interp.runs.seeds import stream
from interp.runs.workers import one_thread_each, processors
from interp.simulate import simulate
from interp.stats import donor_folds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interp.stats import Split

N_GENES, N_DONORS, N_CELLS, N_SPLITS = 1200, 22, 16_000, 3
COLUMNS = {"donor": "donor", "tissue": "tissue", "cell_type": "cell_type", "study": "study"}


@contextmanager
def timed(what: str, minutes: dict[str, float]) -> Iterator[None]:
    """Note the minutes that a part takes, and print them beside those of all processors together."""
    start, busy = time.perf_counter(), time.process_time()
    yield
    minutes[what] = (time.perf_counter() - start) / 60
    print(f"{what:32s} {minutes[what]:6.2f} min, {(time.process_time() - busy) / 60:6.2f} of processors", flush=True)


def made_up_sums(genes: list[str], n_layers: int, n_heads: int, fold: str) -> AttentionSums:
    """Sums of attention that no model made, float64 (layer, head, gene, gene)."""
    rng, n = stream(0, "extraction time", fold), len(genes)
    count = rng.integers(1, 200, (n, n))
    sums = rng.random((n_layers, n_heads, n, n), dtype=np.float32).astype(np.float64)
    sums *= count / 500
    return AttentionSums(sums, count / 500, count, tuple(genes), 200)


def main(n_draws: int, n_layers: int, n_heads: int) -> None:
    """Run choice, controls, endpoints and export, and print the minutes of each."""
    minutes: dict[str, float] = {}
    graph = StageGraph.hematopoiesis()
    cells = read_cells(simulate(n_donors=N_DONORS, n_cells=N_CELLS, n_genes=N_GENES), **COLUMNS)
    splits = donor_folds(cells.obs["donor"].astype(str).to_numpy(), N_SPLITS, 0)
    genes = operator_genes(cells, vocabulary=cells.var_names, n_top=N_GENES)
    points = anchors(cells, genes)
    panel = evidence.Panel.from_anchors(points, graph, splits)
    every = {split.id: genes for split in splits} | {evidence.WHOLE: genes}
    sums = {split.id: made_up_sums(genes, n_layers, n_heads, split.id) for split in splits}
    campaign = evidence.Campaign(panel, CrossFit(sums, every, points), evidence.Solver(), 0)
    sizes = f"{n_layers * n_heads} heads, {len(genes)} genes, {len(points)} anchors"
    detected = detection(cells, genes).features
    print(f"{sizes}, {n_draws} draws, {processors()} cores")

    def correlation(split: Split) -> np.ndarray:
        training = cells[cells.obs["donor"].isin(split.train_donors).to_numpy()]
        return evidence.gene_correlation(expression(training, genes))

    with one_thread_each(), tempfile.TemporaryDirectory() as folder:
        with timed("choice of operators", minutes):
            choices, _ = campaign.scan([*splits, panel.whole])
        with timed("controls", minutes):
            controls, _ = campaign.controls(
                correlation=correlation,
                tokens=lambda _: detected,
                n_draws=n_draws,
                untrained=lambda _: campaign.source,
                n_untrained=0,
            )
        with timed("endpoints", minutes):
            values, _ = campaign.endpoints([evidence.arm_of(campaign.candidates, choices), *controls])
        with timed("verdict", minutes):
            evidence.verdict(values)
        with timed("fit, folding, export", minutes):
            choice = choices[evidence.WHOLE]
            operator = campaign.source.operators(panel.whole)[choice.index]
            operator = replace(operator, matrix=operator.matrix.astype(np.float32))
            final = FinalFit(operator, points, graph, choice.settings.alpha, choice.settings.ridge)
            final.algorithm("made-up", cells, {}).save(Path(folder) / "algorithm")
    print(f"{'all':32s} {sum(minutes.values()):6.2f} min, {time.process_time() / 60:6.2f} of processors")


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    main(*(numbers + [20, 12, 8][len(numbers) :]))
