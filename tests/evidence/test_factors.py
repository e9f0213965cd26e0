"""Chain, ablation and factor tables on planted panels: what carries the stages is known."""

from types import SimpleNamespace

import numpy as np
import pytest

from interp.errors import InputError
from interp.evidence import ORDER, Campaign, Choice, Settings
from interp.evidence.chain import DRIFT, FOLDED, TOP, chain_table, top_head
from interp.evidence.endpoints import BRANCH
from interp.evidence.factor_ablation import OVERALL, ablation
from interp.evidence.factor_tables import factor_tables, shares
from interp.extraction.operator import Operator
from interp.extraction.surrogates import truncated

N_GENES, RANK = 60, 8


def operators_of(loadings):
    """A head that spreads the stages' programs, strongest first, one of noise, and a pooled drift."""
    rng = np.random.default_rng(0)
    genes = tuple(f"G{i}" for i in range(N_GENES))
    n = loadings.shape[1]
    write = np.linalg.qr(rng.normal(size=(N_GENES, n)))[0]
    head = (loadings * np.linspace(2.0, 1.0, n)) @ write.T
    noise = rng.normal(size=(N_GENES, N_GENES))
    shared = {"genes": genes, "n_cells": 10, "provenance": {}}
    return [
        Operator("L0H0.mean.out", "mean", "out", head, heads=((0, 0),), **shared),
        Operator("L0H1.mean.out", "mean", "out", noise, heads=((0, 1),), **shared),
        Operator("drift.mean.out", "mean", "out", np.hstack([head, noise]), heads=((0, 0), (0, 1)), **shared),
    ]


@pytest.fixture(scope="module")
def campaign(planted, solver):
    panel, features, loadings = planted(noise=0.2, n_folds=2, n_donors=8)
    operators = operators_of(loadings)
    source = SimpleNamespace(
        operators=lambda split: operators,
        expression=lambda split: features,
        genes={split.id: operators[0].genes for split in panel.splits},
    )
    return Campaign(panel, source, solver)


def choices(campaign, index=0):
    choice = Choice(index, "chosen", Settings(), (0.5, 0.1, 0.9), ())
    return {split.id: choice for split in campaign.panel.splits}


@pytest.fixture(scope="module")
def chain(campaign):
    return chain_table(campaign, choices(campaign), ranks=(RANK, 2))


@pytest.fixture(scope="module")
def tables(campaign):
    return factor_tables(campaign, "L0H0.mean.out", rank=RANK, tops=(2, 4), n_rotations=20)[0]


def at(table, **wanted):
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table


# -- the chain --------------------------------------------------------------------------------------------------------


def test_the_chain_has_every_step_and_endpoint_in_order(campaign, chain):
    assert list(dict.fromkeys(chain.steps["step"])) == [DRIFT, TOP, "rank 8", "rank 2", "sparse 16 x 60", FOLDED]
    assert (chain.steps.groupby("step").size() == 4).all()
    assert set(chain.donors["donor"]) == set(campaign.panel.donors)
    for row in chain.steps.itertuples():
        values = at(chain.donors, control=row.step, endpoint=row.endpoint)["value"].dropna()
        assert row.value == pytest.approx(values.mean())
        assert row.lo <= row.value <= row.hi


def test_the_top_step_is_what_the_campaign_measures(campaign, chain):
    from interp.evidence import Candidates, arm_of

    own = Candidates("top", campaign.source.operators, campaign.source.expression)
    direct = campaign.endpoints([arm_of(own, choices(campaign))])[0]
    mine = at(chain.donors, control=TOP).set_index(["endpoint", "donor"])["value"]
    np.testing.assert_allclose(mine, direct.set_index(["endpoint", "donor"])["value"].loc[mine.index], atol=1e-4)


def test_the_folded_map_is_the_top_head_to_rounding(chain):
    top, folded = (at(chain.donors, control=step).set_index(["endpoint", "donor"])["value"] for step in (TOP, FOLDED))
    np.testing.assert_allclose(folded.loc[top.index], top, atol=1e-6)
    row = at(chain.steps, step=FOLDED).iloc[0]
    assert 0 < row["latent_difference"] < 1e-5
    assert row["n_parameters"] == N_GENES * 10 + 10
    assert set(at(chain.losses, step=FOLDED)["status"]) == {"the same"}
    assert at(chain.losses, step=FOLDED)["p"].isna().all()


