"""Whole screens of a planted model: the head is found, the engine's drops are those of full forwards, bad input."""

import numpy as np
import pandas as pd
import pytest
import torch

import interp
from interp.ablation import AblationSettings, ReplaceHeads, head_set_null, judge_used, measure_redundancy, prepare
from interp.ablation.table import COLUMNS
from interp.errors import InputError
from interp.heads import COLUMNS as CONTRACT
from interp.heads import head_table
from interp.probing import ProbeSettings

from .worlds import planted_cells, planted_model

FAST = AblationSettings(probes=ProbeSettings(max_folds=4, penalties=(1e-1, 1e-3)), top=2)
CELLS = planted_cells()


def ablate(readout="state", carriers=((0, 1),), cells=CELLS, **options):
    return interp.ablate_heads(planted_model(carriers), cells, readout, settings=FAST, **options)


def of(result, metric="ablation.mean.balanced_accuracy", role="score"):
    rows = result.table[(result.table["metric"] == metric) & (result.table["role"] == role)]
    return rows.set_index("name")


@pytest.fixture(scope="module")
def found():
    return ablate(["state", "depth"], method="both")


def test_the_table_is_in_the_form_of_the_head_table(found):
    assert COLUMNS[: len(CONTRACT)] == CONTRACT
    assert list(found.table.columns) == list(COLUMNS)
    wide = head_table(found.table)
    assert "ablation.mean.balanced_accuracy.state.score" in wide
    assert len(wide) == 6


@pytest.mark.parametrize("carrier", [(0, 1), (1, 2)])
def test_the_one_head_that_carries_the_label_is_found(carrier):
    result = ablate(carriers=(carrier,))
    name = f"L{carrier[0]}H{carrier[1]}"
    for metric in ("balanced_accuracy", "neg_log_loss", "log_odds"):
        scores = of(result, f"ablation.mean.{metric}")
        assert scores.index[0] == name
        assert scores.loc[name, "q"] < 0.05
    scores = of(result)
    assert scores.index[scores["q"] < 0.05].tolist() == [name]
    top = of(result).loc[name]
    assert top["base"] > 0.95
    assert top["value"] > 0.4  # to chance
    assert top["lo"] > 0.3
    assert not top["tied"]
    assert top["n_donors"] == 8
    assert of(result, role="select").index[0] == name
    masked = of(result, "ablation.mean.neg_masked_loss")
    assert masked["value"].abs().max() < 0.05  # the model hardly needs it


def test_a_number_is_read_as_well(found):
    scores = of(found, "ablation.mean.spearman")
    assert scores.index[0] == "L0H1"
    assert scores.index[scores["q"] < 0.05].tolist() == ["L0H1"]
    assert scores["base"].iloc[0] > 0.6


def test_without_a_signal_no_head_is_missed():
    cells = planted_cells(seed=4)
    cells.obs["state"] = np.random.default_rng(1).permutation(cells.obs["state"].to_numpy())
    scores = of(ablate(cells=cells))
    assert not (scores["q"] < 0.05).any()


@pytest.mark.parametrize(
    "replacement", ["mean", "type mean", "zero", "resample", "resample same type", "resample other type"]
)
def test_drops_are_those_of_one_full_forward_per_set(found, replacement):
    bench = found.bench
    sets = [((0, 1),), ((0, 0), (1, 2)), ()]
    measured = bench.measure(sets, replacement, choose=True)
    for effect in bench.effects:
        tokens = bench.cells(masked=effect.masked)
        ready = bench.given(replacement, masked=effect.masked)
        with torch.inference_mode():
            base = effect.scores(effect.read(bench.model(tokens).resid, tokens).numpy())
            for place, heads in enumerate(sets):
                with bench.model.hooks(ReplaceHeads(heads, ready).hooks(bench.model, tokens)):
                    read = effect.read(bench.model(tokens).resid, tokens).numpy()
                for drops in measured:
                    if (drops.metric, drops.target) in {(name, effect.target) for name in effect.metrics}:
                        expected = base[drops.metric] - effect.scores(read)[drops.metric]
                        np.testing.assert_allclose(drops.drop[place], expected[0], atol=2e-3)
                        np.testing.assert_allclose(drops.select[place], expected[1:], atol=2e-3)


def test_no_head_changes_nothing_to_the_last_bit(found):
    for drops in found.bench.measure([()], "mean", choose=True):
        assert (drops.drop[np.isfinite(drops.drop)] == 0).all()
        assert (drops.select[np.isfinite(drops.select)] == 0).all()


