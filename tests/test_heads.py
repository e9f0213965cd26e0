"""The head table: donors weigh alike, nulls and ties are marked, the wide view takes what selection chose."""

import numpy as np
import pandas as pd
import pytest

from interp.errors import InputError
from interp.heads import COLUMNS, best_heads, head_of, head_table, score_table, tied_with_best, write_head_tables
from interp.stats import null_floor


def rows(name, values, *, role="score", metric="order", target="stage", donors=None):
    donors = donors or [f"d{i}" for i in range(len(values))]
    shared = {"name": name, "metric": metric, "target": target, "role": role}
    return [{**shared, "donor": donor, "value": value} for donor, value in zip(donors, values, strict=True)]


def table(*parts):
    return pd.DataFrame([row for part in parts for row in part])


def test_columns_are_those_of_scores_csv_and_best_stands_first():
    scores = score_table(table(rows("L0H1.mean.out", [0.1, 0.2]), rows("L3H2.sum.in", [0.5, 0.6])))
    assert tuple(scores.columns) == COLUMNS
    assert list(scores["name"]) == ["L3H2.sum.in", "L0H1.mean.out"]
    assert scores[["layer", "head"]].to_numpy().tolist() == [[3, 2], [0, 1]]


def test_splits_of_a_donor_are_averaged_before_donors():
    scores = score_table(table(rows("L0H0.mean.out", [1.0, 1.0, 1.0, 0.0], donors=["a", "a", "a", "b"])))
    assert scores["value"].item() == 0.5
    assert scores["n_donors"].item() == 2
    assert scores["lo"].item() == 0.0
    assert scores["hi"].item() == 1.0


def test_nan_is_left_out_and_a_candidate_without_values_is_not_computable():
    scores = score_table(table(rows("L0H0.mean.out", [0.4, np.nan]), rows("L0H1.mean.out", [np.nan])))
    first, second = scores.to_dict("records")
    assert (first["value"], first["n_donors"], first["status"]) == (0.4, 1, "ok")
    assert np.isnan(first["lo"])
    assert np.isnan(second["value"])
    assert (second["status"], second["tied"]) == ("not computable", False)


def test_null_gives_mean_sd_floor_p_and_q():
    draws = np.array([0.0, 0.1, 0.2, 0.3])
    nulls = pd.DataFrame({"metric": "order", "target": "stage", "value": draws})
    scores = score_table(table(rows("L0H0.mean.out", [0.9]), rows("L0H1.mean.out", [0.15])), nulls=nulls)
    assert scores["null_mean"].tolist() == pytest.approx([0.15, 0.15])
    assert scores["null_sd"].tolist() == pytest.approx([draws.std(ddof=1)] * 2)
    assert scores["floor"].tolist() == pytest.approx([null_floor(draws)] * 2)
    assert scores["p"].tolist() == [1 / 5, 3 / 5]
    assert scores["q"].tolist() == pytest.approx([2 / 5, 3 / 5])


def test_nulls_by_name_and_role_are_held_against_their_own():
    nulls = pd.DataFrame(
        {
            "metric": "order",
            "target": "stage",
            "name": ["L0H0.mean.out", "L0H0.mean.out", "L0H1.mean.out"],
            "role": ["score", "select", "score"],
            "value": [0.0, 5.0, 1.0],
        }
    )
    scores = score_table(table(rows("L0H0.mean.out", [0.5]), rows("L0H1.mean.out", [0.4])), nulls=nulls)
    assert scores["null_mean"].tolist() == [0.0, 1.0]


def test_floor_is_the_95th_percentile_of_differences_between_draws():
    draws = np.random.default_rng(0).normal(size=60)
    differences = [abs(a - b) for i, a in enumerate(draws) for b in draws[:i]]
    assert null_floor(draws) == pytest.approx(np.quantile(differences, 0.95))
    assert np.isnan(null_floor([1.0]))


def test_heads_within_the_floor_of_the_best_are_tied():
    parts = [rows(f"L0H{head}.mean.out", [value]) for head, value in enumerate([0.50, 0.46, 0.30])]
    tied = score_table(table(*parts), floor=0.05).set_index("name")["tied"]
    assert tied.tolist() == [True, True, False]
    assert not score_table(table(*parts), floor={"order": 0.01})["tied"].any()
    assert not score_table(table(*parts))["tied"].any()


def test_of_heads_that_are_exactly_equal_the_largest_floor_counts_in_any_order():
    values, floors = [0.5, 0.5, 0.47, 0.3], [0.0, 0.04, 0.9, 0.9]
    assert tied_with_best(values, floors).tolist() == [True, True, True, False]
    assert tied_with_best(values[::-1], floors[::-1]).tolist() == [False, True, True, True]
    assert not tied_with_best([np.nan, np.nan], [0.1, 0.1]).any()
    assert not tied_with_best([0.5, 0.5], [np.nan, np.nan]).any()


