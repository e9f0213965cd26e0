from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from interp.biology import Ruler, StageGraph
from interp.discover import Panels, discover
from interp.discover.job import Job
from interp.discover.plan import disjoint_report
from interp.errors import InputError
from interp.extraction.algorithm import CompactAlgorithm
from interp.extraction.operators import KINDS, Operator
from interp.runs.files import sha256_path
from interp.runs.workers import WORKERS
from interp.scgpt.load import load_model

from .conftest import STAGES, TINY, tiny_panels

OUTPUTS = (
    "config.json", "manifest.json", "splits.json", "scores.csv", "heads.csv", "gates.json", "controls.csv",
    "verdict.json",    "summary.md", "attention.zarr", "operators", "algorithm", "figures", "log.txt",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory, panels, checkpoint) -> Path:
    out = tmp_path_factory.mktemp("runs") / "tiny"
    return discover(
        checkpoint, panels.internal, external=panels.external, negative=panels.negative, out=out, settings=TINY
    )


def test_run_folder_is_complete(run):
    assert [name for name in OUTPUTS if not (run / name).exists()] == []
    assert {"heads.png", "manifold_stages.png", "manifold_donors.png", "gates.png", "controls.png", "nulls.png"} <= {
        path.name for path in (run / "figures").iterdir()
    }


def test_every_control_and_null_is_in_the_tables(run):
    controls = set(pd.read_csv(run / "controls.csv")["control"])
    assert controls == {
        "chosen", "no operator", "Gaussian on the support", "values shuffled", "genes permuted", "co-expression",
        "co-occurrence counts", "untrained model", "random projection", "PCA of the input", "most variable genes",
        "bag of tokens",
    }  # fmt: skip
    nulls = pd.read_csv(run / "nulls.csv")
    assert nulls.groupby("control")["draw"].nunique().to_dict() == {
        "stages permuted": 4, "ruler shuffled": 3, "cell type look-up code": 3, "features shuffled": 3,
        "neighbours rewired": 3,
    }  # fmt: skip


def test_the_ruler_is_varied_and_the_branches_are_split_with_no_new_choice(run):
    config, manifest = (json.loads((run / name).read_text()) for name in ("config.json", "algorithm/manifest.json"))
    assert config["ruler"]["name"] == "hops"
    assert manifest["provenance"]["ruler"] == config["ruler"]
    rulers = pd.read_csv(run / "rulers.csv").set_index("ruler")
    order = pd.read_csv(run / "controls.csv").query("endpoint == 'order' and control == 'chosen'")
    assert rulers.loc["hops", "order"] == pytest.approx(order["value"].mean(), abs=1e-9)
    assert {"main", "refitted", "same here"} == set(rulers["status"])
    branches = pd.read_csv(run / "branches.csv").set_index("branch")
    assert branches.loc["erythroid and megakaryocyte", "null_95"] > 0
    assert branches.loc["T", "reason"] == "no anchor in this panel"
    summary = (run / "summary.md").read_text()
    assert "## Branches" in summary
    assert "| depth only | refitted |" in summary


def test_the_order_stands_beside_its_base_level_and_every_family(run):
    summary = (run / "summary.md").read_text()
    found = json.loads((run / "verdict.json").read_text())["endpoints"]["order"]
    means = {family: c["null_mean"] for family, c in found["readable"]["against"].items()}
    assert found["base"]["mean"] == max(means.values())
    assert found["base"]["above_by"] == pytest.approx(found["value"] - max(means.values()))
    top = summary.split("## Panel")[0]
    assert f"{found['base']['above_by']:.4g} above the largest null mean, {max(means.values()):.4g}" in top
    assert "The maximum over the families" in summary
    assert "largest_null_mean" in (run / "algorithm" / "README.md").read_text()


def test_no_two_panels_share_cells_or_donors_and_the_table_shows_every_pair(run):
    table = pd.read_csv(run / "disjoint.csv")
    pairs = {("external", "internal"), ("negative", "internal"), ("negative", "external")}
    assert set(zip(table["panel"], table["other"], strict=True)) == pairs
    assert table["ok"].all()
    assert "Zero-shot: its 3 donors stand in no other panel" in (run / "summary.md").read_text()