def test_the_model_is_left_as_it_was():
    model = planted_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    interp.ablate_heads(model, CELLS, "state", settings=FAST, method="both")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(point.has_hooks() for point in model.hook_dict.values())


def test_gradients_rank_as_exact_ablation_does(found):
    by = {(row["metric"], row["target"]): row["value"] for row in found.facts["spearman"]}
    assert by["log_odds", "state"] > 0.9
    assert by["slope", "depth"] > 0.9
    assert by["neg_masked_loss", ""] > 0.7
    compared = found.exact_vs_gradient
    top = compared[(compared["metric"] == "log_odds") & (compared["name"] == "L0H1")].iloc[0]
    assert top["gradient"] == pytest.approx(top["exact"], rel=0.3)
    exact = of(found, "ablation.mean.log_odds").loc["L0H1", "value"]
    assert top["exact"] == pytest.approx(exact)


def test_the_gradient_screen_checks_its_top_heads_exactly():
    result = ablate(method="gradient")
    table = result.table
    predicted, exact = (table[table["metric"] == f"{kind}.mean.log_odds"] for kind in ("gradient", "ablation"))
    assert len(predicted) == 6
    assert 2 <= len(exact) < 6
    assert "L0H1" in set(exact["name"])
    assert result.exact_vs_gradient["exact"].notna().sum() == 2 * len(exact)
    with pytest.raises(InputError, match="exact screen of all heads"):
        measure_redundancy(result)


def test_the_same_seed_repeats_and_the_text_names_the_head(found):
    again = ablate(["state", "depth"], method="both")
    pd.testing.assert_frame_equal(again.table, found.table)
    assert "ablation.mean.balanced_accuracy of state: L0H1 0.5" in repr(found)
    assert "gradient against exact, log_odds of state: Spearman" in repr(found)
    per_donor = found.donors[(found.donors["name"] == "L0H1") & (found.donors["metric"] == "ablation.mean.auroc")]
    assert per_donor["value"].mean() == pytest.approx(of(found, "ablation.mean.auroc").loc["L0H1", "value"])


def test_named_heads_are_judged_against_all_sets_of_their_layers(found):
    nulls = {name: head_set_null(found, [(0, 1), (1, 0)], replacement=name) for name in ("mean", "resample")}
    for null in nulls.values():
        assert null.n_sets == 8
        assert null.whole
        assert null.drop.shape == null.masked.shape == (9, 8)
        carriers = ["L0H1" in heads for heads in null.table()["heads"]]
        np.testing.assert_array_equal(null.mean_drop > 0.3, carriers)  # those that hold the carrier
    answer = judge_used(nulls)
    assert answer.status == "undecided"
    assert "there are only 8 other sets" in answer.reason


def test_heads_not_named_are_chosen_on_other_donors(found):
    null = head_set_null(found, size=1)
    assert null.name == "L0H1"
    assert len(null.heads) == 4  # folds
    assert null.p == pytest.approx(1 / 3)
    assert null.mean_drop[0] > 0.4
    assert null.mean_drop[1:].max() < 0.05


def test_heads_can_be_named_for_every_donor_apart(found):
    alike = head_set_null(found, [(0, 1)])
    same = head_set_null(found, dict.fromkeys(alike.donors, ((0, 1),)))
    np.testing.assert_array_equal(same.drop, alike.drop)
    assert same.n_sets == alike.n_sets == 2
    first, *others = alike.donors
    mixed = head_set_null(found, {first: [(0, 0)], **dict.fromkeys(others, ((0, 1),))})
    np.testing.assert_array_equal(mixed.drop[0, 1:], alike.drop[0, 1:])
    assert mixed.drop[0, 0] < 0.05 < alike.drop[0, 0]
    assert mixed.name.startswith(f"L0H1 ({len(others)} of {len(others) + 1}")
    assert mixed.n_sets == 5  # two of three heads in order, less the named ones
    with pytest.raises(InputError, match=f"no heads were named for the donors {first}"):
        head_set_null(found, dict.fromkeys(others, ((0, 1),)))


def test_heads_that_both_carry_the_label_stand_in_for_each_other():
    result = ablate(carriers=((0, 1), (0, 2)))
    scores = of(result)
    assert scores["value"].max() < 0.2  # neither is missed alone
    found = measure_redundancy(result, [(0, 1), (0, 2), (1, 0)])
    pairs = found.pairs.set_index(["first", "second"])
    both = pairs.loc[("L0H1", "L0H2")] if ("L0H1", "L0H2") in pairs.index else pairs.loc[("L0H2", "L0H1")]
    assert both["joint"] > 0.35
    assert both["redundancy"] == pytest.approx(both["joint"] - both["drop_first"] - both["drop_second"])
    assert both["lo"] > 0.2
    assert both["q"] < 0.05
    others = pairs.drop(index=both.name)
    assert others["redundancy"].abs().max() < 0.1
    assert found.greedy["step"].tolist() == [1, 2, 3]
    assert "L0H1" in found.greedy["heads"].iloc[-1]
    assert found.greedy["value"].iloc[-1] > 0.35
    assert "most redundant" in repr(found)


