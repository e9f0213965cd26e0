import numpy as np
import pandas as pd
import pytest

from interp.evidence import CHOSEN, Candidates, Settings, arm_of, choices, endpoint_scores, selection_scores
from interp.evidence.selection import GRID, best, choose
from interp.extraction.operators import Operator


def candidates_of(features, matrices):
    genes = tuple(f"G{i}" for i in range(features.shape[1]))
    operators = [Operator(name, "mean", "out", matrix, genes) for name, matrix in matrices.items()]
    return Candidates(CHOSEN, lambda split: operators, lambda split: features)


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
    chosen = choices(candidates, panel, panel.splits, solver, seed=0)
    assert list(chosen) == [split.id for split in panel.splits]
    for choice in chosen.values():
        assert choice.name == "good"
        assert choice.index == 2
        assert len(choice.scores) == 3
        assert len(choice.tuned) == len(GRID)
        assert choice.settings == GRID[best(choice.tuned)]
        assert max(choice.tuned) >= choice.tuned[0]
    table = selection_scores(candidates, panel, chosen)
    assert table[table["chosen"]]["candidate"].tolist() == ["good"] * 3
    assert len(table) == 9
    scored = endpoint_scores(candidates, panel, solver, seed=0).groupby("candidate")["value"].mean()
    assert scored.idxmax() == "good"


def test_test_donors_cannot_change_the_choice(world, solver):
    panel, features, candidates = world
    split = panel.splits[0]
    spoilt = features.copy()
    spoilt[panel.test(split)] = np.random.default_rng(0).normal(size=spoilt[panel.test(split)].shape)
    changed = Candidates(CHOSEN, candidates.operators, lambda split: spoilt)
    assert choose(candidates, panel, split, solver, seed=0) == choose(changed, panel, split, solver, seed=0)


def test_the_arm_uses_what_each_split_chose(world, solver):
    panel, _, candidates = world
    chosen = choices(candidates, panel, panel.splits, solver, seed=0)
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
