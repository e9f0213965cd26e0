from dataclasses import replace

import numpy as np
import pytest

from interp.errors import InputError
from interp.extraction import cell_problem, let_kernel
from interp.extraction.cell_objective import Objective, Theta
from interp.extraction.cell_problem import CellProblem, CellWeights
from interp.extraction.let import LetProblem
from interp.extraction.span import SpanBasis

N_LATENT = 3
HOPS = np.array([[0, 1, 2, 3], [1, 0, 1, 2], [2, 1, 0, 1], [3, 2, 1, 0]], dtype=float)
NONE = CellWeights(stage=1.0, local=0.0, reconstruction=0.0, classification=0.0, ridge=0.0)
EACH = {
    "stage": NONE,
    "local": replace(NONE, local=0.7),
    "reconstruction": replace(NONE, reconstruction=0.5),
    "classification": replace(NONE, classification=0.6),
    "topology": replace(NONE, topology=2.0),
    "topology alone": replace(NONE, stage=0.0, topology=2.0),
    "ridge": replace(NONE, ridge=0.4),
    "all": CellWeights(topology=0.5, ridge=0.3),
}


def cell_problem_of(weights=NONE, *, n=37, n_features=9, seed=0):
    rng = np.random.default_rng(seed)
    stages = rng.integers(len(HOPS), size=n)
    features = rng.standard_normal((len(HOPS), n_features))[stages] + rng.standard_normal((n, n_features))
    basis = SpanBasis.from_features(features)
    anchor_stages = np.repeat(np.arange(len(HOPS)), 2)
    anchors = basis.coords(rng.standard_normal((len(anchor_stages), n_features)))
    return features, CellProblem(basis, stages, HOPS, weights, anchors, anchor_stages)


def some_point(objective, seed=3):
    return np.random.default_rng(seed).standard_normal(objective.size)


def readable_parts(problem, features, vector):
    """Evaluate every part as the module's docstring words it, in the full feature space, as a function of beta."""
    basis, theta = problem.basis, Theta.of(vector, N_LATENT, problem.basis.rank)
    x = (features[:, basis.kept] - features[:, basis.kept].mean(0)) / features[:, basis.kept].std(0)
    w, b = theta.a @ basis.axes.T, basis.axes @ theta.b
    z = (x - b) @ w.T
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    anchors = (problem.anchors - theta.b) @ theta.a.T
    anchors /= np.linalg.norm(anchors, axis=1, keepdims=True)

    def arc(u, v):
        return np.arccos(np.clip(u @ v, -1 + 1e-7, 1 - 1e-7))

    blocks = [problem.dealt[i:j] for i, j in zip(problem.bounds[:-1], problem.bounds[1:], strict=True)]
    pairs = [(i, j) for block in blocks for k, i in enumerate(block) for j in block[k + 1 :]]
    near = np.argsort(np.linalg.norm(x[:, None] - x[None], axis=2) + 1e9 * np.eye(len(x)), axis=1)[
        :, : cell_problem.NEIGHBOURS
    ]
    logits = unit @ theta.head.T + theta.intercept
    chance = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    own = [chance[i, problem.present.tolist().index(s)] for i, s in enumerate(problem.stages)]
    moved = [((w**2).sum() - (w.T @ u) @ (w.T @ u)) / (v @ v) for u, v in zip(unit, z, strict=True)]
    anchor_pairs = [(i, j) for i in range(len(anchors)) for j in range(i)]

    def parts(beta):
        hops, a = problem.ruler[np.ix_(problem.stages, problem.stages)], problem.anchor_stages
        return {
            "stage": np.mean([(beta * arc(unit[i], unit[j]) - hops[i, j]) ** 2 for i, j in pairs]),
            "local": np.mean([(beta * arc(unit[i], unit[j])) ** 2 for i in range(len(x)) for j in near[i]]),
            "reconstruction": np.mean((z @ w + b - x) ** 2),
            "classification": -np.mean(np.log(own)) + cell_problem.HEAD_RIDGE * (theta.head**2).sum(),
            "topology": np.mean(
                [(beta * arc(anchors[i], anchors[j]) - problem.ruler[a[i], a[j]]) ** 2 for i, j in anchor_pairs]
            ),
            "ridge": beta**2 * (x**2).sum() / len(x) / basis.rank * np.mean(moved),
        }

    return parts


