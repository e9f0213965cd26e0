import numpy as np
import pytest

from interp.errors import InputError
from interp.evidence.manifold import measure_manifold


def pick(table, measure, metric="", pairs=""):
    found = table[(table["measure"] == measure) & (table["metric"] == metric) & (table["pairs"] == pairs)]
    assert len(found) == 1
    return found.iloc[0]


@pytest.fixture(scope="module")
def ordered(planted):
    panel, features, _ = planted(n_donors=6, n_studies=2, noise=0.15)
    return panel, features


@pytest.fixture(scope="module")
def table(ordered):
    panel, features = ordered
    return measure_manifold(panel, features, inputs=features, n_null=39)


def test_every_measure_stands_beside_its_null_or_says_why_it_is_missing(table):
    computable = table[table["status"] == "ok"]
    assert (computable["null"] != "").all()
    bare = computable[computable["null_mean"].isna() & ~computable["measure"].str.startswith("blocked")]
    assert bare.empty
    assert (table.loc[table["status"] != "ok", "reason"] != "").all()


def test_an_ordered_embedding_is_above_permuted_stages(table):
    row = pick(table, "spearman with the ruler", "euclidean", "different-stage")
    assert row["value"] > 0.9 > row["null_95"]
    assert row["p"] == pytest.approx(1 / 40)
    assert row["lo"] <= row["value"] <= row["hi"] + 1e-12


def test_an_embedding_without_order_is_not(planted):
    panel, features, _ = planted(n_donors=6, ordered=False)
    found = measure_manifold(panel, features, n_null=39)
    row = pick(found, "spearman with the ruler", "euclidean", "different-stage")
    assert abs(row["value"]) < row["null_95"] + 0.2
    assert row["p"] > 0.05


def test_what_was_embedded_keeps_its_neighbours_and_permuted_rows_do_not(table):
    row = pick(table, "trustworthiness")
    assert row["value"] == 1.0
    assert row["null_mean"] == pytest.approx(0.5, abs=0.1)
    error = pick(table, "rank error low")
    assert error["value"] == 0.0
    assert error["p"] == pytest.approx(1 / 21)  # a low error is the better side


def test_neighbourhoods_need_what_was_embedded(ordered):
    panel, features = ordered
    row = pick(measure_manifold(panel, features, n_null=3), "trustworthiness")
    assert row["status"] == "not computable"
    assert "not given" in row["reason"]


def test_a_constant_embedding_passes_nothing(ordered):
    panel, features = ordered
    found = measure_manifold(panel, np.ones_like(features), inputs=features, n_null=3)
    agreement = found[found["measure"] == "spearman with the ruler"]
    assert (agreement["status"] == "not computable").all()
    assert pick(found, "trustworthiness")["status"] == "not computable"


def test_the_order_of_the_anchors_does_not_matter(ordered, table):
    panel, features = ordered
    order = np.random.default_rng(0).permutation(len(panel))
    turned = type(panel)(panel.obs.iloc[order], panel.classes[order], panel.labels, (), panel.name)
    found = measure_manifold(turned, features[order], inputs=features[order], n_null=3)
    for measure, metric, pairs in [
        ("trustworthiness", "", ""),
        ("spearman with the ruler", "geodesic", "within-study"),
        ("participation ratio", "", ""),
    ]:
        ours, theirs = (pick(t, measure, metric, pairs)["value"] for t in (found, table))
        assert ours == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("bad", [np.ones((3, 2)), None])
def test_one_finite_row_per_anchor_is_needed(ordered, bad):
    panel, features = ordered
    given = np.full_like(features, np.nan) if bad is None else bad
    with pytest.raises(InputError, match="one finite row per anchor"):
        measure_manifold(panel, given)