def test_donors_of_the_negative_panel_are_not_zero_shot_and_shared_cells_are_refused(panels):
    external, negative = panels.external.copy(), panels.negative.copy()
    negative.obs["donor"] = external.obs["donor"].iloc[0]
    table = disjoint_report(Panels(panels.internal, external, negative))
    row = table[(table["panel"] == "negative") & (table["other"] == "external") & (table["check"] == "donors")]
    assert row["n_shared"].tolist() == [1]
    with pytest.raises(InputError, match="the negative and the external panel share"):
        disjoint_report(Panels(panels.internal, external, external))


def test_a_ruler_that_lacks_a_stage_is_refused_before_any_work(panels, checkpoint, tmp_path):
    names = [stage for stage in STAGES if stage != "GMP"]
    table = pd.DataFrame(StageGraph.hematopoiesis().ruler(names), names, names)
    ruler = Ruler.from_matrix(table, source="a textbook", independent_of_model=True)
    with pytest.raises(InputError, match=r"incomplete for this panel.*GMP"):
        discover(checkpoint, panels.internal, out=tmp_path / "run", settings=TINY, ruler=ruler)
    short = Ruler.from_matrix(
        pd.DataFrame(StageGraph.hematopoiesis().ruler(STAGES), STAGES, STAGES), source="x", independent_of_model=True
    )
    with pytest.raises(InputError, match="11 cell types, but the ruler has 6 stages"):
        discover(
            checkpoint, panels.internal, negative=panels.negative, out=tmp_path / "run", settings=TINY, ruler=short
        )
    assert not (tmp_path / "run" / "attention.zarr").exists()


def test_every_head_is_held_against_its_own_shuffled_values(run):
    scores, nulls = (pd.read_csv(run / name) for name in ("scores.csv", "head_nulls.csv"))
    scores = scores[scores["metric"] == "order"]
    assert set(nulls["control"]) == {"values shuffled"}
    assert set(scores["role"]) == {"select", "score"}
    drawn = nulls.groupby(["name", "role", "draw"])["value"].mean().groupby(["name", "role"]).agg(["mean", "count"])
    drawn = drawn.reindex(pd.MultiIndex.from_frame(scores[["name", "role"]]))
    np.testing.assert_allclose(scores["null_mean"], drawn["mean"], rtol=1e-12)
    assert (drawn["count"] == TINY.draws).all()
    assert scores[["p", "q", "floor"]].notna().all().all()
    best = scores[scores["role"] == "select"].iloc[0]
    near = scores[(scores["role"] == "select") & (scores["value"] >= best["value"] - best["floor"])]
    assert near["tied"].eq(len(near) > 1).all()
    assert "within the floor" in (run / "summary.md").read_text()


def test_the_head_table_holds_order_probes_and_ablation_of_every_head(run):
    heads, judged = pd.read_csv(run / "heads.csv"), json.loads((run / "verdict.json").read_text())
    single = heads[heads["head"].notna()]
    assert single["name"].tolist() == [f"L{layer}H{head}" for layer in range(3) for head in range(2)]
    for stem in ("order.stage", "balanced_accuracy.stage", "ablation.mean.balanced_accuracy.stage"):
        assert single[[f"{stem}.select", f"{stem}.score", f"{stem}.rank"]].notna().all().all()
        assert {f"{stem}.{name}" for name in ("lo", "hi", "q", "floor", "tied")} <= set(heads)
    assert single["ablation.mean.neg_masked_loss.score"].notna().all()
    # two heads a layer leave one other set, or none: no p could be small enough
    assert judged["used"]["status"] == "undecided"
    assert "which can give no p under" in judged["used"]["reason"]
    summary = (run / "summary.md").read_text()
    assert "## Heads by probes" in summary
    assert "The heads of the chosen operator are undecided" in summary


