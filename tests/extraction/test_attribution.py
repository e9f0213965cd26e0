import numpy as np
import pandas as pd
import pytest

from interp.biology import StageGraph
from interp.biology.pairs import PAIRS
from interp.cells.anchors import Anchors
from interp.errors import InputError
from interp.extraction.attribution import attribution
from interp.extraction.contrasts import DEPTH, PSEUDOTIME, STAGE_AXIS, Contrasts, _gradient
from interp.extraction.operator import Operator

GRAPH = StageGraph.hematopoiesis()
STAGES = (
    "HSC",
    "MPP",
    "CLP",
    "DN thymocyte",
    "DP thymocyte",
    "naive CD4 T",
    "memory CD4 T",
    "naive CD8 T",
    "memory CD8 T",
)
N_GENES, RISING, CD4, CD8 = 30, 0, 1, 2
GENES = tuple(f"G{i}" for i in range(N_GENES))


def panel(n_donors=8, seed=0, noise=0.15):
    """G0 rises with depth, G1 marks CD4 and G2 CD8; ten genes tell stages apart, the other genes are noise."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "donor": f"d{d}",
            "study": f"s{d % 2}",
            "cell_type": s,
            "stage": s,
            "branch": GRAPH.branch(s),
            "depth": float(GRAPH.depth(s)),
        }
        for d in range(n_donors)
        for s in STAGES
    ]
    obs = pd.DataFrame(rows)
    x = noise * rng.normal(size=(len(obs), N_GENES)) + 2.0
    x[:, RISING] += 0.8 * obs["depth"]
    x[:, CD4] += 2.0 * obs["stage"].str.contains("CD4")
    x[:, CD8] += 2.0 * obs["stage"].str.contains("CD8")
    for i, stage in enumerate(STAGES):
        x[:, 3 + i] += 0.5 * (obs["stage"] == stage)
    return Anchors(x, obs, GENES)


@pytest.fixture(scope="module")
def identity():
    return Operator("identity", "mean", "out", np.eye(N_GENES), GENES)


@pytest.fixture(scope="module")
def found(identity):
    return attribution(identity, panel(), GRAPH, alpha=0.01, ridge=0.03, n_starts=1, n_boot=60)


def of(table, contrast):
    return table[table["contrast"] == contrast].set_index("gene")


@pytest.mark.parametrize("contrast", [STAGE_AXIS, PSEUDOTIME, DEPTH])
def test_a_planted_stage_gene_comes_out_on_top_of_the_stage_axis(found, contrast):
    top = of(found, contrast).loc["G0"]
    assert top["rank"] == 1
    assert 0 < top["lo"] < top["weight"] < top["hi"]
    assert top["sign_stability"] == 1.0
    assert top["n_boot"] == 60


def test_planted_markers_lead_the_pair_in_the_direction_of_their_side(found):
    pair = of(found, "CD4/CD8")
    assert set(pair.sort_values("rank").index[:2]) == {"G1", "G2"}
    assert pair[["negative", "positive"]].iloc[0].tolist() == ["CD4", "CD8"]
    assert pair.loc["G1", "hi"] < 0 < pair.loc["G2", "lo"]


def test_genes_of_noise_have_intervals_that_hold_zero(found):
    noise = of(found, STAGE_AXIS).loc[[f"G{i}" for i in range(15, N_GENES)]]
    assert ((noise["lo"] < 0) & (noise["hi"] > 0)).mean() > 0.7
    assert noise["weight"].abs().max() < 0.2 * of(found, STAGE_AXIS).loc["G0", "weight"]


def test_every_contrast_ranks_every_gene_by_weight(found):
    assert {"T / rest", "stem and progenitor / rest"} <= set(found["contrast"])
    for _, rows in found.groupby("contrast"):
        assert rows["rank"].tolist() == list(range(1, N_GENES + 1))
        assert (np.diff(rows["weight"].abs()) <= 1e-12).all()


def test_the_way_from_root_to_deepest_stage_is_one(found):
    anchors = panel()
    stages, sd = anchors.obs["stage"], anchors.features.std(axis=0)
    shift = anchors.features[stages.isin(["memory CD4 T", "memory CD8 T"])].mean(axis=0) - anchors.features[
        stages == "HSC"
    ].mean(axis=0)
    weights = of(found, STAGE_AXIS)["weight"].loc[list(GENES)].to_numpy()
    assert (weights / sd) @ shift == pytest.approx(1.0)


def test_an_operator_and_its_own_features_give_the_same_genes(found, identity):
    """Permuting the features that an operator writes changes nothing for the genes that it reads."""
    order = np.random.default_rng(1).permutation(N_GENES)
    turned = Operator("turned", "mean", "out", np.eye(N_GENES)[:, order], GENES)
    again = attribution(turned, panel(), GRAPH, alpha=0.01, ridge=0.03, n_starts=1, n_boot=2)
    for contrast in (STAGE_AXIS, PSEUDOTIME, DEPTH, "CD4/CD8"):
        own = of(found, contrast)["weight"]
        np.testing.assert_allclose(of(again, contrast)["weight"].loc[own.index], own, atol=1e-4 * own.abs().max())


def test_directions_turn_with_the_latents_and_scale_against_them():
    rng = np.random.default_rng(0)
    anchors = panel()
    z = anchors.features[:, :6]
    rotation = 3.0 * np.linalg.qr(rng.normal(size=(6, 6)))[0]
    contrasts = Contrasts.of(anchors.obs, PAIRS)
    one, other = (dict(contrasts.directions(each, 2.0, anchors.obs)) for each in (z, z @ rotation))
    assert {c.name for c in one} >= {STAGE_AXIS, PSEUDOTIME, DEPTH, "CD4/CD8"}
    for contrast, w in one.items():
        np.testing.assert_allclose(rotation @ other[contrast], w, atol=1e-4 * np.abs(w).max())


def test_the_pseudotime_direction_is_the_gradient_of_the_angle():
    rng = np.random.default_rng(0)
    z, root, step = rng.normal(size=(5, 4)), rng.normal(size=4), 1e-6

    def angle(latents):
        return np.arccos(latents @ root / np.linalg.norm(latents, axis=1) / np.linalg.norm(root))

    by_hand = [(angle(z + step * e) - angle(z - step * e)).mean() / (2 * step) for e in np.eye(4)]
    np.testing.assert_allclose(_gradient(z, root), by_hand, atol=1e-6)
    np.testing.assert_array_equal(_gradient(root[None], root), np.zeros(4))


def test_a_contrast_that_few_resamples_have_gets_no_interval(identity):
    anchors = panel()
    keep = ~anchors.obs["stage"].str.contains("CD8") | anchors.obs["donor"].isin(["d0", "d1", "d3"])
    found = attribution(identity, anchors.subset(keep.to_numpy()), GRAPH, alpha=0.01, ridge=0.03, n_starts=1, n_boot=40)
    pair = of(found, "CD4/CD8")
    assert 0 < pair["n_boot"].iloc[0] < 40
    assert pair["lo"].isna().all()
    assert of(found, DEPTH)["lo"].notna().all()


def test_equal_seeds_give_equal_tables_and_others_do_not(identity):
    args = {"alpha": 0.01, "ridge": 0.03, "n_starts": 1, "n_boot": 40}
    one, again, other = (attribution(identity, panel(4), GRAPH, seed=seed, **args) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(one, again)
    assert not np.allclose(one["lo"], other["lo"], equal_nan=True)


def test_other_genes_and_unknown_stages_are_refused(identity):
    anchors = panel(2)
    with pytest.raises(InputError, match="same order"):
        attribution(identity, Anchors(anchors.features, anchors.obs, GENES[::-1]), GRAPH, alpha=0.1, ridge=0.1)
    nameless = Anchors(anchors.features, anchors.obs.assign(stage=None), GENES)
    with pytest.raises(InputError, match="no adaptor"):
        attribution(identity, nameless, GRAPH, alpha=0.1, ridge=0.1)
