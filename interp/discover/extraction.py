"""The steps of an extraction: what a run found is kept as operators, compacted, taken apart and traced to genes."""

from __future__ import annotations

from functools import cached_property, reduce
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interp import evidence
from interp.biology import map_labels, marker_programs
from interp.cells.panel import expression
from interp.discover.job import Job
from interp.errors import InputError
from interp.evidence.adaptor_comparison import adaptor_comparison
from interp.evidence.adaptor_fits import CellSource
from interp.evidence.adaptors import AdaptorGrid, adaptor_table
from interp.evidence.chain import chain_table, top_head
from interp.evidence.factor_tables import factor_tables
from interp.evidence.readouts import readout_table, readout_values
from interp.extraction.attribution import attribution
from interp.extraction.factor_programs import program_table_of
from interp.extraction.factors import Factors, factor_genes
from interp.extraction.library import operator_library
from interp.extraction.operators import operator_table
from interp.extraction.weight_operators import ModelWeights
from interp.heads import best_heads
from interp.report.extraction import draw_extraction, write_extraction
from interp.runs.files import new_folder, write_csv

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from interp.discover.settings import ExtractSettings
    from interp.stats import Split

FOLDER = "extraction"


class Extraction(Job):
    """A run that goes on: all steps of the main job, then those of the extraction, into the folder `extraction/`.

    Attributes
    ----------
    settings
        An `ExtractSettings`.
    programs
        Gene programs that factors are named by; the project's own by default.
    """

    settings: ExtractSettings

    def __init__(self, *args: Any, programs: Mapping[str, Sequence[str]] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.programs = dict(programs or marker_programs(self.graph))
        self.out = self.path / FOLDER

    def run(self) -> None:
        """Run all steps in order; a step is redone when what it uses, or an earlier step's output, has changed."""
        super().run()
        if not self.splits:
            msg = "the panel has one donor: factors and chain are measured on donors that nothing was fitted to"
            raise InputError(msg)

        def do(name: str, outputs: list[str], make: Any, uses: Sequence[str] = ()) -> None:
            self._do(name, [f"{FOLDER}/{output}" for output in outputs], make, uses)

        do("library", ["operators", "operators.csv"], self._keep_operators, ["top_heads"])
        adaptors = ["adaptors.csv", "adaptor_values.csv", "adaptor_curves.csv", "adaptor_comparison.csv"]
        do("adaptors", adaptors, self._compare_adaptors, ["latents", "topologies"])
        do("readouts", ["readouts.csv", "readout_values.csv"], self._compare_readouts)
        do("chain", ["chain.csv", "chain_losses.csv", "chain_donors.csv"], self._compact)
        self._known["programs"] = self.programs
        factors = ["impact", "concentration", "curves", "core", "subsets", "overlap", "genes", "programs"]
        do("factors", [f"factor_{name}.csv" for name in factors], self._take_apart, ["rank", "rotations"])
        do("attribution", ["attribution.csv"], self._attribute, ["bootstraps"])
        do("extraction figures", ["figures"], lambda: draw_extraction(self.out))
        do("extraction summary", ["extraction.md"], lambda: write_extraction(self.path, self.out, self.name))

    # -- operators ---------------------------------------------------------------------------------------------------

    def _keep_operators(self) -> None:
        source, choice = self.campaign.source, self.choices[evidence.WHOLE]
        candidates = source.operators(self.panel.whole)
        table = pd.read_csv(self.path / "heads.csv")
        heads = best_heads(table, self.settings.top_heads, by=f"{evidence.ORDER}.stage.select")
        genes = source.genes[evidence.WHOLE]
        own = reduce(add, self.attention.of(self.model, "attention of the best heads", heads=heads).values())
        library = operator_library(
            candidates,
            choice.scores,
            pooled=source.training_sums(self.panel.whole),
            own=own.subset(genes),
            weights=ModelWeights.of(self.model, genes),
            provenance={"model": self.name, **self.identity},
        )
        with new_folder(self.out / "operators") as folder:
            for operator in library:
                operator.astype(np.float32).save(folder / f"{operator.name}.safetensors")
        write_csv(self.out / "operators.csv", operator_table(library))

    # -- what is fitted to the operator ------------------------------------------------------------------------------

    def _cell_features(self, split: Split, rows: np.ndarray) -> np.ndarray:
        """Features of some cells under the operator that a split chose, (row, feature)."""
        operator = self.campaign.source.operators(split)[self.choices[split.id].index]
        return operator.apply(expression(self.panels.internal[rows], operator.genes))

    def _compare_adaptors(self) -> None:
        settings, obs = self.settings, self.panels.internal.obs
        cells = CellSource(obs, self._cell_features, settings.seed)
        grid = AdaptorGrid(anchor_latents=settings.latents, topologies=settings.topologies)
        found = adaptor_table(self.panel, self.chosen.features, cells, self.solver, grid, seed=settings.seed)
        write_csv(self.out / "adaptor_values.csv", found.values)
        write_csv(self.out / "adaptor_curves.csv", found.curves)
        write_csv(self.out / "adaptor_comparison.csv", adaptor_comparison(found.values, seed=settings.seed))
        write_csv(self.out / "adaptors.csv", found.table.drop(columns="seconds"))

    @cached_property
    def coarse(self) -> dict[str, tuple[str, ...]]:
        """Labels that may be one of several stages."""
        labels = self.panels.internal.obs["cell_type"].astype(str).unique()
        found = map_labels(labels, self.graph)["candidates"]
        return {label: tuple(stages) for label, stages in found.items() if len(stages) > 1}

    def _compare_readouts(self) -> None:
        cells = self.panels.internal
        values = readout_values(
            self.panel, self.chosen.features, lambda split: self._cell_features(split, np.arange(cells.n_obs)),
            cells.obs, self.chosen.settings, self.solver, candidates=self.coarse, seed=self.settings.seed,
        )  # fmt: skip
        write_csv(self.out / "readout_values.csv", values)
        write_csv(self.out / "readouts.csv", readout_table(values, seed=self.settings.seed))

    # -- compaction --------------------------------------------------------------------------------------------------

    def _compact(self) -> None:
        found = chain_table(self.campaign, self.choices)
        write_csv(self.out / "chain_losses.csv", found.losses)
        write_csv(self.out / "chain_donors.csv", found.donors)
        write_csv(self.out / "chain.csv", found.steps)

    # -- factors -----------------------------------------------------------------------------------------------------

    @cached_property
    def head_operator(self) -> str:
        """Name of the best operator of a single head, chosen on all donors."""
        candidates = self.campaign.source.operators(self.panel.whole)
        return candidates[top_head(candidates, self.choices[evidence.WHOLE])].name

    def _take_apart(self) -> None:
        settings = self.settings
        tables, factors = factor_tables(
            self.campaign, self.head_operator, rank=settings.rank, n_rotations=settings.rotations, seed=settings.seed
        )
        tables = tables._replace(impact=tables.impact.assign(operator=self.head_operator))
        for name, table in tables._asdict().items():
            write_csv(self.out / f"factor_{name}.csv", table)
        write_csv(self.out / "factor_genes.csv", factor_genes(factors))
        write_csv(self.out / "factor_programs.csv", self._programs_of(factors))

    def _programs_of(self, factors: Factors) -> Any:
        return program_table_of(factors, self.programs, n_rotations=self.settings.rotations, seed=self.settings.seed)

    # -- genes -------------------------------------------------------------------------------------------------------

    def _attribute(self) -> None:
        final = self.final
        table = attribution(
            final.operator, final.anchors, self.graph, alpha=final.alpha, ridge=final.ridge, ruler=final.ruler,
            candidates=self.coarse, n_starts=final.n_starts, n_boot=self.settings.bootstraps, seed=final.seed,
        )  # fmt: skip
        write_csv(self.out / "attribution.csv", table)
