"""The main job: from cells and a model to heads, a compact algorithm, gates, matched controls and a verdict."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interp import evidence
from interp.biology import StageGraph, map_labels
from interp.capture import AttentionSums, attention_sums
from interp.cells.anchors import anchors
from interp.cells.disjoint import check_disjoint
from interp.cells.panel import expression, operator_genes
from interp.errors import InputError
from interp.extraction.algorithm import CompactAlgorithm
from interp.extraction.crossfit import CrossFit
from interp.extraction.folding import fold
from interp.extraction.let import LetProblem, fit_let
from interp.extraction.readout import fit_readouts, root_centroid
from interp.extraction.span import SpanBasis
from interp.heads import score_table, write_head_tables
from interp.report.pictures import draw_figures
from interp.report.summary import write_summary
from interp.runs.files import sha256_arrays, sha256_json, write_csv, write_json
from interp.runs.folder import RunFolder
from interp.runs.progress import progress
from interp.runs.seeds import stream
from interp.scgpt.evaluate import masked_value_scores
from interp.scgpt.load import load_model, untrained_like
from interp.simulate import simulate
from interp.stats import donor_folds

if TYPE_CHECKING:
    from anndata import AnnData

    from interp.evidence import Candidates, Choice, Panel
    from interp.extraction.let import LetFit
    from interp.extraction.operators import Operator
    from interp.scgpt.model import HookedScGPT
    from interp.scgpt.tokens import GeneTokens
    from interp.stats import Split

log = logging.getLogger(__name__)

DEFAULT_MODEL = "scgpt-sim"
# Seeds of the embedded default: the atlas, an external panel of other donors, and cells of no hematopoietic stage.
ATLAS_SEED, EXTERNAL_SEED, NEGATIVE_SEED = 0, 1, 2
CHECK_CELLS = 300
GENE_MEAN = "gene mean"


@dataclass(frozen=True)
class DiscoverSettings:
    """Sizes of the main job.

    `attention_cells` is the number of training cells whose attention makes an operator; `genes` the largest operator
    panel; `draws` the draws of each random control and `untrained_draws` those of the untrained model; `label_nulls` and
    `other_nulls` the refits of each null family; `gate_nulls` the null draws behind each gate's pass rate;
    `negative_draws` the random stagings of the negative control.
    """

    seed: int = 0
    n_splits: int = 3
    attention_cells: int = 600
    genes: int = 1200
    draws: int = 20
    untrained_draws: int = 20
    label_nulls: int = 199
    other_nulls: int = 99
    gate_nulls: int = 20
    negative_draws: int = 50
    final_starts: int = 5


@dataclass(frozen=True)
class Panels:
    """The cells of a run, from `read_cells`."""

    internal: AnnData
    external: AnnData | None = None
    negative: AnnData | None = None


def embedded_panels() -> Panels:
    """Return the embedded default: a simulated atlas of 15 donors, an external one, and a world without hematopoiesis."""
    from interp.cells import read_cells

    columns = {"donor": "donor", "tissue": "tissue", "cell_type": "cell_type"}
    atlas, external = (
        read_cells(simulate(n_donors=donors, n_cells=cells, seed=seed), **columns, study=None)
        for donors, cells, seed in ((15, 6000, ATLAS_SEED), (8, 2400, EXTERNAL_SEED))
    )
    other = simulate(n_donors=6, n_cells=1500, seed=NEGATIVE_SEED, world="unrelated")
    return Panels(atlas, external, read_cells(other, **columns, study=None, require_stages=False))


def _hash(panel: AnnData | None) -> str | None:
    return None if panel is None else panel.uns["interp"]["panel"]["sha256"]


def _model_hash(model: HookedScGPT) -> str:
    weights = {name: value.detach().cpu().numpy() for name, value in model.state_dict().items()}
    return sha256_json({"config": model.config.to_args(), "vocabulary": model.vocabulary.sha256, "weights": sha256_arrays(**weights)})


def _without_stages(cells: AnnData | None) -> AnnData | None:
    """Leave out the cells of a negative panel that the stage graph knows."""
    if cells is None:
        return None
    known = cells.obs["branch"].notna().to_numpy() | cells.obs["stage"].notna().to_numpy()
    if known.all():
        msg = "all cells of the negative panel have a hematopoietic label; give cells of other tissues"
        raise InputError(msg)
    if known.any():
        log.info("%d cells of the negative panel have a hematopoietic label and are left out", known.sum())
    return cells[~known].copy()


def discover(
    model: HookedScGPT | str | Path = DEFAULT_MODEL,
    cells: AnnData | None = None,
    *,
    external: AnnData | None = None,
    negative: AnnData | None = None,
    out: str | Path,
    settings: DiscoverSettings | None = None,
    graph: StageGraph | None = None,
) -> Path:
    """Find the heads that hold the stage order, extract them, and measure whether the model deserves the credit.

    Parameters
    ----------
    model
        A model, a checkpoint folder, or `scgpt-mini` or `scgpt-sim`.
    cells
        Panel from `read_cells`; the embedded simulated atlas when None.
    external
        Panel of other donors that the frozen algorithm is tried on.
    negative
        Panel of non-hematopoietic cells; cells that the stage graph knows are left out.
    out
        Run folder; an interrupted run continues there.
    settings
        Sizes of the job.
    graph
        Stage graph; hematopoiesis by default.

    Returns
    -------
    pathlib.Path
        The run folder, with `summary.md`, `verdict.json`, `algorithm/`, tables and figures.

    Raises
    ------
    InputError
        An external panel shares cells or donors with the internal one, or too little of a panel maps to the graph.
    """
    settings = settings or DiscoverSettings()
    panels = embedded_panels() if cells is None else Panels(cells, external, negative)
    if isinstance(model, str | Path):
        name, model = str(model), load_model(model)
    else:
        name = "model in memory"
    config = {"model": name, "settings": asdict(settings), "panels": {k: _hash(v) for k, v in vars(panels).items()}}
    with RunFolder.open(out, config) as run:
        _Job(run, model, panels, settings, graph or StageGraph.hematopoiesis(), name).run()
    return Path(out)


class _Job:
    """The steps of one run; each reads what earlier steps wrote."""

    def __init__(
        self, run: RunFolder, model: HookedScGPT, panels: Panels, settings: DiscoverSettings, graph: StageGraph, name: str
    ) -> None:
        self.folder, self.model, self.settings, self.graph = run, model, settings, graph
        self.path = run.path
        self.name = name
        self.panels = replace(panels, negative=_without_stages(panels.negative))
        self.splits, self.genes = self._plan()
        union = sorted(set().union(*self.genes.values()))
        self.anchors = anchors(panels.internal, union)
        self.panel = evidence.Panel.from_anchors(self.anchors, graph, self.splits)
        self.identity = {
            "model": _model_hash(model), "panels": {k: _hash(v) for k, v in vars(panels).items()},
            "settings": asdict(settings), "graph": graph.to_frame().to_dict("list"),
        }  # fmt: skip
        self.solver = evidence.Solver(seed=settings.seed)
        self.tokens: dict[str, GeneTokens] = {}  # an untrained model reads the same tokens

    def run(self) -> None:
        """Run all steps in order."""
        step = self.folder.step
        known: dict[str, Any] = dict(self.identity)

        def do(name: str, outputs: list[str], make: Any) -> None:
            step(name, inputs=known, outputs=outputs, make=lambda _: make())
            known[name] = [self.folder.sha256(output) for output in outputs]

        do("panels", ["splits.json", "labels.csv", "disjoint.csv", "model_check.csv"], self._describe_panels)
        do("attention", ["attention.zarr"], self._sum_attention)
        do("heads", ["choices.json", "scores.csv", "heads.csv"], self._scan_heads)
        do("controls", ["controls.csv", "order.csv"], self._measure_controls)
        do("nulls", ["nulls.csv", "null_order.csv"], self._measure_nulls)
        do("algorithm", ["operators", "latents.csv"], self._fit_algorithm)
        do("external", ["external.csv"], self._try_outside)
        do("gates", ["gates.json", "negative.csv"], self._measure_gates)
        do("verdict", ["verdict.json"], self._judge)
        do("export", ["algorithm"], self._export)
        do("figures", ["figures"], self._draw)
        do("summary", ["summary.md"], self._summarise)

    # -- the panel ---------------------------------------------------------------------------------------------------

    def _plan(self) -> tuple[list[Split], dict[str, list[str]]]:
        """Split the donors and choose the genes of each split on its training donors."""
        cells, settings = self.panels.internal, self.settings
        donors = cells.obs["donor"].astype(str).to_numpy()
        studies = cells.obs["study"].astype(str).to_numpy()
        n_donors = len(set(donors))
        splits = [] if n_donors < 2 else donor_folds(donors, min(settings.n_splits, n_donors), settings.seed, strata=studies)
        if n_donors < 2:
            log.warning("The panel has one donor: nothing can be held out, so donor gates and verdicts are not computable.")
        others = [panel for panel in (self.panels.external, self.panels.negative) if panel is not None]
        vocabulary = self.model.vocabulary.genes

        def choose(training_donors: tuple[str, ...] | None) -> list[str]:
            return operator_genes(cells, vocabulary=vocabulary, n_top=settings.genes, training_donors=training_donors, extra=others)

        genes = {split.id: choose(split.train_donors) for split in splits}
        return splits, genes | {evidence.WHOLE: choose(None)}

    def _describe_panels(self) -> None:
        panels = self.panels
        splits = [{"id": s.id, "train_donors": s.train_donors, "test_donors": s.test_donors} for s in self.splits]
        write_json(self.path / "splits.json", {"splits": splits, "genes": self.genes, "anchors": list(self.anchors.obs.index)})
        labels = [
            pd.DataFrame(panel.uns["interp"]["labels"]).assign(panel=name) for name, panel in vars(panels).items() if panel is not None
        ]
        write_csv(self.path / "labels.csv", pd.concat(labels))
        reports = [
            check_disjoint(panels.internal, panel, raise_if_shared=name == "external").assign(panel=name)
            for name, panel in vars(panels).items()
            if panel is not None and name != "internal"
        ]
        report = pd.concat(reports) if reports else pd.DataFrame(columns=["panel", "check", "status"])
        write_csv(self.path / "disjoint.csv", report)
        scores = masked_value_scores({"model": self.model}, panels.internal, panels.internal, n_cells=CHECK_CELLS, seed=self.settings.seed)
        r2 = scores.set_index("predictor")["r2"]
        if not r2["model"] > r2[GENE_MEAN]:
            log.warning(
                "The model predicts masked values of these cells no better than each gene's mean (R2 %.3f against %.3f): it "
                "may not fit them (other organism, normalised counts).", r2["model"], r2[GENE_MEAN],
            )  # fmt: skip
        write_csv(self.path / "model_check.csv", scores)

    # -- heads and operators -----------------------------------------------------------------------------------------

    def _folds(self) -> list[tuple[str, tuple[str, ...]]]:
        """Donors of each fold; all of them where there are no splits."""
        return [(s.id, s.test_donors) for s in self.splits] or [("fold0", self.panel.whole.train_donors)]

    def _attention(self, model: HookedScGPT, description: str) -> dict[str, AttentionSums]:
        """Sum attention over a sample of each fold's cells, so that a split's training folds hold `attention_cells`."""
        cells, settings, folds = self.panels.internal, self.settings, self._folds()
        share = settings.attention_cells * len(folds) / max(1, len(folds) - 1) / cells.n_obs
        sums = {}
        for fold, donors in folds:
            rows = np.flatnonzero(cells.obs["donor"].isin(donors).to_numpy())
            order = stream(settings.seed, f"discover.attention {fold}").permutation(len(rows))
            picked = np.sort(rows[order[: max(1, round(min(1.0, share) * len(rows)))]])
            if fold not in self.tokens:
                self.tokens[fold] = model.tokenize(cells[picked], seed=settings.seed)
            tokens = self.tokens[fold]
            sums[fold] = attention_sums(model, tokens, self.anchors.genes, description=f"{description}, {fold}")
        return sums

    def _sum_attention(self) -> None:
        folder = self.path / "attention.zarr"
        for fold, sums in self._attention(self.model, "attention").items():
            sums.save(folder / fold)

    def _candidates(self) -> Candidates:
        sums = {fold: AttentionSums.load(self.path / "attention.zarr" / fold) for fold, _ in self._folds()}
        self.crossfit = CrossFit(sums, self.genes, self.anchors)
        return evidence.Candidates(evidence.CHOSEN, self.crossfit.operators, self.crossfit.expression)

    def _choose(self, candidates: Candidates, *, whole: bool = False) -> dict[str, Choice]:
        splits = [*self.splits, self.panel.whole] if whole else self.splits
        return evidence.choices(candidates, self.panel, splits, self.solver, seed=self.settings.seed)

    def _scan_heads(self) -> None:
        candidates = self._candidates()
        chosen = self._choose(candidates, whole=True)
        write_json(self.path / "choices.json", {split: asdict(choice) for split, choice in chosen.items()})
        tables = [evidence.selection_scores(candidates, self.panel, chosen), evidence.endpoint_scores(candidates, self.panel, self.solver)]
        scores = pd.concat([table[table["split"] != evidence.WHOLE] for table in tables])
        scores = scores.rename(columns={"candidate": "name"}).assign(metric=evidence.ORDER, target="stage")
        write_head_tables(score_table(scores, seed=self.settings.seed), self.path)

    def _chosen(self) -> tuple[Candidates, evidence.Arm]:
        candidates = self._candidates()
        return candidates, evidence.arm_of(candidates, evidence.read_choices(self.path / "choices.json"))

    # -- evidence ----------------------------------------------------------------------------------------------------

    def _control_arms(self, candidates: Candidates) -> list[evidence.Arm]:
        """Choose and tune every control as the model's own operators were."""
        settings, genes = self.settings, self.genes
        fixed = [
            evidence.no_operator(candidates),
            evidence.coexpression(candidates, self._correlation, lambda split: genes[split.id]),
            evidence.cooccurrence(candidates, self.crossfit.counts, lambda split: genes[split.id]),
        ]
        drawn = [(name, draw) for name in evidence.RANDOM_CONTROLS for draw in range(settings.draws)]
        arms = [self._frozen(control) for control in fixed]
        for name, draw in progress(drawn, description="random controls", unit="draw"):
            arms.append(self._frozen(evidence.randomised(candidates, name, draw, seed=settings.seed)))
        for draw in progress(range(settings.untrained_draws), description="untrained models", unit="model"):
            untrained = untrained_like(self.model, seed=settings.seed + draw)
            source = CrossFit(self._attention(untrained, f"untrained model {draw}"), genes, self.anchors)
            own = evidence.Candidates(evidence.UNTRAINED, source.operators, source.expression, family="control", draw=draw)
            arms.append(self._frozen(own))
        return arms

    def _frozen(self, candidates: Candidates) -> evidence.Arm:
        """Choose in every split and keep only the features of what was chosen."""
        arm = evidence.arm_of(candidates, self._choose(candidates))
        features = {split.id: arm.features(split) for split in self.splits}
        return replace(arm, features=lambda split: features[split.id])

    def _correlation(self, split: Split) -> np.ndarray:
        cells = self.panels.internal
        training = cells[cells.obs["donor"].isin(split.train_donors).to_numpy()]
        return evidence.gene_correlation(expression(training, self.genes[split.id]))

    def _measure_controls(self) -> None:
        candidates, chosen = self._chosen()
        arms = [chosen, *self._control_arms(candidates)] if self.splits else []
        order = evidence.order_endpoint(self.panel, arms, self.solver)
        write_csv(self.path / "order.csv", order)
        write_csv(self.path / "controls.csv", self._endpoints(order, arms))

    def _measure_nulls(self) -> None:
        settings = self.settings
        _, chosen = self._chosen()
        arms = evidence.null_arms(
            chosen, self.panel, seed=settings.seed, n_coherent=settings.label_nulls, n_other=settings.other_nulls
        )  # fmt: skip
        order = evidence.order_endpoint(self.panel, arms, self.solver)
        write_csv(self.path / "null_order.csv", order)
        write_csv(self.path / "nulls.csv", self._endpoints(order, arms))

    def _endpoints(self, order: pd.DataFrame, arms: list[evidence.Arm]) -> pd.DataFrame:
        """Return one number per endpoint, arm, draw and donor."""
        tables = [evidence.donor_values(order, pairs) for pairs in evidence.PAIRS]
        return pd.concat([*tables, evidence.secondary_endpoints(self.panel, arms, self.solver)], ignore_index=True)

    # -- the algorithm -----------------------------------------------------------------------------------------------

    def _final(self) -> tuple[Operator, LetFit]:
        """Fit the operator chosen on all donors, from several starts; the same whenever it is asked for."""
        if not hasattr(self, "_fitted"):
            candidates = self._candidates()
            choice = evidence.read_choices(self.path / "choices.json")[evidence.WHOLE]
            operator = candidates.operators(self.panel.whole)[choice.index]
            operator = replace(operator, matrix=operator.matrix.astype(np.float32))
            rows = self.panel.exact(np.arange(len(self.panel)))
            basis = SpanBasis.from_features(operator.apply(self.crossfit.expression(self.panel.whole))[rows])
            problem = LetProblem(basis, self.panel.ruler(rows), choice.settings.alpha, choice.settings.ridge)
            (fit,) = fit_let([problem], n_starts=self.settings.final_starts, seed=self.settings.seed)
            self._fitted = operator, fit
        return self._fitted

    def _fit_algorithm(self) -> None:
        operator, fit = self._final()
        operator.save(self.path / "operators" / f"{operator.name}.safetensors")
        latents = fit.transform(operator.apply(self.crossfit.expression(self.panel.whole)))
        columns = [f"z{i}" for i in range(latents.shape[1])]
        table = pd.concat([self.anchors.obs, pd.DataFrame(latents, self.anchors.obs.index, columns)], axis=1)
        write_csv(self.path / "latents.csv", table, index=True)

    def _algorithm(self, **described: Any) -> CompactAlgorithm:
        """Fold the chosen operator and its adaptor, with readouts fitted on the panel's cells."""
        if not hasattr(self, "_built"):
            operator, fit = self._final()
            cells = self.panels.internal
            x = expression(cells, operator.genes)
            at_anchors = fit.transform(operator.apply(self.crossfit.expression(self.panel.whole)))
            candidates = map_labels(cells.obs["cell_type"].astype(str).unique(), self.graph)["candidates"]
            coarse = {label: tuple(stages) for label, stages in candidates.items() if len(stages) > 1}
            self._built = CompactAlgorithm.build(
                self.name, operator, fit, expression=x,
                readouts=fit_readouts(fold(operator, fit).latents(x), cells.obs, candidates=coarse, seed=self.settings.seed),
                root=root_centroid(at_anchors[self.anchors.exact], self.anchors.obs[self.anchors.exact]),
                provenance={"model": self.name, **{k: self.identity[k] for k in ("panels", "settings")}, "model_sha256": self.identity["model"]},
            )  # fmt: skip
        return self._built.described(**described) if described else self._built

    def _try_outside(self) -> None:
        """Read the external panel's cells by the frozen algorithm, donor by donor."""
        external, rows = self.panels.external, []
        if external is not None:
            algorithm = self._algorithm()
            latents = algorithm.latents(external.X, list(external.var_names), total_counts=external.obs["total_counts"].to_numpy())
            rows = evidence.read_cells_by_donor(algorithm, latents, external.obs)
        write_csv(self.path / "external.csv", pd.DataFrame(rows, columns=["metric", "donor", "value", "n_cells"]))

    def _measure_gates(self) -> None:
        settings = self.settings
        _, chosen = self._chosen()
        rows = evidence.gates(self.panel, chosen, self.solver, seed=settings.seed, n_null=settings.gate_nulls)
        if self.panels.external is not None:
            rows += self._external_gates()
        table = pd.DataFrame()
        if self.panels.negative is not None:
            table = self._negative_control(chosen)
        write_json(self.path / "gates.json", rows)
        write_csv(self.path / "negative.csv", table)

    def _external_gates(self) -> list[dict]:
        operator, fit = self._final()
        outside = anchors(self.panels.external, operator.genes)
        panel = evidence.Panel.from_anchors(outside, self.graph, (), "external")
        return evidence.frozen_gates(
            panel, fit.transform(operator.apply(outside.features)), outside.features, seed=self.settings.seed, n_null=self.settings.gate_nulls
        )

    def _negative_control(self, chosen: evidence.Arm) -> pd.DataFrame:
        operator, _ = self._final()
        cells = self.panels.negative
        other = anchors(cells, operator.genes)
        donors = other.obs["donor"].to_numpy()
        n_donors = len(set(donors))
        splits = donor_folds(donors, min(self.settings.n_splits, n_donors), self.settings.seed) if n_donors > 1 else []
        panel = evidence.negative_panel(other, self.graph, splits)
        features = operator.apply(other.features)
        setting = chosen.settings[evidence.WHOLE]
        arm = evidence.Arm("negative", lambda _: features, settings=dict.fromkeys([*(s.id for s in splits), evidence.WHOLE], setting))
        return evidence.negative_control(panel, arm, self.graph, self.solver, seed=self.settings.seed, n_draws=self.settings.negative_draws)

    # -- the end -----------------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        table = pd.concat([pd.read_csv(self.path / name) for name in ("controls.csv", "nulls.csv")])
        judged = evidence.verdict(table, headroom=self._headroom(), seed=self.settings.seed) if self.splits else {"endpoints": {}}
        write_json(self.path / "verdict.json", judged)

    def _headroom(self) -> dict[str, float] | None:
        """On a simulated panel: what the true programs as operator reach above no operator, per endpoint."""
        loadings = evidence.true_loadings(self.panels.internal)
        if loadings is None or not self.splits:
            return None
        oracle = self._frozen(evidence.oracle(self._candidates(), loadings, lambda split: self.genes[split.id]))
        found = self._endpoints(evidence.order_endpoint(self.panel, [oracle], self.solver), [oracle])
        without = pd.read_csv(self.path / "controls.csv").query("control == @evidence.NO_OPERATOR")
        reached, floor = (table.groupby("endpoint")["value"].mean() for table in (found, without))
        return (reached - floor).to_dict()

    def _export(self) -> None:
        verdict = json.loads((self.path / "verdict.json").read_text())
        short = {
            name: {"readable": found["readable"]["status"], "model_specific": found["model_specific"]["status"]}
            for name, found in verdict["endpoints"].items()
        }
        metrics = {name: {k: found[k] for k in ("value", "lo", "hi", "n_donors")} for name, found in verdict["endpoints"].items()}
        self._algorithm(verdict=short, metrics=metrics).save(self.path / "algorithm")

    def _draw(self) -> None:
        draw_figures(self.path, self.graph)

    def _summarise(self) -> None:
        write_summary(self.path, self.name)
