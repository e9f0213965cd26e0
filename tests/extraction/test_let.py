import logging
import subprocess
import sys

import numpy as np
import pytest
from scipy.optimize import minimize

from interp.errors import InputError
from interp.extraction import let_kernel as kernel
from interp.extraction.let import LetProblem, _start, angles, fit_let
from interp.extraction.span import SpanBasis

N_LATENT = 4


def tree_problem(seed=0, n_donors=3, n_features=60, noise=0.5, **weights):
    """Anchors of a small tree, 0 > 1 > {2, 3}, 3 > {4, 5}, with a program on each edge."""
    rng = np.random.default_rng(seed)
    parent = [-1, 0, 1, 1, 3, 3]
    paths = [{0}, {0, 1}, {0, 1, 2}, {0, 1, 3}, {0, 1, 3, 4}, {0, 1, 3, 5}]
    programs = np.zeros((len(parent), n_features))
    for stage in range(1, len(parent)):
        programs[stage] = programs[parent[stage]] + rng.standard_normal(n_features)
    stages = np.tile(np.arange(len(parent)), n_donors)
    features = programs[stages] + noise * rng.standard_normal((len(stages), n_features))
    hops = np.array([[len(a ^ b) for b in paths] for a in paths], dtype=float)
    return features, LetProblem(SpanBasis.from_features(features), hops[np.ix_(stages, stages)], **weights)


def readable_loss(problem, features, theta, n_latent=N_LATENT):
    """Evaluate the loss as the module's docstring words it, in full feature space, beta by one-dimensional search."""
    basis = problem.basis
    x = (features[:, basis.kept] - features[:, basis.kept].mean(0)) / features[:, basis.kept].std(0)
    w = theta[: n_latent * basis.rank].reshape(n_latent, -1) @ basis.axes.T
    b = basis.axes @ theta[n_latent * basis.rank :]
    z = (x - b) @ w.T
    norms = np.linalg.norm(z, axis=1)
    unit = z / norms[:, None]
    arcs = np.arccos(np.clip(unit @ unit.T, -1 + 1e-7, 1 - 1e-7))
    pairs = np.triu_indices(len(z), 1)
    moved = [((w**2).sum() - (w.T @ u) @ (w.T @ u)) / norm**2 for u, norm in zip(unit, norms, strict=True)]
    mean_variance = (x**2).sum() / len(x) / basis.rank

    def loss(beta):
        stress = np.mean((beta * arcs[pairs] - problem.ruler[pairs]) ** 2)
        noise = problem.ridge * mean_variance * beta**2 * np.mean(moved)
        return stress + noise + kernel.BETA_RIDGE * beta**2 + problem.alpha * np.mean((z @ w + b - x) ** 2)

    a, c = loss(0.0), loss(1.0)
    curve = (loss(2.0) - 2 * c + a) / 2
    return loss(-(c - a - curve) / (2 * curve))


def evaluate(problem, theta, n_latent=N_LATENT):
    basis = problem.basis
    gradient = np.empty_like(theta)
    coords = np.ascontiguousarray(basis.train.T)
    loss, _, _ = kernel.objective(
        theta, coords, basis.variance, problem.ruler, problem.alpha, problem.ridge, basis.n_features, n_latent, gradient
    )
    return loss, gradient


def some_theta(problem, seed=0):
    theta = _start(problem, 1, N_LATENT, seed)
    theta[N_LATENT * problem.basis.rank :] = np.random.default_rng(seed).standard_normal(problem.basis.rank)
    return theta


@pytest.mark.parametrize(("alpha", "ridge"), [(0.1, 0.1), (0.0, 0.0), (2.0, 0.0), (0.0, 0.7)])
def test_loss_equals_the_readable_one(alpha, ridge):
    features, problem = tree_problem(alpha=alpha, ridge=ridge)
    theta = some_theta(problem)
    assert evaluate(problem, theta)[0] == pytest.approx(readable_loss(problem, features, theta), rel=1e-9)


@pytest.mark.parametrize(("alpha", "ridge"), [(0.1, 0.1), (0.0, 0.0), (2.0, 0.0), (0.0, 0.7)])
def test_gradient_equals_finite_differences(alpha, ridge):
    _, problem = tree_problem(alpha=alpha, ridge=ridge)
    theta = some_theta(problem)
    _, gradient = evaluate(problem, theta)
    step = 1e-5
    numeric = [
        (evaluate(problem, theta + step * e)[0] - evaluate(problem, theta - step * e)[0]) / (2 * step)
        for e in np.eye(len(theta))
    ]
    np.testing.assert_allclose(gradient, numeric, atol=1e-8 * np.abs(gradient).max() + 1e-9)