@pytest.mark.parametrize("n_workers", [1, 3])
def test_workers_do_not_change_a_byte(run, panels, checkpoint, tmp_path, monkeypatch, n_workers):
    """The run of the fixture took the processors there are."""
    monkeypatch.setenv(WORKERS, str(n_workers))
    other = discover(
        checkpoint, panels.internal, external=panels.external, negative=panels.negative, out=tmp_path, settings=TINY
    )
    for name in ("attention.zarr", "choices.json", "scores.csv", "controls.csv", "order.csv", "nulls.csv", "algorithm"):
        assert sha256_path(other / name) == sha256_path(run / name), name


def test_the_job_keeps_to_one_thread_per_call_and_gives_them_back(panels, checkpoint, tmp_path, monkeypatch):
    inside, before = [], torch.get_num_threads()
    monkeypatch.setattr(Job, "run", lambda self: inside.append(torch.get_num_threads()))
    torch.set_num_threads(3)
    try:
        discover(checkpoint, panels.internal, out=tmp_path, settings=TINY)
        assert inside == [1]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_more_draws_redo_the_controls_and_not_the_choice(run, panels, checkpoint, tmp_path):
    out = Path(shutil.copytree(run, tmp_path / "more"))
    before = (out / "choices.json").stat().st_mtime_ns, sha256_path(out / "scores.csv")
    settings = replace(TINY, draws=3)
    discover(
        checkpoint, panels.internal, external=panels.external, negative=panels.negative, out=out, settings=settings
    )
    assert (out / "choices.json").stat().st_mtime_ns == before[0]
    assert sha256_path(out / "scores.csv") != before[1]
    scores = pd.read_csv(out / "scores.csv")
    assert scores.loc[scores["metric"] == "order", "p"].min() == 1 / 4


def test_all_kinds_go_through_the_scan_the_controls_and_the_export(run, panels, checkpoint, tmp_path):
    out = Path(shutil.copytree(run, tmp_path / "kinds"))
    discover(checkpoint, panels.internal, external=panels.external, out=out, settings=replace(TINY, kinds=KINDS))
    scores, controls = (pd.read_csv(out / name) for name in ("scores.csv", "controls.csv"))
    names = set(scores.loc[scores["metric"] == "order", "name"])
    # 6 heads of 6 kinds and 3 blocks of 4 kinds both ways, 4 drifts, 2 symmetric ones
    assert len(names) == 6 * 6 * 2 + 3 * 4 * 2 + 4 + 2
    assert {"L2H1.qk.in", "L0H0.ov.out", "L1H0.lift.in", "L1H1.value_weighted.out", "late.lift.in", "gram.out"} <= names
    assert set(pd.read_csv(out / "head_nulls.csv")["name"]) == names
    untrained = controls[(controls["control"] == "untrained model") & (controls["endpoint"] == "order")]
    assert untrained["value"].notna().all()
    assert len(untrained) == 4
    chosen = json.loads((out / "choices.json").read_text())["all"]
    assert len(chosen["scores"]) == len(names)
    saved = Operator.load(out / "operators" / f"{chosen['name']}.safetensors")
    assert saved.parts[0].dtype == np.float32
    assert saved.provenance["split"] == "all"
    config = json.loads((out / "config.json").read_text())
    assert saved.provenance["panels"] == config["panels"]
    assert len(saved.provenance["model_sha256"]) == 64


def test_kinds_of_weights_need_no_new_attention(run, panels, checkpoint, tmp_path, monkeypatch):
    class Enough(Exception):
        pass

    def stop(self):
        raise Enough

    out = Path(shutil.copytree(run, tmp_path / "kinds"))
    before = json.loads((out / "manifest.json").read_text())["steps"]
    settings = replace(TINY, kinds=(*TINY.kinds, "ov", "gram"))
    monkeypatch.setattr(Job, "_measure_controls", stop)
    with pytest.raises(Enough):
        discover(
            checkpoint, panels.internal, external=panels.external, negative=panels.negative, out=out, settings=settings
        )
    after = json.loads((out / "manifest.json").read_text())["steps"]
    assert after["attention"] == before["attention"]
    assert after["heads"] != before["heads"]