@pytest.mark.parametrize("name", EACH)
def test_loss_equals_the_readable_one_at_the_best_beta(name, monkeypatch):
    monkeypatch.setattr(cell_problem, "BLOCK", 16)
    features, problem = cell_problem_of(EACH[name])
    objective = Objective(problem, N_LATENT)
    vector = some_point(objective)
    found = objective(vector)
    full = vector if problem.weights.classification else np.r_[vector, np.zeros(len(HOPS) * (N_LATENT + 1))]
    parts, w = readable_parts(problem, features, full), problem.weights

    def loss(beta):
        total = (w.stage + w.topology) * let_kernel.BETA_RIDGE * beta**2
        return total + sum(getattr(w, part) * value for part, value in parts(beta).items())

    assert found.loss == pytest.approx(loss(found.beta), rel=1e-9)
    assert min(loss(found.beta * 0.99), loss(found.beta * 1.01)) > found.loss
    for part, value in parts(found.beta).items():
        if getattr(w, part):
            assert found.parts[part] == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("name", EACH)
def test_gradient_equals_finite_differences(name, monkeypatch):
    monkeypatch.setattr(cell_problem, "BLOCK", 16)
    objective = Objective(cell_problem_of(EACH[name])[1], N_LATENT)
    vector, step = some_point(objective), 1e-5
    numeric = [
        (objective(vector + step * e).loss - objective(vector - step * e).loss) / (2 * step)
        for e in np.eye(len(vector))
    ]
    gradient = objective(vector).gradient
    np.testing.assert_allclose(gradient, numeric, atol=1e-8 * np.abs(gradient).max() + 1e-9)


@pytest.mark.parametrize(("alpha", "ridge"), [(0.0, 0.0), (0.1, 0.03), (1.0, 0.0), (0.0, 1.0)])
def test_with_one_cell_an_anchor_it_is_the_anchor_adaptor_s_loss(alpha, ridge):
    _, problem = cell_problem_of(replace(NONE, reconstruction=alpha, ridge=ridge))
    objective = Objective(problem, N_LATENT)
    let = LetProblem(problem.basis, HOPS[np.ix_(problem.stages, problem.stages)], alpha, ridge)
    vector = some_point(objective)
    gradient = np.empty_like(vector)
    coords = np.ascontiguousarray(let.basis.train.T)
    weights = (alpha, ridge, let.basis.n_features, N_LATENT)
    loss, stress, beta = let_kernel.objective(vector, coords, let.basis.variance, let.ruler, *weights, gradient)
    found = objective(vector)
    assert (found.loss, found.parts["stage"], found.beta) == pytest.approx((loss, stress, beta), rel=1e-10)
    np.testing.assert_allclose(found.gradient, gradient, atol=1e-10 * np.abs(gradient).max())


def test_blocks_hold_every_stage_in_proportion(monkeypatch):
    monkeypatch.setattr(cell_problem, "BLOCK", 50)
    _, problem = cell_problem_of(n=420)
    sizes = np.diff(problem.bounds)
    assert sizes.max() <= 50
    assert np.ptp(sizes) <= 1
    assert sorted(problem.dealt.tolist()) == list(range(420))
    for i, j in zip(problem.bounds[:-1], problem.bounds[1:], strict=True):
        mine = np.bincount(problem.stages[problem.dealt[i:j]], minlength=4)
        np.testing.assert_allclose(mine, np.bincount(problem.stages) / len(sizes), atol=1.0)


def test_reweighting_shares_what_was_made_of_the_cells():
    _, problem = cell_problem_of(EACH["all"])
    neighbours = problem.neighbours
    assert problem.reweighted(NONE).neighbours is neighbours


def test_misuse_is_refused():
    _, problem = cell_problem_of()
    basis, stages, n = problem.basis, problem.stages, problem.basis.n_rows
    with pytest.raises(InputError, match="at least two different stages"):
        CellProblem(basis, np.zeros(n, dtype=int), HOPS)
    with pytest.raises(InputError, match="one stage each"):
        CellProblem(basis, stages[:-1], HOPS)
    with pytest.raises(InputError, match="from 0 to 3"):
        CellProblem(basis, stages + 1, HOPS)
    with pytest.raises(InputError, match="symmetric"):
        CellProblem(basis, stages, np.triu(HOPS))
    with pytest.raises(InputError, match="needs the training anchors"):
        CellProblem(basis, stages, HOPS, CellWeights(topology=1.0))
    with pytest.raises(InputError, match="at least two stages"):
        CellProblem(basis, stages, HOPS, CellWeights(topology=1.0), problem.anchors, np.zeros(8, dtype=int))
    with pytest.raises(InputError, match="not negative"):
        CellWeights(local=-1.0)
    with pytest.raises(InputError, match="finite"):
        CellWeights(local=float("nan"))
    with pytest.raises(InputError, match="both 0"):
        CellWeights(stage=0.0)