def test_arccos_is_exact_to_rounding():
    cosines = np.concatenate([np.linspace(-1, 1, 20001), [0.5, -0.5, np.nextafter(0.5, 1), 1 - 1e-7, -1 + 1e-7]])
    found = np.empty_like(cosines)
    kernel.arccos(cosines, found)
    np.testing.assert_allclose(found, np.arccos(cosines), atol=2e-15)


@pytest.mark.parametrize("seed", range(4))
def test_fit_is_as_good_as_scipy(seed):
    _, problem = tree_problem(seed, noise=1.0)
    fit = fit_let([problem], n_latent=N_LATENT, n_starts=1)[0]
    reference = minimize(
        lambda theta: evaluate(problem, theta),
        _start(problem, 0, N_LATENT, 0),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 20000, "maxfun": 40000, "ftol": 1e-14, "gtol": 1e-9},
    )
    assert fit.converged_
    assert fit.loss_ <= reference.fun * (1 + 1e-6)


def test_fit_recovers_a_planted_tree():
    features, problem = tree_problem(noise=0.1, ridge=0.01)
    fit = fit_let([problem], n_latent=N_LATENT, n_starts=1)[0]
    pairs = np.triu_indices(len(features), 1)
    assert np.corrcoef(fit.distances(features)[pairs], problem.ruler[pairs])[0, 1] > 0.99
    assert fit.ruler_loss_ < 0.1


def test_reported_losses_belong_to_the_returned_map():
    features, problem = tree_problem()
    fit = fit_let([problem], n_latent=N_LATENT, n_starts=1)[0]
    pairs = np.triu_indices(len(features), 1)
    stress = np.mean((fit.distances(features)[pairs] - problem.ruler[pairs]) ** 2)
    assert fit.ruler_loss_ == pytest.approx(stress, rel=1e-6)
    theta = np.concatenate([fit.weights.ravel(), fit.offset])
    assert fit.loss_ == pytest.approx(evaluate(problem, theta)[0], rel=1e-9)


def test_the_learning_curve_falls_to_the_reported_loss():
    _, problem = tree_problem()
    for max_iter in (5, 3000):
        fit = fit_let([problem], n_starts=2, max_iter=max_iter)[0]
        assert len(fit.losses_) == fit.n_iter_ + 1
        assert fit.losses_[-1] == fit.loss_
        assert (np.diff(fit.losses_) <= 0).all()
        assert fit.losses_[0] > 1.05 * fit.loss_


def test_more_starts_never_raise_the_loss():
    _, problem = tree_problem(noise=2.0, alpha=0.01, ridge=0.01)
    losses = [fit_let([problem], n_latent=2, n_starts=n)[0].loss_ for n in (1, 3)]
    assert losses[1] <= losses[0]


def test_a_fit_does_not_depend_on_batch_order_or_threads():
    problems = [tree_problem(seed, n_donors=2 + seed % 3, noise=1.0)[1] for seed in range(6)]
    alone = [fit_let([p], n_latent=N_LATENT, n_starts=2, n_threads=1)[0] for p in problems]
    together = fit_let(problems, n_latent=N_LATENT, n_starts=2, n_threads=2)
    backwards = fit_let(problems[::-1], n_latent=N_LATENT, n_starts=2, n_threads=3)[::-1]
    for first, *others in zip(alone, together, backwards, strict=True):
        for other in others:
            np.testing.assert_array_equal(first.from_coords(first.basis.train), other.from_coords(other.basis.train))


def test_ridge_does_not_depend_on_the_number_of_features():
    features, problem = tree_problem(noise=0.5, ridge=0.3)
    wide = np.hstack([features] * 3)
    fit, wide_fit = fit_let(
        [problem, LetProblem(SpanBasis.from_features(wide), problem.ruler, ridge=0.3)], n_latent=N_LATENT, n_starts=1
    )
    np.testing.assert_allclose(fit.distances(features), wide_fit.distances(wide), atol=0.01)


