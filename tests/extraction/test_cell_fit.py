import logging
from dataclasses import replace

import numpy as np
import pytest

from interp.errors import InputError
from interp.extraction.cell_fit import fit_cells
from interp.extraction.cell_objective import Objective
from interp.extraction.cell_problem import CellProblem, CellWeights
from interp.extraction.let import LetProblem, fit_let
from interp.extraction.let_kernel import BETA_RIDGE
from interp.extraction.span import SpanBasis

# A chain with one side branch: 0 - 1 - 2 - 3, and 4 beside 2.
HOPS = np.array([[0, 1, 2, 3, 2], [1, 0, 1, 2, 1], [2, 1, 0, 1, 2], [3, 2, 1, 0, 3], [2, 1, 2, 3, 0]], dtype=float)
ONLY_STAGE = CellWeights(stage=1.0, local=0.0, reconstruction=0.0, classification=0.0, ridge=0.0)


def made(*, per_stage=20, n_features=30, noise=0.7, seed=0):
    """Cells around the stages of a chain, and two anchors a stage."""
    rng = np.random.default_rng(seed)
    step = rng.standard_normal((len(HOPS), n_features))
    means = np.array([step[:1].sum(0), step[:2].sum(0), step[:3].sum(0), step[:4].sum(0), step[:2].sum(0) + step[4]])
    stages = np.repeat(np.arange(len(HOPS)), per_stage)
    cells = means[stages] + noise * rng.standard_normal((len(stages), n_features))
    anchor_stages = np.repeat(np.arange(len(HOPS)), 2)
    anchors = means[anchor_stages] + 0.2 * noise * rng.standard_normal((len(anchor_stages), n_features))
    return cells, stages, anchors, anchor_stages


def problem_of(weights, **how):
    cells, stages, anchors, anchor_stages = made(**how)
    basis = SpanBasis.from_features(cells)
    return CellProblem(basis, stages, HOPS, weights, basis.coords(anchors), anchor_stages), anchors


def fitted(weights, *, n_latent=3, n_starts=1, **how):
    problem, anchors = problem_of(weights, **how)
    return fit_cells([problem], n_latent=n_latent, n_starts=n_starts)[0], problem, anchors


def one_cell_an_anchor(weights, alpha, ridge):
    """The same rows as cells and as anchors."""
    cells, stages, _, _ = made(per_stage=2)
    basis = SpanBasis.from_features(cells)
    let = LetProblem(basis, HOPS[np.ix_(stages, stages)], alpha, ridge)
    return cells, CellProblem(basis, stages, HOPS, weights), fit_let([let], n_latent=3)[0]


def test_with_the_stage_part_alone_the_anchor_adaptor_s_minimum_is_one_over_cells():
    """Without a ridge there are many, so it is the point that is compared and not where a search ends."""
    _, problem, anchor_fit = one_cell_an_anchor(ONLY_STAGE, 0.0, 0.0)
    objective = Objective(problem, 3)
    found = objective(np.r_[anchor_fit.weights.ravel(), anchor_fit.offset])
    assert found.loss == pytest.approx(anchor_fit.loss_, rel=1e-9)
    assert found.beta == pytest.approx(anchor_fit.beta_, rel=1e-9)
    at_start = objective(np.random.default_rng(0).standard_normal(objective.size))
    assert np.abs(found.gradient).max() < 1e-3 * np.abs(at_start.gradient).max()


def test_with_its_weights_one_cell_an_anchor_gives_the_anchor_adaptor():
    weights = replace(ONLY_STAGE, reconstruction=0.1, ridge=0.03)
    cells, problem, anchor_fit = one_cell_an_anchor(weights, 0.1, 0.03)
    fit = fit_cells([problem], n_latent=3, n_starts=5)[0]
    assert fit.loss_ == pytest.approx(anchor_fit.loss_, rel=1e-4)
    np.testing.assert_allclose(fit.distances(cells), anchor_fit.distances(cells), atol=0.01)


def test_hybrid_without_weight_is_cell():
    problem, _ = problem_of(CellWeights())
    alone = CellProblem(problem.basis, problem.stages, HOPS, CellWeights())
    first, second = fit_cells([problem, alone], n_latent=3)
    assert np.array_equal(first.weights, second.weights)
    assert first.parts_["topology"] == 0.0


