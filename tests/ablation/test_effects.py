import numpy as np
import pytest
import torch

from interp.ablation.effects import Gates
from interp.ablation.frozen import log_odds
from interp.ablation.prepare import prepare
from interp.ablation.settings import AblationSettings
from interp.probing import ProbeSettings

from .worlds import planted_cells, planted_model

SETTINGS = AblationSettings(probes=ProbeSettings(max_folds=3, penalties=(1e-2,)))


@pytest.fixture(scope="module")
def bench():
    cells = planted_cells(4, 14)
    cells.obs.loc[cells.obs_names[:2], "state"] = None  # cells that the readout does not know
    return prepare(planted_model(), cells, ["state", "depth"], n_cells=100, settings=SETTINGS)


def test_the_masked_loss_is_that_of_the_decoder(bench):
    loss = bench.effects[-1]
    with torch.inference_mode():
        output = bench.model(bench.masked)
        found = loss.objective(output.resid, bench.masked)
    error = (output.expression - loss.truth) ** 2
    unit = (bench.model.config.n_bins - 1) ** 2 / 12
    torch.testing.assert_close(found, -torch.nanmean(error, 1) / unit)
    scores = loss.scores(loss.read(output.resid, bench.masked).numpy())
    means = [found.numpy()[loss.donor == number].mean() for number in range(4)]
    np.testing.assert_allclose(scores["neg_masked_loss"], [means], rtol=1e-6)


def test_cells_of_a_batch_are_found_by_name(bench):
    loss, rows = bench.effects[-1], [7, 2, 5]
    with torch.inference_mode():
        whole = loss.objective(bench.model(bench.masked).resid, bench.masked)
        part = loss.objective(bench.model(bench.masked[rows]).resid, bench.masked[rows])
    torch.testing.assert_close(part, whole[rows], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("place", [0, 1])
def test_a_readouts_objective_and_reading_agree(bench, place):
    readout = bench.effects[place]
    with torch.inference_mode():
        resid = bench.model(bench.tokens).resid
        objective = readout.objective(resid, bench.tokens).numpy()
        read = readout.read(resid, bench.tokens).numpy()
    frozen = readout.frozen
    own = read[readout.rows, 0]
    each = log_odds(own, frozen.values) if place == 0 else own[:, 0] * frozen.contrast
    np.testing.assert_allclose(objective[readout.rows], each, rtol=1e-3, atol=1e-4)
    others = np.setdiff1d(np.arange(len(bench.tokens)), readout.rows)
    assert len(others) == (2 if place == 0 else 0)
    assert np.isnan(read[others]).all()
    assert (objective[others] == 0).all()
    np.testing.assert_allclose(
        readout.weights() @ objective, readout.scores(read)[readout.differentiable][0], rtol=1e-3, atol=1e-4
    )


def test_only_the_scoring_readout_is_read_when_nothing_is_chosen(bench):
    readout = bench.effects[0]
    with torch.inference_mode():
        resid = bench.model(bench.tokens).resid
    few, every = (readout.read(resid, bench.tokens, every=flag).numpy() for flag in (False, True))
    assert few.shape[1] == 1
    assert every.shape[1] == 1 + 3
    np.testing.assert_array_equal(few[:, 0], every[:, 0])
    assert all(len(values) == 1 for values in readout.scores(few).values())


def test_gate_statistics_by_hand():
    rng = np.random.default_rng(0)
    n = 40
    stage = np.array(["s0", "s1", "s2", "s3"], dtype=object)[np.arange(n) % 4]
    depth = {"s0": 0.0, "s1": 1.0, "s2": 2.5, "s3": 4.7}  # no two distances alike
    angle = 0.3 * np.array([depth[name] for name in stage]) + 0.001 * rng.standard_normal(n)
    read = np.column_stack([np.cos(angle), np.sin(angle)])

    def ruler(names):
        return np.abs(np.subtract.outer([depth[s] for s in names], [depth[s] for s in names]))

    donor = np.array([0] * 36 + [1] * 4)
    gates = Gates(read.copy(), stage, ruler, donor, ("a", "b"))
    found = gates.scores(read)
    assert found["order"][0].tolist() == pytest.approx([1.0, 1.0])
    assert found["trustworthiness"][0, 0] == pytest.approx(1.0)
    assert np.isnan(found["trustworthiness"][0, 1])  # four cells have no 15 neighbours
    worse = gates.scores(rng.standard_normal((n, 2)))
    assert worse["trustworthiness"][0, 0] < 0.7
    stage[stage == "s3"] = None
    assert np.isnan(Gates(read, stage, ruler, donor, ("a", "b")).scores(read)["order"]).all()