def test_ridge_shortens_what_noise_moves():
    features, _ = tree_problem(noise=1.0)
    noise = np.random.default_rng(9).standard_normal(features.shape)
    moves = []
    for ridge in (0.003, 0.1, 3.0):
        fit = fit_let([tree_problem(noise=1.0, ridge=ridge)[1]], n_latent=N_LATENT, n_starts=1)[0]
        moves.append(np.mean(np.diag(fit.distances(features, features + noise))))
    assert moves[0] > moves[1] > moves[2]


def test_gauge_turns_to_principal_axes_with_positive_largest_loading():
    _, problem = tree_problem()
    fit = fit_let([problem], n_latent=N_LATENT, n_starts=1)[0]
    latents = fit.from_coords(problem.basis.train)
    covariance = np.cov(latents.T)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-9 * covariance.max())
    assert (np.diff(np.diag(covariance)) <= 1e-9).all()
    assert (fit.W_[np.arange(N_LATENT), np.abs(fit.W_).argmax(axis=1)] > 0).all()


def test_the_affine_map_equals_standardise_then_transform():
    features, _ = tree_problem()
    features = np.hstack([features[:, :30], np.full((len(features), 1), 0.7), features[:, 30:] * 50 - 8])
    _, reference = tree_problem()
    fit = fit_let([LetProblem(SpanBasis.from_features(features), reference.ruler)], n_latent=N_LATENT, n_starts=1)[0]
    new = features + np.random.default_rng(1).standard_normal(features.shape)
    matrix, constant = fit.as_map()
    standard = (new[:, fit.kept_] - fit.mean_[fit.kept_]) / fit.scale_
    np.testing.assert_allclose(fit.transform(new), (standard - fit.b_) @ fit.W_.T, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(new @ matrix + constant, fit.transform(new), rtol=1e-9, atol=1e-9)
    assert not matrix[30].any()


def test_more_latents_than_the_span_has_directions():
    features, problem = tree_problem(n_donors=1)
    fit = fit_let([problem], n_latent=10, n_starts=2)[0]
    assert problem.basis.rank < 10
    assert np.isfinite(fit.distances(features)).all()


def test_copies_of_one_anchor_are_no_trouble():
    features, problem = tree_problem()
    twice = LetProblem(SpanBasis.from_features(np.vstack([features] * 2)), np.tile(problem.ruler, (2, 2)))
    fit = fit_let([twice], n_latent=N_LATENT, n_starts=1)[0]
    assert fit.converged_
    assert np.isfinite(fit.loss_)


def test_a_capped_fit_is_kept_marked_and_warned_about(caplog):
    _, problem = tree_problem()
    with caplog.at_level(logging.WARNING):
        fit = fit_let([problem], n_latent=N_LATENT, n_starts=1, max_iter=3)[0]
    assert not fit.converged_
    assert "1 of 1 LET fits stopped at the cap of 3 iterations" in caplog.text


def test_angles_by_hand():
    found = angles(np.array([[2.0, 0.0], [0.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 3.0], [-1.0, 0.0]]))
    clip = np.arccos(1 - 1e-7)
    np.testing.assert_allclose(found, [[clip, np.pi / 2, np.pi - clip], [np.pi / 2] * 3], atol=1e-12)


def test_no_problems_no_fits():
    assert fit_let([]) == []


@pytest.mark.parametrize(
    ("ruler", "says"),
    [
        (np.zeros((18, 17)), "shape"),
        (np.zeros((18, 18)), "zero between all 18 anchors"),
        (np.full((18, 18), np.nan), "finite"),
        (-np.ones((18, 18)), "non-negative"),
        (np.triu(np.ones((18, 18))), "symmetric"),
    ],
)
def test_unusable_rulers_are_refused(ruler, says):
    _, problem = tree_problem()
    with pytest.raises(InputError, match=says):
        LetProblem(problem.basis, ruler)


def test_unusable_weights_and_counts_are_refused():
    _, problem = tree_problem()
    with pytest.raises(InputError, match="alpha=-1"):
        LetProblem(problem.basis, problem.ruler, alpha=-1)
    with pytest.raises(InputError, match="n_starts must be at least 1; 0 given"):
        fit_let([problem], n_starts=0)


def test_the_kernel_compiles_where_nothing_can_be_cached(tmp_path):
    code = (
        "import numba, numba.core.caching as c\n"
        "def refuse(*a, **k): raise RuntimeError('no locator')\n"
        "c.FunctionCache.__init__ = refuse\n"
        "import numpy as np\n"
        "from interp.extraction.let_kernel import arccos\n"
        "out = np.empty(1); arccos(np.array([1.0]), out); print(out[0])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0.0"
