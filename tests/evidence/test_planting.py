from dataclasses import replace

import numpy as np
import pytest

from interp.errors import InputError
from interp.evidence.controls import CONTROLS, FIXED
from interp.evidence.fits import Solver
from interp.evidence.planting import KNOWING, TOP_BIN, VALUE_LOGIT, Planting, planted_run
from interp.evidence.verdict import NOT_SPECIFIC, SPECIFIC
from interp.simulate.planted import PlantedSizes, planted_cells

TINY = PlantedSizes(n_donors=6, n_genes=40, stages_each=5, cells_each=3)
SOLVER = Solver(max_iter=10)


def planting(knows="lineage", seed=0):
    return Planting(planted_cells(TINY, seed=seed), knows, 3.0, 2, seed, SOLVER)


def test_sums_are_those_of_softmax_over_each_cells_tokens():
    made = planting()
    fold = made.panel.splits[0]
    logits = made._logits(fold)
    sums = made._sums(fold, logits)
    total, uniform = np.zeros(logits.shape), np.zeros(logits.shape[2:])
    for counts in made.cells.counts[np.isin(made.cells.donor, fold.test_donors)]:
        tokens = np.flatnonzero(counts)
        key = VALUE_LOGIT * np.minimum(counts[tokens], TOP_BIN) / TOP_BIN
        shown = np.exp(logits[:, :, tokens[:, None], tokens] + key)
        total[:, :, tokens[:, None], tokens] += shown / shown.sum(axis=-1, keepdims=True)
        uniform[np.ix_(tokens, tokens)] += 1 / len(tokens)
    np.testing.assert_allclose(sums.sum, total, atol=1e-12)
    np.testing.assert_allclose(sums.uniform, uniform, atol=1e-12)
    np.testing.assert_allclose(sums.sum.sum(axis=-1)[0, 0], np.diag(sums.count))


def test_one_head_knows_and_the_others_do_not():
    knowing, empty = (planting(knows)._logits(planting().panel.splits[0]) for knows in ("lineage", "nothing"))
    same = (knowing == empty).all(axis=(-2, -1))
    assert not same[KNOWING]
    assert same.sum() == 3
    cells = planting().cells
    carried = (knowing - empty)[KNOWING]
    assert np.corrcoef(carried.ravel(), (cells.lineage @ cells.lineage.T).ravel())[0, 1] == pytest.approx(1.0)
    pairs = ~np.eye(40, dtype=bool) & (carried != 0)
    assert carried[pairs].std() == pytest.approx(3.0)


def test_coexpression_is_that_of_the_folds_own_donors():
    made = planting("co-expression")
    fold, other = made.panel.splits
    carried = made._logits(fold) - planting("nothing")._logits(fold)
    # with two folds the donors of one are the training donors of the other
    expected = made.correlation(other)
    off = ~np.eye(40, dtype=bool)
    assert np.corrcoef(carried[KNOWING][off], expected[off])[0, 1] == pytest.approx(1.0)
    assert (np.diag(carried[KNOWING]) == 0).all()


def test_anchors_and_tokens_are_means_over_cells():
    made = planting()
    row = made.anchors.obs.iloc[4]
    own = (made.cells.donor == row["donor"]) & (made.cells.stage == row["stage"])
    np.testing.assert_allclose(made.anchors.features[4], made.expression[own].mean(axis=0))
    np.testing.assert_allclose(made.tokens(made.panel.splits[0])[4], (made.cells.counts[own] > 0).mean(axis=0))
    np.testing.assert_allclose(np.expm1(made.expression).sum(axis=1), 1e4)


def test_an_untrained_model_attends_almost_evenly():
    made = planting()
    split = made.panel.splits[0]
    sums = made.untrained(0).training_sums(split)
    ratio = sums.sum[:, :, sums.count > 0] / sums.uniform[sums.count > 0]
    assert 0.5 < ratio.min() < ratio.max() < 2.0
    assert (made.untrained(1).training_sums(split).sum != sums.sum).any()


def test_a_run_stops_at_a_control_that_failed_and_goes_through_all_otherwise():
    early = planted_run("nothing", strength=3.0, sizes=TINY, solver=SOLVER, n_draws=2)
    whole = planted_run("nothing", strength=3.0, sizes=TINY, solver=SOLVER, n_draws=2, stop_early=False)
    measured = {name for name in CONTROLS if f"{name}: p" in early}
    assert early["stopped"]
    assert measured == set(FIXED)
    assert not whole["stopped"]
    assert {name for name in CONTROLS if f"{name}: p" in whole} == set(CONTROLS)
    for name in FIXED:
        assert whole[f"{name}: effect"] == early[f"{name}: effect"]
    assert early["headroom"] == pytest.approx(early["oracle"] - early["no_operator"])
    assert whole["status"] != SPECIFIC


@pytest.mark.slow
@pytest.mark.parametrize(("knows", "status"), [("lineage", SPECIFIC), ("nothing", NOT_SPECIFIC)])
def test_the_verdict_tells_a_model_that_knows_from_one_that_does_not(knows, status):
    found = planted_run(knows, strength=3.0, seed=0, solver=Solver(max_iter=40))
    assert found["status"] == status
    assert found["headroom"] > 0.1


def test_unknown_knowledge_is_refused():
    with pytest.raises(InputError, match="'magic'"):
        planted_run("magic", strength=1.0)


def test_the_same_seed_gives_the_same_run():
    first, second = (
        planted_run("nothing", strength=3.0, sizes=replace(TINY, n_donors=4), solver=SOLVER) for _ in range(2)
    )
    assert first == second