def test_hybrid_of_huge_weight_is_the_anchor_adaptor():
    """In few features, where the anchors alone leave no room."""
    few = {"n_features": 3, "n_latent": 2, "n_starts": 5}
    fit, problem, anchors = fitted(CellWeights(topology=1e5), **few)
    codes = problem.anchor_stages
    let = LetProblem(SpanBasis.from_features(anchors), HOPS[np.ix_(codes, codes)], 0.0, 0.0)
    reference = fit_let([let], n_latent=2, n_starts=5)[0]
    cell = fitted(CellWeights(), **few)[0]
    off = [np.abs(f.distances(anchors) - reference.distances(anchors)).max() for f in (fit, cell)]
    assert off[0] < 0.001
    assert off[1] > 0.1
    assert fit.parts_["topology"] == pytest.approx(reference.ruler_loss_, rel=1e-3)


def test_the_prior_pulls_the_anchors_to_the_ruler():
    losses = [fitted(CellWeights(topology=t), noise=1.5)[0].parts_ for t in (0.01, 1.0, 100.0)]
    assert losses[0]["topology"] > 1.2 * losses[1]["topology"] > 1.2 * losses[2]["topology"]
    assert losses[0]["stage"] < losses[2]["stage"]


def test_it_stops_by_itself_and_reports_its_curve():
    fit, problem, _ = fitted(CellWeights(topology=1.0))
    assert fit.converged_
    assert len(fit.losses_) == fit.n_iter_ + 1
    assert (np.diff(fit.losses_) <= 1e-12).all()
    assert fit.losses_[-1] == pytest.approx(fit.loss_, rel=1e-12)
    weights = problem.weights
    total = sum(getattr(weights, name) * value for name, value in fit.parts_.items())
    radius = (weights.stage + weights.topology) * BETA_RIDGE * fit.beta_**2
    assert total + radius == pytest.approx(fit.loss_, rel=1e-12)


def test_the_cap_is_warned_about(caplog):
    problem, _ = problem_of(CellWeights())
    with caplog.at_level(logging.WARNING):
        fit = fit_cells([problem], n_latent=3, max_iter=5)[0]
    assert (fit.converged_, fit.n_iter_) == (False, 5)
    assert "1 of 1 cell fits stopped at the cap of 5 iterations" in caplog.text


def test_gauge_and_head_belong_to_the_map():
    fit, problem, _ = fitted(CellWeights())
    latents = fit.from_coords(problem.basis.train)
    axes = latents - latents.mean(axis=0)
    across = axes.T @ axes
    np.testing.assert_allclose(across, np.diag(np.diag(across)), atol=1e-8 * np.abs(across).max())
    assert (np.diff(np.diag(across)) <= 0).all()
    largest = np.abs(fit.W_).argmax(axis=1)
    assert (fit.W_[np.arange(3), largest] > 0).all()
    unit = latents / np.linalg.norm(latents, axis=1, keepdims=True)
    named = fit.head_stages_[(unit @ fit.head_[:, :-1].T + fit.head_[:, -1]).argmax(axis=1)]
    assert (named == problem.stages).mean() > 0.95
    assert fit.n_parameters_ == 3 * fit.basis.rank + fit.basis.rank + 5 * 4 + 1


def test_snapshots_stand_on_the_curve():
    problem, anchors = problem_of(CellWeights())
    fit = fit_cells([problem], n_latent=3, snapshots=(0, 5, 10_000))[0]
    assert sorted(fit.snapshots_) == [0, 5]
    for at, early in fit.snapshots_.items():
        assert early.loss_ == pytest.approx(fit.losses_[at], rel=1e-9)
        assert early.n_iter_ == at
    stopped = fit_cells([problem], n_latent=3, max_iter=5)[0]
    np.testing.assert_allclose(fit.snapshots_[5].distances(anchors), stopped.distances(anchors), atol=1e-9)


def test_a_fit_does_not_depend_on_the_others_or_the_workers():
    problems = [problem_of(CellWeights(topology=t), seed=s)[0] for t, s in ((0.0, 0), (1.0, 1), (0.3, 2))]
    alone = [fit_cells([p], n_latent=3, n_workers=1)[0] for p in problems]
    together = fit_cells(problems[::-1], n_latent=3, n_workers=2)[::-1]
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.weights, other.weights)
        assert one.beta_ == other.beta_


def test_more_starts_never_raise_the_loss():
    problem, _ = problem_of(CellWeights(), noise=2.0)
    losses = [fit_cells([problem], n_latent=2, n_starts=n)[0].loss_ for n in (1, 3)]
    assert losses[1] <= losses[0]


def test_the_start_is_informed():
    problem, _ = problem_of(CellWeights())
    from interp.extraction.cell_start import start_at

    objective = Objective(problem, 3)
    losses = [objective(start_at(objective, k, 0)).loss for k in range(4)]
    assert losses[0] < min(losses[1:])


@pytest.mark.parametrize("name", ["n_latent", "n_starts", "max_iter"])
def test_counts_are_checked(name):
    with pytest.raises(InputError, match=f"{name} must be at least 1"):
        fit_cells([], **{name: 0})
