import numpy as np
import pandas as pd
import pytest

from interp.evidence import CHOSEN, Candidates, Settings, arm_of, screening_scores
from interp.evidence.selection import GRID, best, choose, screen
from interp.extraction.operators import Operator


def candidates_of(features, matrices):
    genes = tuple(f"G{i}" for i in range(features.shape[1]))
    operators = [Operator(name, "mean", "out", matrix, genes) for name, matrix in matrices.items()]
    return Candidates(CHOSEN, lambda split: operators, lambda split: features)


def choices(candidates, panel, solver):
    return {split.id: choose(candidates, panel, split, solver, seed=0) for split in panel.splits}


@pytest.fixture(scope="module")
def world(planted):
    """One operator keeps the planted programs, the others keep a part of what is left."""
    panel, features, loadings = planted(noise=0.5)
    keep = loadings @ loadings.T
    rest = np.linalg.eigh(keep)[1][:, : -loadings.shape[1]]
    poor = {f"poor{i}": rest[:, i::2] @ rest[:, i::2].T for i in range(2)}
    return panel, features, candidates_of(features, {**poor, "good": keep})


def test_the_operator_that_keeps_the_process_is_chosen_and_tuned(world, solver):
    panel, _, candidates = world
    chosen = choices(candidates, panel, solver)
    for choice in chosen.values():
        assert choice.name == "good"
        assert choice.index == 2
        assert len(choice.scores) == 3
        assert len(choice.tuned) == len(GRID)
        assert choice.settings == GRID[best(choice.tuned)]
        assert max(choice.tuned) >= choice.tuned[0]


def test_screening_scores_every_candidate_on_training_and_on_test_donors(world, solver):
    panel, _, candidates = world
    found = {s.id: screen(candidates, panel, s, solver, seed=0, held_out=True) for s in panel.splits}
    table = screening_scores(candidates, found)
    assert len(table) == 3 * 3 * 2
    means = table.groupby(["role", "name"])["value"].mean()
    assert means["select"].idxmax() == means["score"].idxmax() == "good"


def test_held_out_scores_change_neither_the_selection_scores_nor_the_choice(world, solver):
    panel, _, candidates = world
    split = panel.splits[0]
    alone = screen(candidates, panel, split, solver, seed=0)
    both = screen(candidates, panel, split, solver, seed=0, held_out=True)
    assert alone.score is None
    assert both.select == alone.select
    assert choose(candidates, panel, split, solver, seed=0, screening=both) == choose(
        candidates, panel, split, solver, seed=0
    )


def test_test_donors_cannot_change_the_choice(world, solver):
    panel, features, candidates = world
    split = panel.splits[0]
    spoilt = features.copy()
    spoilt[panel.test(split)] = np.random.default_rng(0).normal(size=spoilt[panel.test(split)].shape)
    changed = Candidates(CHOSEN, candidates.operators, lambda split: spoilt)
    assert choose(candidates, panel, split, solver, seed=0) == choose(changed, panel, split, solver, seed=0)


def test_the_arm_uses_what_each_split_chose(world, solver):
    panel, _, candidates = world
    chosen = choices(candidates, panel, solver)
    arm = arm_of(candidates, chosen)
    for split in panel.splits:
        assert (arm.features(split) == candidates.features(split, chosen[split.id].index)).all()
        assert arm.setting(split) == chosen[split.id].settings
    assert arm.setting(panel.whole) == Settings()


def test_one_candidate_is_tuned_only(planted, solver):
    panel, features, _ = planted(n_donors=3)
    alone = candidates_of(features, {"identity": np.eye(features.shape[1])})
    choice = choose(alone, panel, panel.splits[0], solver, seed=0)
    assert choice.index == 0
    assert np.isnan(choice.scores).all()
    assert len(choice.tuned) == len(GRID)


def test_without_a_criterion_the_first_and_the_defaults_stand(planted, solver):
    panel, features, _ = planted(stages=("HSC", "CMP", "GMP", "NK"), n_donors=4)
    pair = candidates_of(features, {"first": np.eye(features.shape[1]), "second": np.eye(features.shape[1])})
    choice = choose(pair, panel, panel.splits[0], solver, seed=0)
    assert (choice.index, choice.settings) == (0, Settings())
    assert pd.isna(list(choice.scores)).all()


def test_candidates_of_one_split_are_listed_once(world):
    panel, _, candidates = world
    asked = []

    def operators(split):
        asked.append(split.id)
        return candidates.operators(split)

    split = panel.splits[1]
    pinned = Candidates(CHOSEN, operators, candidates.expression).at(split)
    assert pinned.names(split) == candidates.names(split)
    assert (pinned.features(split, 2) == candidates.features(split, 2)).all()
    assert asked == [split.id]


@pytest.mark.parametrize(("scores", "place"), [([0.1, 0.3, 0.3], 1), ([np.nan, 0.1], 1), ([np.nan, np.nan], 0)])
def test_best_takes_the_first_of_the_highest(scores, place):
    assert best(scores) == place


def test_an_operator_that_maps_everything_to_nothing_cannot_win(world, solver):
    panel, features, candidates = world
    zero = Operator("zero", "mean", "out", np.zeros((features.shape[1],) * 2), candidates.operators(None)[0].genes)
    more = Candidates(CHOSEN, lambda split: [zero, *candidates.operators(split)], candidates.expression)
    choice = choose(more, panel, panel.splits[0], solver, seed=0)
    assert choice.name == "good"
    assert np.isnan(choice.scores[0])


def test_features_of_some_anchors_are_those_of_all(world):
    panel, _, candidates = world
    some = np.array([1, 4, 5])
    features = candidates.features(panel.splits[0], 0, some)
    np.testing.assert_allclose(features[some], candidates.features(panel.splits[0], 0)[some], rtol=1e-12)
    assert np.isnan(np.delete(features, some, axis=0)).all()
