"""The steps of the main job, in order; each reads what earlier steps wrote, so a run can stop and go on anywhere."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interp import evidence
from interp.biology import sensitivity_rulers
from interp.cells.anchors import anchors, detection
from interp.cells.panel import expression, measured_genes
from interp.discover.attention import FoldAttention
from interp.discover.panels import Panels, without_stages
from interp.discover.plan import check_ruler, disjoint_report, label_report, plan_genes, plan_splits
from interp.discover.screens import HeadScreens
from interp.extraction.crossfit import CrossFit
from interp.extraction.final import FinalFit
from interp.extraction.weight_operators import needed_weights
from interp.heads import score_table, write_head_tables
from interp.report.pictures import draw_figures
from interp.report.summary import write_summary
from interp.runs.files import write_csv, write_json
from interp.scgpt.fit_check import check_fit
from interp.scgpt.identity import model_sha256
from interp.scgpt.load import untrained_like
from interp.stats import donor_folds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from anndata import AnnData

    from interp.biology import Ruler, StageGraph
    from interp.capture import AttentionSums
    from interp.cells.anchors import Anchors
    from interp.discover.settings import DiscoverSettings
    from interp.extraction.algorithm import CompactAlgorithm
    from interp.extraction.weight_operators import ModelWeights
    from interp.runs.folder import RunFolder
    from interp.scgpt.model import HookedScGPT
    from interp.stats import Split

log = logging.getLogger(__name__)

_NO_VALUES = pd.DataFrame(columns=["endpoint", "control", "draw", "donor", "value"])


class Job:
    """The steps of one run; each reads what earlier steps wrote."""

    def __init__(
        self,
        folder: RunFolder,
        model: HookedScGPT,
        panels: Panels,
        *,
        settings: DiscoverSettings,
        graph: StageGraph,
        ruler: Ruler,
        name: str,
    ) -> None:
        self.folder, self.path, self.model, self.name = folder, folder.path, model, name
        self.settings, self.graph, self.ruler = settings, graph, ruler
        self.panels = panels if panels.negative is None else replace(panels, negative=without_stages(panels.negative))
        check_ruler(self.panels, ruler)
        self.splits = plan_splits(panels.internal, settings.n_splits, settings.seed)
        self.genes = plan_genes(self.panels, self.splits, model.vocabulary.genes, settings.genes)
        union = sorted(set().union(*self.genes.values()))
        self.anchors = anchors(panels.internal, union)
        self.panel = evidence.Panel.from_anchors(self.anchors, graph, self.splits, ruler=ruler)
        self.solver = evidence.Solver(seed=settings.seed)
        self.attention = FoldAttention(
            panels.internal, self.splits, union, settings.attention_cells, settings.seed, settings.kinds
        )
        self.weights = needed_weights(model, union, settings.kinds)
        self.screens = HeadScreens(model, panels.internal, settings, self.path)
        self.identity = {"model_sha256": model_sha256(model), "panels": self.panels.hashes}
        self._known: dict[str, Any] = {**self.identity, "graph": graph.to_frame().to_dict("list")}
        self._known["ruler"] = ruler.identity

    def run(self) -> None:
        """Run all steps in order; a step is redone when what it uses, or an earlier step's output, has changed."""
        do = self._do
        plan = ["splits.json", "labels.csv", "disjoint.csv", "model_check.csv"]
        do("panels", plan, self._describe_panels, ["seed", "n_splits", "genes"])
        self._known["attention_parts"] = self.attention.parts
        do("attention", ["attention.zarr"], self._sum_attention, ["attention_cells"])
        do("heads", ["choices.json", "head_scores.csv"], self._scan_heads, ["kinds"])
        probes = ["activations.zarr", "probes.csv", "probe_baselines.csv"]
        do("probes", probes, self.screens.probe, ["probe_cells", "probe_draws"])
        do("ablation", ["ablation.csv", "used.json"], self._ablate_heads, ["ablation_cells"])
        controls = ["controls.csv", "order.csv", "head_nulls.csv"]
        do("controls", controls, self._measure_controls, ["draws", "untrained_draws"])
        do("head tables", ["scores.csv", "heads.csv"], self._tabulate_heads)
        do("nulls", ["nulls.csv", "null_order.csv"], self._measure_nulls, ["label_nulls", "other_nulls"])
        do("rulers", ["rulers.csv", "ruler_order.csv"], self._vary_ruler)
        do("branches", ["branches.csv"], self._split_by_branch)
        do("headroom", ["headroom.csv"], self._measure_headroom)
        do("algorithm", ["operators", "latents.csv", "learning_curve.csv"], self._fit_algorithm, ["final_starts"])
        do("external", ["external.csv"], self._try_outside)
        do("gates", ["gates.json"], self._measure_gates, ["gate_nulls"])
        do("negative control", ["negative.csv"], self._control_negatively, ["negative_draws"])
        do("verdict", ["verdict.json"], self._judge)
        do("export", ["algorithm"], self._export)
        do("figures", ["figures"], lambda: draw_figures(self.path, self.graph))
        do("summary", ["summary.md"], lambda: write_summary(self.path, self.name))

    def _do(self, name: str, outputs: list[str], make: Callable[[], None], uses: Sequence[str] = ()) -> None:
        """Run one step unless it stands; it depends on the settings it uses and on all that earlier steps did."""
        settings = asdict(self.settings)
        self._known.update({key: settings[key] for key in uses})
        self.folder.step(name, inputs=self._known, outputs=outputs, make=lambda _: make())
        self._known[name] = [self.folder.sha256(output) for output in outputs]

    def _sum_attention(self) -> None:
        self.attention.save(self.model, self.path / "attention.zarr")

    # -- the panel ---------------------------------------------------------------------------------------------------

    def _describe_panels(self) -> None:
        splits = [{"id": s.id, "train_donors": s.train_donors, "test_donors": s.test_donors} for s in self.splits]
        anchors = list(self.anchors.obs.index)
        write_json(self.path / "splits.json", {"splits": splits, "genes": self.genes, "anchors": anchors})
        write_csv(self.path / "labels.csv", label_report(self.panels))
        write_csv(self.path / "disjoint.csv", disjoint_report(self.panels))
        fit = check_fit(self.model, self.panels.internal, seed=self.settings.seed)
        for warning in fit.warnings:
            log.warning("Does the model fit the cells? %s", warning)
        write_csv(self.path / "model_check.csv", fit.scores)

    # -- heads and operators -----------------------------------------------------------------------------------------

    @cached_property
    def campaign(self) -> evidence.Campaign:
        """The model's operators, from the attention sums on disk."""
        sums = self.attention.load(self.path / "attention.zarr")
        source = self._source(sums, self.weights, self.identity)
        return evidence.Campaign(self.panel, source, self.solver, self.settings.seed)

    def _source(
        self, sums: dict[str, AttentionSums], weights: ModelWeights | None, provenance: dict[str, Any]
    ) -> CrossFit:
        return CrossFit(sums, self.genes, self.anchors, self.settings.kinds, weights, provenance)

    @cached_property
    def choices(self) -> dict[str, evidence.Choice]:
        """What each split, and all donors together, chose."""
        return evidence.read_choices(self.path / "choices.json")

    @property
    def chosen(self) -> evidence.Arm:
        """The arm under test."""
        return evidence.arm_of(self.campaign.candidates, self.choices)

    def _scan_heads(self) -> None:
        found, scores = self.campaign.scan([*self.splits, self.panel.whole])
        write_csv(self.path / "head_scores.csv", scores)
        write_json(self.path / "choices.json", {split: asdict(choice) for split, choice in found.items()})

    def _ablate_heads(self) -> None:
        """Ablate every head, and for each donor those that its split chose without it."""
        named = {
            donor: self.campaign.source.operators(split)[self.choices[split.id].index].heads
            for split in self.splits
            for donor in split.test_donors
        }
        self.screens.ablate(named)

    # -- evidence ----------------------------------------------------------------------------------------------------

    def _correlation(self, split: Split) -> np.ndarray:
        cells = self.panels.internal
        training = cells[cells.obs["donor"].isin(split.train_donors).to_numpy()]
        return evidence.gene_correlation(expression(training, self.genes[split.id]))

    @cached_property
    def _detected(self) -> Anchors:
        return detection(self.panels.internal, self.anchors.genes)

    def _tokens(self, split: Split) -> np.ndarray:
        at = {gene: i for i, gene in enumerate(self.anchors.genes)}
        return self._detected.features[:, [at[gene] for gene in self.genes[split.id]]]

    def _untrained(self, draw: int) -> CrossFit:
        model = untrained_like(self.model, seed=self.settings.seed + draw)
        weights = needed_weights(model, self.attention.genes, self.settings.kinds)
        return self._source(self.attention.of(model, f"untrained model {draw}"), weights, {"untrained": draw})

    def _measure_controls(self) -> None:
        settings, arms, scores = self.settings, [self.chosen], evidence.NO_SCORES
        if self.splits:
            controls, scores = self.campaign.controls(
                correlation=self._correlation,
                tokens=self._tokens,
                n_draws=settings.draws,
                untrained=self._untrained,
                n_untrained=settings.untrained_draws,
            )
            arms += controls
        values, order = self.campaign.endpoints(arms)
        write_csv(self.path / "order.csv", order)
        write_csv(self.path / "controls.csv", values)
        write_csv(self.path / "head_nulls.csv", scores)

    def _tabulate_heads(self) -> None:
        series = {"metric": evidence.ORDER, "target": "stage"}
        scores, nulls = (_read_scores(self.path / name) for name in ("head_scores.csv", "head_nulls.csv"))
        scores = scores[scores["split"] != evidence.WHOLE] if self.splits else scores
        nulls = nulls.groupby(["name", "role", "draw"])["value"].mean().reset_index()
        table = score_table(scores.assign(**series), nulls=nulls.assign(**series), seed=self.settings.seed)
        write_head_tables(pd.concat([table, self.screens.scores()], ignore_index=True), self.path)

    def _measure_nulls(self) -> None:
        settings = self.settings
        n = {"n_coherent": settings.label_nulls, "n_other": settings.other_nulls}
        values, order = self.campaign.endpoints(
            evidence.null_arms(self.chosen, self.panel, seed=settings.seed, **n) if self.splits else []
        )
        write_csv(self.path / "null_order.csv", order)
        write_csv(self.path / "nulls.csv", values)

    def _vary_ruler(self) -> None:
        others, seed = sensitivity_rulers(self.graph), self.settings.seed
        table, order = evidence.ruler_sensitivity(
            self.panel, self.chosen, self.ruler, others, self.graph, self.solver, seed=seed
        )
        write_csv(self.path / "ruler_order.csv", order)
        write_csv(self.path / "rulers.csv", table)

    def _split_by_branch(self) -> None:
        order, nulls = (pd.read_csv(self.path / name) for name in ("order.csv", "null_order.csv"))
        table = evidence.branch_table(self.panel, self.graph, order, nulls, seed=self.settings.seed)
        write_csv(self.path / "branches.csv", table)

    def _measure_headroom(self) -> None:
        loadings = evidence.true_loadings(self.panels.internal)
        known = loadings is not None and bool(self.splits)
        write_csv(self.path / "headroom.csv", self.campaign.oracle(loadings) if known else _NO_VALUES)

    def _headroom(self) -> dict[str, float] | None:
        """What the true programs reach above no operator, per endpoint; None for real cells."""
        reached = pd.read_csv(self.path / "headroom.csv")
        if reached.empty:
            return None
        controls = pd.read_csv(self.path / "controls.csv")
        without = controls[controls["control"] == evidence.NO_OPERATOR]
        return (reached.groupby("endpoint")["value"].mean() - without.groupby("endpoint")["value"].mean()).to_dict()

    # -- the algorithm -----------------------------------------------------------------------------------------------

    @cached_property
    def final(self) -> FinalFit:
        """The operator chosen on all donors, fitted on all anchors."""
        whole, choice = self.panel.whole, self.choices[evidence.WHOLE]
        operator = self.campaign.source.operators(whole)[choice.index]
        at = {gene: i for i, gene in enumerate(self.anchors.genes)}
        features = self.anchors.features[:, [at[gene] for gene in operator.genes]]
        return FinalFit(
            operator.astype(np.float32),
            replace(self.anchors, features=features, genes=operator.genes),
            self.graph,
            choice.settings.alpha,
            choice.settings.ridge,
            self.settings.final_starts,
            self.settings.seed,
            self.ruler,
        )

    @cached_property
    def algorithm(self) -> CompactAlgorithm:
        """The folded algorithm, before anything was said of it."""
        provenance = {"model": self.name, **self.identity, "ruler": self.ruler.identity}
        provenance["settings"] = asdict(self.settings)
        name = f"hematopoiesis-{self.name.removeprefix('scgpt-')}"
        return self.final.algorithm(name, self.panels.internal, provenance)

    def _fit_algorithm(self) -> None:
        final = self.final
        final.operator.save(self.path / "operators" / f"{final.operator.name}.safetensors")
        curve = final.fit.losses_
        write_csv(self.path / "learning_curve.csv", pd.DataFrame({"iteration": range(len(curve)), "loss": curve}))
        latents = final.latents(final.anchors.features)
        columns = [f"z{i}" for i in range(latents.shape[1])]
        table = pd.concat([self.anchors.obs, pd.DataFrame(latents, self.anchors.obs.index, columns)], axis=1)
        write_csv(self.path / "latents.csv", table, index=True)

    def _try_outside(self) -> None:
        """Read the external panel's cells by the frozen algorithm, donor by donor."""
        cells, rows = self.panels.external, []
        if cells is not None:
            totals = cells.obs["total_counts"].to_numpy()
            latents = self.algorithm.latents(cells.X, list(cells.var_names), total_counts=totals)
            rows = evidence.read_cells_by_donor(self.algorithm, latents, cells.obs)
        write_csv(self.path / "external.csv", pd.DataFrame(rows, columns=["metric", "donor", "value", "n_cells"]))

    # -- gates and the end -------------------------------------------------------------------------------------------

    def _measure_gates(self) -> None:
        settings = self.settings
        seeds = {"seed": settings.seed, "n_null": settings.gate_nulls}
        rows = evidence.gates(self.panel, self.chosen, self.solver, **seeds)
        if self.panels.external is not None:
            outside = anchors(self.panels.external, self.final.operator.genes)
            panel = evidence.Panel.from_anchors(outside, self.graph, (), "external", self.ruler)
            rows += evidence.frozen_gates(panel, self.final.latents(outside.features), outside.features, **seeds)
        write_json(self.path / "gates.json", rows)

    def _control_negatively(self) -> None:
        cells, settings = self.panels.negative, self.settings
        if cells is None:
            write_csv(self.path / "negative.csv", pd.DataFrame(columns=["gate", "pairs", "pass_rate"]))
            return
        other = self._negative_anchors(cells)
        donors = other.obs["donor"].to_numpy()
        n_splits = min(settings.n_splits, len(set(donors)))
        panel = evidence.negative_panel(
            other, self.graph, donor_folds(donors, n_splits, settings.seed) if n_splits > 1 else [], self.ruler
        )
        features = self.final.operator.apply(other.features)
        fitted = self.choices[evidence.WHOLE].settings
        arm = evidence.Arm(
            "negative", lambda _: features, settings={s.id: fitted for s in (*panel.splits, panel.whole)}
        )
        draws = {"seed": settings.seed, "n_draws": settings.negative_draws}
        table = evidence.negative_control(panel, arm, self.graph, self.solver, **draws, ruler=self.ruler)
        write_csv(self.path / "negative.csv", table)

    def _negative_anchors(self, cells: AnnData) -> Anchors:
        """Average the negative cells; genes that they were not measured for stand at the internal anchors' mean."""
        genes = np.array(self.final.operator.genes, dtype=object)
        measured = measured_genes(cells).all(axis=1)
        there = measured.reindex(genes, fill_value=False).to_numpy(bool)
        log.info("%d of %d genes were not measured in the negative panel", (~there).sum(), len(genes))
        other = anchors(cells, list(genes[there]))
        features = np.tile(self.final.anchors.features.mean(axis=0), (len(other), 1))
        features[:, there] = other.features
        return replace(other, features=features, genes=tuple(genes))

    def _judge(self) -> None:
        table = pd.concat([pd.read_csv(self.path / name) for name in ("controls.csv", "nulls.csv")])
        judged: dict[str, Any] = {"endpoints": {}}
        if self.splits:
            families = evidence.null_families(self.panel)
            judged = evidence.verdict(table, nulls=families, headroom=self._headroom(), seed=self.settings.seed)
        judged["used"] = json.loads((self.path / "used.json").read_text())
        write_json(self.path / "verdict.json", judged)

    def _export(self) -> None:
        endpoints = json.loads((self.path / "verdict.json").read_text())["endpoints"]
        words = {
            name: {"readable": found["readable"]["status"], "model_specific": found["model_specific"]["status"]}
            for name, found in endpoints.items()
        }
        metrics = {
            name: {key: found[key] for key in ("value", "lo", "hi", "n_donors")}
            | {"largest_null_mean": found["base"]["mean"], "above_it_by": found["base"]["above_by"]}
            for name, found in endpoints.items()
        }
        self.algorithm.described(verdict=words, metrics=metrics).save(self.path / "algorithm")


def _read_scores(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, float_precision="round_trip")  # the default is off by a last digit now and then