def test_folding_is_smaller_than_any_chain_of_operator_and_adaptor(chain):
    sizes = chain.steps.drop_duplicates("step").set_index("step")
    assert sizes["chain_bytes"].idxmin() == FOLDED
    assert sizes.loc["rank 2", "size_bytes"] < sizes.loc[TOP, "size_bytes"] < sizes.loc[DRIFT, "size_bytes"]
    assert sizes.loc["rank 2", "n_parameters"] == 2 * 2 * N_GENES


def test_two_factors_lose_the_order_and_more_than_eight_do(chain):
    losses = at(chain.losses, endpoint=ORDER).set_index("step")
    assert losses.loc["rank 2", "status"] == "lost"
    assert losses.loc["rank 2", "loss"] > losses.loc["rank 8", "hi"]
    tested = chain.losses[chain.losses["p"].notna()]
    assert (tested["q"] >= tested["p"]).all()


def test_the_top_head_is_a_single_head_even_where_the_drift_was_chosen(campaign):
    operators = campaign.source.operators(None)
    choice = choices(campaign, index=2)["fold0"]
    assert top_head(operators, choice) == 0
    assert top_head(operators, choices(campaign, index=1)["fold0"]) == 1
    assert top_head(operators[2:], choice) == -1


def test_a_model_without_a_drift_says_so(campaign):
    source = SimpleNamespace(**{**vars(campaign.source), "operators": lambda split: operators_of_model[:2]})
    operators_of_model = campaign.source.operators(None)
    found = chain_table(Campaign(campaign.panel, source, campaign.solver), choices(campaign), ranks=(2,))
    row = at(found.steps, step=DRIFT)
    assert row["reason"].tolist() == ["the model has no such operator in every split"]
    assert row["value"].isna().all()
    assert DRIFT not in set(found.losses["step"])


def test_a_panel_of_one_donor_has_an_empty_chain(planted, solver):
    panel = planted(n_donors=1)[0]
    found = chain_table(Campaign(panel, SimpleNamespace(), solver), {})
    assert found.steps.empty
    assert found.losses.empty
    assert "latent_difference" in found.steps.columns


# -- ablation ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured(campaign):
    return ablation(campaign, lambda operator: truncated(operator, RANK), "L0H0.mean.out")


def test_all_factors_kept_is_the_surrogate_itself(campaign, measured, chain):
    full = measured.values(np.ones((1, len(measured))))[0]
    rank = at(chain.donors, control="rank 8").set_index(["endpoint", "donor"])["value"]
    for endpoint, row in zip(measured.endpoints, full, strict=True):
        np.testing.assert_allclose(row, rank.loc[endpoint].loc[list(measured.donors)], atol=1e-3)


def test_a_rotated_basis_is_the_same_operator(measured):
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(len(measured),) * 2))[0]
    kept = np.ones((1, len(measured)))
    np.testing.assert_allclose(measured.values(kept, rotation), measured.values(kept), atol=1e-9)
    one = np.eye(len(measured))[:1]
    assert not np.allclose(measured.values(one, rotation), measured.values(one), atol=1e-2, equal_nan=True)


def test_rotating_by_a_permutation_permutes_the_drops(measured):
    order = np.array([2, 0, 1, *range(3, len(measured))])
    np.testing.assert_allclose(measured.drops(np.eye(len(measured))[:, order]), measured.drops()[order], atol=1e-9)


def test_ablation_by_hand(campaign, measured):
    """Setting a factor's activation to its training mean, worked out from the expression itself."""
    part = measured.parts[0]
    probe = part.probes.probes[-1]
    x = campaign.source.expression(None)
    read, write = part.factors.read, part.factors.write
    a = x[probe.asked] @ read
    a[:, 1] = (x[probe.train] @ read[:, 1]).mean()
    loadings, offset = probe.fit.as_map()
    keep = np.ones(len(measured))
    keep[1] = 0.0
    got = part._latents(part._projection(keep, None), probe)
    np.testing.assert_allclose(got, a @ write.T @ loadings + offset, atol=1e-9)


def test_an_unknown_operator_and_a_single_donor_are_refused(campaign, planted, solver):
    with pytest.raises(InputError, match="no operator 'L9H9'"):
        ablation(campaign, lambda operator: truncated(operator, 2), "L9H9")
    alone = Campaign(planted(n_donors=1)[0], SimpleNamespace(), solver)
    with pytest.raises(InputError, match="one donor"):
        ablation(alone, lambda operator: truncated(operator, 2), "L0H0.mean.out")


# -- tables -----------------------------------------------------------------------------------------------------------