def test_unknown_kinds_are_refused_before_any_work(panels, checkpoint, tmp_path):
    with pytest.raises(InputError, match="no operator kind 'median'"):
        replace(TINY, kinds=("mean", "median"))
    model = load_model(checkpoint)
    del model.mvc_decoder
    settings = replace(TINY, kinds=("mvc_gram",))
    with pytest.raises(InputError, match="leave mvc_gram out"):
        discover(model, panels.internal, out=tmp_path / "run", settings=settings)
    assert not (tmp_path / "run" / "attention.zarr").exists()


def test_four_donors_can_decide_nothing(run):
    judged = json.loads((run / "verdict.json").read_text())["endpoints"]["order"]
    assert judged["n_donors"] == 4
    assert judged["readable"]["status"] == "undecided"
    assert judged["model_specific"]["status"] == "undecided"
    assert "undecided" in (run / "summary.md").read_text()


def test_splits_keep_donors_apart_and_choose_on_training_donors(run):
    splits = json.loads((run / "splits.json").read_text())["splits"]
    assert len(splits) == 2
    for split in splits:
        assert not set(split["train_donors"]) & set(split["test_donors"])


def test_exported_algorithm_gives_the_latents_of_the_run(run, panels):
    algorithm = CompactAlgorithm.load(run / "algorithm")
    annotated = algorithm.transform(panels.external)
    assert annotated.obsm["X_interp"].shape == (panels.external.n_obs, 10)
    assert set(annotated.obs["interp_stage"]) <= set(panels.internal.obs["stage"])


def test_a_second_run_does_nothing_again(run, panels, checkpoint):
    before = sha256_path(run / "figures"), (run / "controls.csv").stat().st_mtime_ns
    discover(checkpoint, panels.internal, external=panels.external, negative=panels.negative, out=run, settings=TINY)
    assert (sha256_path(run / "figures"), (run / "controls.csv").stat().st_mtime_ns) == before


def test_lost_output_is_made_again_the_same(run, panels, checkpoint):
    before = sha256_path(run / "algorithm")
    (run / "algorithm" / "manifest.json").unlink()
    discover(checkpoint, panels.internal, external=panels.external, negative=panels.negative, out=run, settings=TINY)
    assert sha256_path(run / "algorithm") == before


def test_external_panel_with_the_same_donors_is_refused(panels, checkpoint, tmp_path):
    with pytest.raises(InputError, match="share"):
        discover(checkpoint, panels.internal, external=panels.internal, out=tmp_path / "run", settings=TINY)


def test_one_donor_is_not_computable_and_never_passes(checkpoint, tmp_path):
    cells = tiny_panels(4).internal
    one = cells[cells.obs["donor"] == cells.obs["donor"].iloc[0]].copy()
    one.uns["interp"]["panel"]["sha256"] = "one donor"
    out = discover(checkpoint, one, out=tmp_path / "one", settings=replace(TINY, gate_nulls=1))
    gates = {row["gate"]: row["status"] for row in json.loads((out / "gates.json").read_text())}
    assert gates["donor holdout"] == "not computable"
    assert json.loads((out / "verdict.json").read_text())["endpoints"] == {}
    assert "Undecided" in (out / "summary.md").read_text()


@pytest.mark.slow
def test_killed_run_continues_to_the_same_bytes(run, tmp_path, checkpoint):
    code = (
        "import sys; sys.path.insert(0, sys.argv[3])\n"
        "from conftest import TINY, tiny_panels\nfrom interp.discover import discover\n"
        "p = tiny_panels()\n"
        "discover(sys.argv[1], p.internal, external=p.external, negative=p.negative, out=sys.argv[2], settings=TINY)\n"
    )
    words = [sys.executable, "-c", code, str(checkpoint), str(tmp_path / "killed"), str(Path(__file__).parent)]
    for seconds in (12, 20):
        process = subprocess.Popen(words, start_new_session=True)
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(words, check=True)
    for name in ("algorithm", "verdict.json", "controls.csv", "scores.csv", "heads.csv", "gates.json"):
        assert sha256_path(tmp_path / "killed" / name) == sha256_path(run / name), name