def test_metrics_targets_and_roles_are_kept_apart():
    parts = [rows("L0H0.mean.out", [0.9], role="select"), rows("L0H0.mean.out", [0.1]), rows("L0H1.mean.out", [0.12])]
    scores = score_table(table(*parts, rows("L0H0.mean.out", [7.0], metric="probe", target=None)), floor=0.05)
    best = scores[scores["role"] == "score"].set_index(["metric", "name"])["value"]
    assert best["order", "L0H1.mean.out"] == 0.12
    assert best["probe", "L0H0.mean.out"] == 7.0
    assert scores[(scores["metric"] == "order") & (scores["role"] == "score")]["tied"].all()


def test_wide_view_scores_the_operator_that_selection_chose():
    scores = score_table(
        table(
            rows("L0H0.mean.out", [0.6], role="select"),
            rows("L0H0.mean.in", [0.5], role="select"),
            rows("L0H0.mean.out", [0.2]),
            rows("L0H0.mean.in", [0.9]),
            rows("L0H1.mean.out", [0.1], role="select"),
            rows("drift.mean.out", [0.3], role="select"),
        ),
        floor=0.1,
    )
    wide = head_table(scores).set_index("name")
    assert list(wide.index) == ["L0H0", "L0H1", "drift"]
    assert wide.loc["L0H0", "order.stage.operator"] == "L0H0.mean.out"
    assert wide.loc["L0H0", "order.stage.select"] == 0.6
    assert wide.loc["L0H0", "order.stage.score"] == 0.2
    assert np.isnan(wide.loc["L0H1", "order.stage.score"])
    assert pd.isna(wide.loc["drift", "layer"])


def test_scores_without_a_target_have_a_place_also_when_they_were_read_again():
    scores = score_table(table(rows("L0H0", [0.1, 0.3], metric="loss", target=None)))
    assert head_table(scores)["loss.score"].tolist() == [0.2]
    assert head_table(scores.assign(target=np.nan))["loss.score"].tolist() == [0.2]


def test_layers_and_heads_are_ordered_as_numbers():
    names = ["L10H0.mean.out", "L2H11.mean.out", "L2H3.mean.out"]
    assert list(head_table(score_table(table(*[rows(n, [0.1]) for n in names])))["name"]) == ["L2H3", "L2H11", "L10H0"]


def test_wide_view_keeps_interval_floor_and_rank_of_the_held_out_score_and_no_layers():
    scores = score_table(
        table(
            rows("L0H0.z", [0.1, 0.3], role="select"),
            rows("L0H0.z", [0.4, 0.6]),
            rows("L0H1.z", [0.7, 0.9]),
            rows("L0.resid_post", [0.99, 0.99]),
            rows("L1H0.z", [np.nan]),
        ).assign(metric="balanced_accuracy"),
        floor=0.05,
    )
    layer = scores["name"].eq("L0.resid_post")
    scores.loc[layer, "layer"], scores.loc[~layer, "q"] = 0, 0.01
    wide = head_table(scores).set_index("name")
    assert list(wide.index) == ["L0H0", "L0H1", "L1H0"]
    found = wide.filter(like="balanced_accuracy.stage.").rename(columns=lambda name: name.rsplit(".", 1)[1])
    assert found["rank"].tolist() == [2, 1, pd.NA]
    assert found.loc["L0H1", ["score", "floor", "q"]].tolist() == [pytest.approx(0.8), 0.05, 0.01]
    assert found.loc["L0H1", "lo"] == pytest.approx(0.7)


def test_the_best_heads_are_read_from_the_wide_view():
    parts = [rows(f"L{i}H0.z", [value]) for i, value in enumerate([0.2, np.nan, 0.9, 0.2])]
    wide = head_table(score_table(table(*parts, rows("drift.mean.out", [1.0]))))
    assert best_heads(wide, 9, by="order.stage.score") == [(2, 0), (0, 0), (3, 0)]
    assert best_heads(wide, 1, by="order.stage.score") == [(2, 0)]
    with pytest.raises(InputError, match=r"order\.stage\.select"):
        best_heads(wide, 1, by="order.stage.select")


def test_both_tables_are_written(tmp_path):
    scores = score_table(table(rows("L0H0.mean.out", [0.1, 0.3]), rows("drift.mean.out", [0.2, 0.2])))
    long, wide = write_head_tables(scores, tmp_path)
    assert tuple(pd.read_csv(long).columns) == COLUMNS
    assert list(pd.read_csv(wide)["name"]) == ["L0H0", "drift"]


def test_names_of_heads_are_read_and_others_have_none():
    assert head_of("L2H5") == head_of("L2H5.sum.in") == (2, 5)
    assert head_of("drift.mean.out") is None
    assert head_of("identity") is None


def test_bad_tables_are_named():
    with pytest.raises(InputError, match="lack the columns target, role"):
        score_table(pd.DataFrame({"name": ["a"], "metric": ["m"], "value": [1.0]}))
    with pytest.raises(InputError, match="no role 'train'"):
        score_table(table(rows("L0H0", [0.1], role="train")))