def test_a_factor_that_alone_sets_lineages_apart_has_the_impact(planted, solver):
    """One strong factor reads what tells the stages apart; three read noise."""
    panel, features, _ = planted(noise=0.05, n_folds=2, stages=("HSC", "CMP", "GMP", "neutrophil", "MEP", "CLP"))
    rng = np.random.default_rng(3)
    means = np.array([features[panel.obs["stage"] == s].mean(axis=0) for s in panel.labels.stages])
    axis = np.linalg.svd(means - means.mean(axis=0))[2][0]
    read = np.linalg.qr(np.column_stack([axis, rng.normal(size=(N_GENES, 3))]))[0]
    write = np.linalg.qr(rng.normal(size=(N_GENES, 4)))[0]
    matrix = (read * [4.0, 3.0, 2.0, 1.0]) @ write.T
    genes = tuple(f"G{i}" for i in range(N_GENES))
    operator = Operator("L0H0.mean.out", "mean", "out", matrix, genes, heads=((0, 0),))
    source = SimpleNamespace(
        operators=lambda split: [operator], expression=lambda split: features, genes={s.id: genes for s in panel.splits}
    )
    found, factors = factor_tables(Campaign(panel, source, solver), operator.name, rank=4, tops=(1,), n_rotations=20)
    overall = at(found.impact, surrogate="rank 4", endpoint=OVERALL).set_index("factor")
    assert overall["rank"].idxmin() == 0
    assert overall.loc[0, "lo"] > 0
    assert abs(factors.read[:, 0] @ axis) == pytest.approx(2.0, rel=1e-6)  # the root of its singular value
    own = at(found.concentration, endpoint=OVERALL, n_top=1, measure="absolute").iloc[0]
    assert own["observed"] > own["rotated_mean"]


def test_rotation_spreads_the_impact_of_the_planted_programs(tables):
    curves = tables.curves
    own, turned = (curves[curves["basis"] == basis] for basis in ("factors", "rotated"))
    assert len(own) == RANK
    assert len(turned) == 20 * RANK
    assert own["share"].iloc[-1] == pytest.approx(1.0)
    assert (turned.groupby("draw")["share"].last() - 1.0).abs().max() < 1e-9
    row = at(tables.concentration, endpoint=OVERALL, measure="negative as zero", n_top=2).iloc[0]
    assert row["even"] == 2 / RANK
    assert row["rotated_lo"] <= row["rotated_mean"] <= row["rotated_hi"]
    assert 1 / 21 <= row["p"] <= 1


def test_shares_and_cumulative_shares_agree(tables):
    for _, rows in tables.impact.groupby(["surrogate", "endpoint"]):
        ordered = rows.sort_values("rank")
        np.testing.assert_allclose(ordered["share"].cumsum(), ordered["cumulative"], atol=1e-9)
        assert rows["cumulative_absolute"].max() == pytest.approx(1.0)
        assert sorted(rows["rank"]) == list(range(1, len(rows) + 1))


def test_cores_are_chosen_on_other_donors_and_grow_towards_the_whole(tables):
    assert set(tables.core["chosen_on"]) == {"donors of other splits"}
    small, large = (at(tables.core, endpoint=BRANCH, n_top=n).iloc[0] for n in (2, 4))
    assert small["loss"] >= large["loss"] - 0.05
    np.testing.assert_allclose(tables.core["full"] - tables.core["value"], tables.core["loss"], atol=1e-9)


def test_subsets_of_four_are_sixteen_and_the_empty_one_loses_nothing(tables):
    order = at(tables.subsets, endpoint=ORDER)
    assert len(order) == 16
    assert order.iloc[0]["factors"] == "none"
    assert order.iloc[0]["drop"] == 0
    singles = order[~order["factors"].str.contains(r"\+") & (order["factors"] != "none")]
    np.testing.assert_allclose(singles["drop"], singles["sum_of_drops"], atol=1e-9)


def test_sparse_factors_share_their_genes_with_the_factors_they_came_from(tables):
    assert set(tables.overlap["side"]) == {"read", "write"}
    assert (tables.overlap["jaccard"] == 1.0).all()  # 60 genes of 60 on either side
    assert (tables.overlap["p"] == 1.0).all()  # and so no news against chance


def test_shares_of_nothing_are_not_numbers():
    assert np.isnan(shares(np.array([-1.0, 0.0]), "negative as zero")).all()
    assert shares(np.array([-1.0, 3.0]), "absolute").tolist() == [0.25, 0.75]
