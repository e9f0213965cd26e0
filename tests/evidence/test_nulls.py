import math
from itertools import permutations

import numpy as np
import pytest

from interp.errors import InputError
from interp.evidence import Arm
from interp.evidence.nulls import (
    COHERENT,
    FAMILIES,
    LOOK_UP,
    REWIRED,
    SHUFFLED_FEATURES,
    SHUFFLED_RULER,
    WITHIN_STUDIES,
    coherent,
    home_studies,
    null_arms,
    null_families,
    shuffled_rulers,
)
from interp.evidence.panel import Labels
from interp.stats import permutation_p


def all_rulers(labels):
    return {labels.permuted(order).ruler.tobytes() for order in permutations(range(len(labels)))}


def test_few_classes_are_enumerated(graph):
    labels = Labels.of(graph, ["HSC", "CMP", "GMP", "NK"])
    found = [null.ruler.tobytes() for null in coherent(labels, 199, 0)]
    assert len(set(found)) == len(found)
    assert set(found) == all_rulers(labels) - {labels.ruler.tobytes()}


def test_the_enumerated_null_gives_the_exact_permutation_p(graph):
    labels = Labels.of(graph, ["HSC", "CMP", "GMP", "NK", "CLP"])
    latent = np.random.default_rng(0).normal(size=(5, 5))

    def statistic(some):
        return float((some.ruler * latent).sum())

    every = [statistic(labels.permuted(order)) for order in permutations(range(5))]
    exact = np.mean([value >= statistic(labels) - 1e-12 for value in every])
    nulls = [statistic(null) for null in coherent(labels, 199, 0)]
    assert permutation_p(statistic(labels), nulls).p == pytest.approx(exact)
    assert (1 + len(nulls)) * math.factorial(5) // len(all_rulers(labels)) == math.factorial(5)


def test_sampling_draws_distinct_maps_from_the_same_set(graph):
    labels = Labels.of(graph, ["HSC", "CMP", "GMP", "NK", "CLP", "MEP"])
    sampled = [null.ruler.tobytes() for null in coherent(labels, 50, 0)]
    assert len(set(sampled)) == 50
    assert set(sampled) < all_rulers(labels) - {labels.ruler.tobytes()}
    larger = coherent(Labels.of(graph, graph.stages[:12]), 30, 0)
    assert len({null.ruler.tobytes() for null in larger}) == 30


def test_one_map_moves_ruler_branch_and_depth(graph):
    labels = Labels.of(graph, ["HSC", "CMP", "GMP", "NK", "CLP", "MEP", "naive B"])
    for null in coherent(labels, 20, 3):
        assert null.ruler.tolist() == graph.ruler(null.stages).tolist()
        assert sorted(null.stages) == sorted(labels.stages)
        assert null.depth.tolist() == [graph.depth(stage) for stage in null.stages]


def test_a_shuffled_ruler_keeps_its_distances_and_the_names(graph):
    labels = Labels.of(graph, graph.stages[:6])
    upper = np.triu_indices(6, 1)
    for null in shuffled_rulers(labels, 10, 0):
        assert sorted(null.ruler[upper]) == sorted(labels.ruler[upper])
        assert (null.ruler == null.ruler.T).all()
        assert null.stages == labels.stages


def test_null_arms_by_family(planted):
    panel, features, _ = planted()
    arm = Arm("chosen", lambda _: features)
    arms = null_arms(arm, panel, seed=0, n_coherent=5, n_other=3)
    assert [sum(a.name == family for a in arms) for family in FAMILIES] == [5, 3, 3, 3, 3]
    assert {a.family for a in arms} == {"null"}
    split = panel.splits[0]
    by_name = {(a.name, a.draw): a for a in arms}
    assert by_name[COHERENT, 0].features is arm.features
    assert by_name[SHUFFLED_RULER, 2].features is arm.features
    codes = by_name[LOOK_UP, 1].features(split)
    for stage in range(len(panel.labels)):
        assert len(np.unique(codes[panel.classes == stage], axis=0)) == 1
    shuffled = by_name[SHUFFLED_FEATURES, 0].features(split)
    train, test = panel.train(split), panel.test(split)
    assert (np.sort(shuffled[train], axis=0) == np.sort(features[train], axis=0)).all()
    assert (shuffled[test] == features[test]).all()
    assert (shuffled[train] != features[train]).mean() > 0.9
    assert (by_name[SHUFFLED_FEATURES, 1].features(split) != shuffled).any()
    assert (by_name[SHUFFLED_FEATURES, 0].features(split) == shuffled).all()
    averaged = by_name[REWIRED, 0].features(split)
    assert (averaged[test] == features[test]).all()
    assert averaged[train].std(axis=0).mean() < features[train].std(axis=0).mean()
    assert (by_name[REWIRED, 1].features(split) != averaged).any()


def test_a_family_needs_draws(planted):
    panel, features, _ = planted()
    with pytest.raises(InputError, match="at least one draw"):
        null_arms(Arm("chosen", lambda _: features), panel, seed=0, n_other=0)


def test_stages_change_places_inside_their_group_only(graph):
    labels = Labels.of(graph, graph.stages[:8])
    groups = np.array([0, 1, 0, 1, 0, 1, 2, 2])
    for n in (10, 200):  # drawn, and enumerated
        found = coherent(labels, n, 0, groups)
        assert len({null.ruler.tobytes() for null in found}) == len(found) > 9
        for null in found:
            moved = np.array([labels.stages.index(name) for name in null.stages])
            assert groups[moved].tolist() == groups.tolist()


def test_stages_alone_in_their_study_leave_nothing_to_permute(graph):
    assert coherent(Labels.of(graph, ["HSC", "NK", "GMP"]), 10, 0, np.arange(3)) == []


def test_the_family_within_studies_is_asked_for_where_studies_hold_different_stages(planted):
    shared, features, _ = planted(n_studies=2)  # donors of both studies have all stages
    assert null_families(shared) == FAMILIES
    assert WITHIN_STUDIES not in {a.name for a in null_arms(Arm("chosen", lambda _: features), shared, seed=0)}
    apart = planted(n_studies=2)[0]
    early = np.isin(apart.obs["stage"], ["HSC", "CMP", "GMP", "neutrophil"])
    apart.obs["study"] = np.where(early, "first", "second")
    assert null_families(apart) == (*FAMILIES, WITHIN_STUDIES)
    homes = home_studies(apart)
    assert [s for s, home in zip(apart.labels.stages, homes, strict=True) if home == 0] == [
        s for s in apart.labels.stages if s in {"HSC", "CMP", "GMP", "neutrophil"}
    ]
    arms = null_arms(Arm("chosen", lambda _: features), apart, seed=0, n_coherent=5, n_other=1)
    assert sum(a.name == WITHIN_STUDIES for a in arms) == 5
