"""Whole screens of small made-up activations: planted truth, nested choice, baselines, bad input."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import interp
from interp.errors import InputError
from interp.heads import COLUMNS, head_table
from interp.probing import ProbeSettings, probe
from interp.probing.nested import cross_validate, make_folds
from interp.probing.sites import Representation
from interp.probing.targets import read_task

N_LAYERS, N_HEADS = 2, 3
FAST = ProbeSettings(draws=20, penalties=(1e-1, 1e-3))


def world(seed, planted=None, *, n_donors=8, n_cells=40, target="state"):
    """Heads that know cell types and donors, and one perhaps that knows a state of its own."""
    rng = np.random.default_rng(seed)
    donor, kind = np.repeat(np.arange(n_donors), n_cells), np.tile([0, 1], n_donors * n_cells // 2)
    state = rng.integers(0, 2, len(donor))
    obs = pd.DataFrame({"donor": [f"d{i}" for i in donor], "cell_type": np.array(["b", "t"])[kind]})
    obs[target] = np.array(["off", "on"])[state] if target == "state" else state + rng.standard_normal(len(state))
    found = {}
    for layer in range(N_LAYERS):
        z = rng.standard_normal((len(donor), N_HEADS, 4)) + rng.standard_normal((n_donors, N_HEADS, 4))[donor]
        z += 2 * rng.standard_normal((2, N_HEADS, 4))[kind]
        if planted and planted[0] == layer:
            z[:, planted[1], 1] += 2.0 * state
        found[f"blocks.{layer}.attn.hook_z"] = z.astype(np.float32)
        found[f"blocks.{layer}.hook_resid_post"] = z[:, 0]
    return found, obs


def of(table, metric="balanced_accuracy", role="score"):
    rows = table[(table["metric"] == metric) & (table["role"] == role)]
    return rows.set_index("name")


@pytest.mark.parametrize(("target", "metric"), [("state", "balanced_accuracy"), ("number", "spearman")])
def test_the_one_head_that_knows_is_found_and_chosen(target, metric):
    activations, obs = world(0, (1, 2), target=target)
    found = probe(activations, target, obs=obs, sites="z", settings=FAST)
    scores = of(found.table, metric)
    heads = scores[scores["layer"].notna()]
    assert heads.index[0] == "L1H2.z"
    assert heads.index[heads["q"] < 0.05].tolist() == ["L1H2.z"]
    assert heads.loc["L1H2.z", "value"] - heads["value"].iloc[1] > heads["null_sd"].max()
    assert set(found.chosen["name"]) == {"L1H2.z"}
    best = scores.loc["best z"]
    assert best["value"] == pytest.approx(scores.loc["L1H2.z", "value"])
    assert best["null_mean"] == pytest.approx(0.5 if target == "state" else 0.0, abs=0.1)
    assert of(found.table, metric, "select").index[0] == "L1H2.z"
    said = f"{metric}: best z {best['value']:.3g}, control task {best['null_mean']:.3g}"
    assert repr(found).endswith(said)


def test_without_a_signal_the_screens_report_no_more_than_chance():
    reported, smallest = 0, []
    for seed in range(8):
        activations, obs = world(seed, n_donors=6, n_cells=20)
        found = of(probe(activations, "state", obs=obs, sites="z", settings=FAST, seed=seed).table)
        heads = found[found["layer"].notna()]
        reported += (heads["q"] < 0.05).any()
        smallest += heads["p"].tolist()
    assert reported <= 2  # P(more than 2 of 8 at 5 %) is 0.006
    assert np.mean(np.array(smallest) < 0.1) < 0.2


def test_what_every_cell_type_tells_is_read_but_not_beyond_its_map():
    _, obs = world(3, n_donors=6)
    rng = np.random.default_rng(0)
    obs["cell_type"] = np.array(list("abcd"))[np.tile([0, 1, 2, 3], len(obs) // 4)]
    obs["branch"] = obs["cell_type"].map({"a": "x", "b": "x", "c": "y", "d": "y"})
    z = 3 * rng.standard_normal((4, 8))[obs["cell_type"].factorize()[0]] + rng.standard_normal((len(obs), 8))
    found = probe({"blocks.0.hook_resid_post": z}, "branch", obs=obs, settings=FAST)
    row = of(found.table).loc["L0.resid_post"]
    assert row["value"] > 0.95
    assert row["p"] < 0.05
    assert row["selectivity"] > 0.3
    assert row["map_mean"] > 0.9  # any labels of these types can be read
    assert row["map_p"] > 0.05
    assert found.facts["unit"] == "donor x cell type"


def test_the_nested_score_is_that_of_a_loop_over_scikit_learn():
    activations, obs = world(1, (0, 0), n_donors=4)
    z = activations["blocks.0.attn.hook_z"][:, 0].astype(float)
    task = read_task(obs, "state")
    folds = make_folds(task)
    penalties = (1e-1, 1e-2, 1e-4)
    found = cross_validate(Representation("z", "z", 0, 0, z), task, folds, task.values[None], penalties)

    def fitted(rows, penalty):
        strength = 1 / (penalty * z.shape[1] * len(rows))
        logistic = LogisticRegression(C=strength, class_weight="balanced", tol=1e-8)
        return make_pipeline(StandardScaler(), logistic).fit(z[rows], task.values[rows])

    def loss(model, rows):
        log = model.predict_log_proba(z[rows])[np.arange(len(rows)), task.values[rows]]
        return -np.mean([log[task.values[rows] == name].mean() for name in (0, 1)])

    donor_of = folds.of_donor.tolist().index  # four folds of one donor each
    for outer in range(4):
        losses = []
        for penalty in penalties:
            inner = [fold for fold in range(4) if fold != outer]
            trained = [
                fitted(np.flatnonzero(~np.isin(task.donor, (donor_of(outer), donor_of(fold)))), penalty)
                for fold in inner
            ]
            tests = [np.flatnonzero(task.donor == donor_of(fold)) for fold in inner]
            losses.append(np.mean([loss(model, rows) for model, rows in zip(trained, tests, strict=True)]))
        place = int(np.argmin(losses))
        assert found.penalty[0, outer] == place
        donor = donor_of(outer)
        test = np.flatnonzero(task.donor == donor)
        predicted = fitted(np.flatnonzero(task.donor != donor), penalties[place]).predict(z[test])
        expected = balanced_accuracy_score(task.values[test], predicted)
        assert found.score["balanced_accuracy"][0, donor] == pytest.approx(expected)


def test_features_made_anew_for_every_subset_score_like_fixed_ones():
    activations, obs = world(2, (0, 1), n_donors=5)
    z = activations["blocks.0.attn.hook_z"][:, 1].astype(float)
    obs["number"] = z[:, 1] + obs["donor"].str[1:].astype(float)
    asked = []

    def features(train):
        asked.append(tuple(train))
        return z

    for target in ("state", "number"):
        task = read_task(obs, target)
        folds = make_folds(task, max_folds=3)
        one, other = (
            cross_validate(Representation("x", "x", None, None, x), task, folds, task.values[None], (1e-1, 1e-2))
            for x in (z, features)
        )
        np.testing.assert_array_equal(one.penalty, other.penalty)
        for name, values in one.score.items():
            np.testing.assert_allclose(values, other.score[name], atol=1e-3)
    for train in asked:  # no subset sees its own test donors
        assert len(set(task.donor[list(train)])) < len(task.donors)


def test_the_table_has_the_contracts_columns_and_makes_a_head_table():
    activations, obs = world(4)
    found = probe(activations, "state", obs=obs, settings=FAST)
    assert list(found.table.columns)[: len(COLUMNS)] == list(COLUMNS)
    names = set(head_table(found.table)["name"])
    assert {"L0H0", "L1H2", "best z"} <= names
    assert "L0" not in names  # a layer is no head
    assert len(found.donors[found.donors["name"] == "L0H0.z"]) == 3 * 2 * 8
    assert found.table["q"].notna().all()
    again = probe(activations, "state", obs=obs, settings=FAST)
    pd.testing.assert_frame_equal(again.table, found.table)


def test_without_controls_there_is_no_p():
    activations, obs = world(4)
    found = probe(activations, "state", obs=obs, sites="resid_post", controls=False, settings=FAST)
    assert found.table["p"].isna().all()
    assert found.table["value"].notna().all()


def test_a_target_that_cannot_be_probed_is_a_reported_skip():
    activations, obs = world(5, n_donors=2)
    found = probe(activations, "state", obs=obs, settings=FAST)
    assert set(found.table["status"]) == {"not computable"}
    assert found.table["reason"].str.contains("2 donors can be scored").all()
    assert "not computable: 2 donors can be scored" in repr(found)
    assert len(found.table) == 3 * N_LAYERS * (N_HEADS + 1)
    constant = probe(activations, "same", obs=obs.assign(same="x"), settings=FAST)
    assert constant.table["reason"].str.contains("one class only").all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sites": "q"}, "no site 'q' among the activations; there are: z, resid_post"),
        ({"sites": []}, "no sites were given"),
        ({"obs": None}, "give obs="),
        ({"target": "statee"}, "did you mean 'state'"),
        ({"groups": "mouse"}, "no column 'mouse'"),
        ({"settings": ProbeSettings(draws=2)}, "a p needs 3 or more"),
        ({"model": object()}, "needs the cells and a store"),
    ],
)
def test_bad_input_is_said(change, message):
    activations, obs = world(6)
    given = {"activations": activations, "target": "state", "obs": obs, "settings": FAST} | change
    with pytest.raises(InputError, match=message):
        probe(**given)
    with pytest.raises(InputError, match="rows of labels"):
        probe(activations, "state", obs=obs[:-1])


@pytest.fixture(scope="module")
def captured():
    cells = interp.simulate(n_donors=4, n_cells=140, n_genes=100, seed=2, stages=["HSC", "naive B", "NK"])
    cells = interp.read_cells(cells, donor="donor", tissue="tissue", cell_type="cell_type")
    model = interp.load_model("scgpt-sim", device="cpu")
    store = interp.capture(model, cells, sites=["resid_post", "z"], layers=[0, 3], reduce="mean")
    return cells, model, store


def test_a_store_is_probed_beside_what_owes_nothing_to_training(captured):
    cells, model, store = captured
    found = interp.probe(store, "stage", cells=cells, model=model, settings=ProbeSettings(draws=3, max_folds=3))
    rows = found.baselines[found.baselines["metric"] == "balanced_accuracy"]
    names = set(rows["name"])
    assert {"raw log1p", "bag of tokens", "PCA-10", "PCA-16", "PCA-64", "random projection-64"} <= names
    assert {"untrained L0H1.z", "untrained L3.resid_post", "untrained best z"} <= names
    assert rows.loc[rows["name"] == "raw log1p", "against"].tolist() == ["best z", "best resid_post"]
    skipped = found.baselines[found.baselines["status"] != "ok"].set_index("name")["reason"]
    assert "share 100 genes" in skipped["HVG"]
    raw = rows[(rows["name"] == "raw log1p") & (rows["against"] == "best z")].iloc[0]
    best = of(found.table).loc["best z", "value"]
    assert raw["difference"] == pytest.approx(best - raw["value"])
    own = rows[rows["name"] == "untrained L0H1.z"].iloc[0]
    assert own["against"] == "L0H1.z"
    assert own["value"] != of(found.table).loc["L0H1.z", "value"]


def test_cells_of_another_order_are_matched_by_name(captured):
    cells, _, store = captured
    settings = ProbeSettings(draws=3, max_folds=3)
    one, other = (
        interp.probe(store, "true_pseudotime", cells=given, sites="resid_post", settings=settings)
        for given in (cells, cells[::-1].copy())
    )
    pd.testing.assert_frame_equal(one.baselines, other.baselines)
    with pytest.raises(InputError, match="captured cells are not in cells="):
        interp.probe(store, "stage", cells=cells[:10].copy())


def test_another_model_is_refused(captured):
    cells, _, store = captured
    from interp.scgpt.load import untrained_like

    other = untrained_like(interp.load_model("scgpt-sim", device="cpu"), 0)
    with pytest.raises(InputError, match="not captured from this model"):
        interp.probe(store, "stage", cells=cells, model=other, settings=ProbeSettings(draws=3, max_folds=3))