def test_a_target_that_cannot_be_read_is_reported_beside_what_can():
    cells = CELLS.copy()
    cells.obs["alone"] = np.where(cells.obs["donor"] == "d0", "only here", "elsewhere")
    result = ablate(["state", "age", "alone"], cells=cells)
    rows = result.table[result.table["target"].isin(["age", "alone"])]
    assert set(rows["status"]) == {"not computable"}
    assert rows["value"].isna().all()
    assert len(rows[rows["metric"].str.endswith("spearman")]) == 6
    assert "one value only" in result.facts["reasons"]["age"]
    assert "only here" in set(result.left_out["what"])
    assert of(result).index[0] == "L0H1"


def test_one_donor_gives_drops_without_a_test():
    one = CELLS[CELLS.obs["donor"] == "d0"].copy()
    result = ablate("state", cells=one)
    masked = of(result, "ablation.mean.neg_masked_loss")
    assert masked["value"].notna().all()
    assert masked["p"].isna().all()
    assert set(masked["status"]) == {"not computable"}
    assert masked["reason"].str.contains("one donor").all()
    assert (
        "1 donors can be scored, 3 are needed" in result.facts["reasons"]["state"] or result.facts["reasons"]["state"]
    )
    with pytest.raises(InputError, match="other donors"):
        ablate(None, cells=one, replacement="resample")


def test_gates_judge_the_embedding(found):
    cells = CELLS.copy()
    cells.obs["stage"] = np.array(["HSC", "MPP", "CMP", "GMP"])[np.arange(cells.n_obs) % 4]
    cells.obs["total_counts"] = np.asarray(cells.X.sum(1)).ravel()
    cells.varm["measured"] = pd.DataFrame({"one": True}, index=cells.var_names)
    result = ablate(None, cells=cells, effects=["gates"])
    assert of(result, "ablation.mean.order")["value"].notna().all()
    assert set(of(result, "ablation.mean.trustworthiness")["status"]) == {"not computable"}  # 14 cells a donor


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"replacement": "noise"}, "no replacement 'noise'; expected one of 'mean'"),
        ({"method": "guess"}, "no method 'guess'"),
        ({"effects": ["speed"]}, "no effect 'speed'"),
        ({"effects": [], "readout": None}, "nothing to judge ablation by"),
        ({"donor": "mouse"}, "no column 'mouse'"),
        ({"n_cells": 0}, "n_cells is 0"),
        ({"readout": "stat"}, "did you mean 'state'"),
    ],
)
def test_bad_input_is_said(options, message):
    with pytest.raises(InputError, match=message):
        ablate(**({"readout": "state"} | options))


def test_bad_sets_are_said(found):
    with pytest.raises(InputError, match="no head L9H0"):
        head_set_null(found, [(9, 0)])
    with pytest.raises(InputError, match="no head L0H3"):
        found.bench.measure([((0, 3),)])
    with pytest.raises(InputError, match="an empty set"):
        head_set_null(found, [])
    with pytest.raises(InputError, match="7 heads were asked for; this model has 6"):
        head_set_null(found, size=7)
    with pytest.raises(InputError, match="at least one random set"):
        head_set_null(found, size=1, n_sets=0)
    with pytest.raises(InputError, match="two heads or more"):
        measure_redundancy(found, [(0, 1)])
    with pytest.raises(InputError, match="nothing is judged by metric 'speed'"):
        head_set_null(found, metric="speed")
    alone = ablate("state", effects=[])
    with pytest.raises(InputError, match="needs a readout and the masked-value loss"):
        head_set_null(alone)


def test_cells_are_drawn_evenly_over_donors_and_classes():
    bench = prepare(planted_model(), CELLS, "state", n_cells=32, settings=FAST)
    assert len(bench.tokens) == 32
    assert set(bench.obs.groupby(["donor", "state"]).size()) == {2}
    without = prepare(planted_model(), CELLS, None, n_cells=16, settings=FAST)
    assert set(without.obs.groupby(["donor", "cell_type"]).size()) == {1}
