"""The compiled heart of the LET adaptor: one whole fit per call, objective and L-BFGS, without the interpreter.

Nothing here looks at another problem of the batch, so a fit gives the same bits alone and among thousands.
"""

import math

import numpy as np
from numba import njit

# Cosines are clipped to +-(1 - COSINE_MARGIN) before arccos (design, adaptor numerics).
COSINE_MARGIN = 1e-7
# Added to squared latent norms, so that a latent at the origin has a finite gradient. Latents have norms of order 1 to 100.
NORM_FLOOR = 1e-12
# Stopping rule (design): relative change of the loss under LOSS_TOLERANCE over LOSS_WINDOW iterations.
LOSS_TOLERANCE = 1e-6
LOSS_WINDOW = 50
# L-BFGS: pairs kept, and the Wolfe constants of Nocedal & Wright (2006), section 3.1.
MEMORY = 12
ARMIJO = 1e-4
CURVATURE = 0.9
MAX_LINE_SEARCH = 25
# Degree of the polynomial for arcsin(s) / s in s**2 on [0, 1/4]; its error is below 2e-16.
ARCSINE_DEGREE = 12

CAPPED, CONVERGED, STALLED = 0, 1, 2


def _arcsine_polynomial() -> np.ndarray:
    """Coefficients, lowest degree first, of arcsin(s) / s as a polynomial in t = s**2 on [0, 1/4]."""
    degree = ARCSINE_DEGREE
    nodes = 0.125 + 0.125 * np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))
    root = np.sqrt(nodes)
    series = np.polynomial.Chebyshev.fit(nodes, np.arcsin(root) / root, degree, domain=[0.0, 0.25])
    return series.convert(kind=np.polynomial.Polynomial).coef


_COEFFICIENTS = tuple(float(value) for value in _arcsine_polynomial())


def compiled(function):
    """Compile with numba, cached on disk where a folder for it can be written, else in memory only."""
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:
        return njit(cache=False, **options)(function)


@compiled
def arc_rows(cosines, out):
    """Write arccos of a vector of cosines, already clipped, into ``out``; branch-free, so it runs in SIMD lanes."""
    c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12 = _COEFFICIENTS
    for j in range(cosines.shape[0]):
        x = cosines[j]
        w = abs(x)
        near = w <= 0.5
        half = 0.5 * (1.0 - w)
        t = x * x if near else half
        s = w if near else math.sqrt(half)
        p = c12
        p = p * t + c11
        p = p * t + c10
        p = p * t + c9
        p = p * t + c8
        p = p * t + c7
        p = p * t + c6
        p = p * t + c5
        p = p * t + c4
        p = p * t + c3
        p = p * t + c2
        p = p * t + c1
        p = p * t + c0
        p = p * s
        angle = math.pi / 2 - p if near else 2.0 * p
        out[j] = angle if x >= 0.0 else math.pi - angle


@compiled
def ruler_term(unit, ruler, noise, arcs, slopes, pull):
    """Stress of the arcs against the ruler, the best beta, and the gradient with respect to the unit latents.

    ``unit`` (latent, anchor); ``ruler`` (anchor, anchor); ``noise`` is what multiplies beta^2 in the loss beside the
    stress; ``arcs`` and ``slopes`` (anchor, anchor) are scratch; ``pull`` (latent, anchor) receives the gradient.
    Returns the mean square over pairs i < j, and beta.
    """
    n = ruler.shape[0]
    limit = 1.0 - COSINE_MARGIN
    np.dot(unit.T, unit, slopes)
    across = 0.0
    square = 0.0
    for i in range(n - 1):
        cosine = slopes[i, i + 1 :]
        arc = arcs[i, i + 1 :]
        for j in range(cosine.shape[0]):
            cosine[j] = min(max(cosine[j], -limit), limit)
        arc_rows(cosine, arc)
        hops = ruler[i, i + 1 :]
        across += np.dot(arc, hops)
        square += np.dot(arc, arc)
    pairs = 0.5 * n * (n - 1)
    beta = across / (square + pairs * noise)
    weight = 2.0 * beta / pairs
    total = 0.0
    for i in range(n - 1):
        slope = slopes[i, i + 1 :]
        arc = arcs[i, i + 1 :]
        hops = ruler[i, i + 1 :]
        for j in range(slope.shape[0]):
            arc[j] = beta * arc[j] - hops[j]
            # a clipped cosine has no slope
            inside = abs(slope[j]) < limit
            steep = -weight / math.sqrt(1.0 - slope[j] * slope[j])
            slope[j] = arc[j] * steep if inside else 0.0
        total += np.dot(arc, arc)
    for i in range(n):
        slopes[i, i] = 0.0
        for j in range(i + 1, n):
            slopes[j, i] = slopes[i, j]
    np.dot(unit, slopes, pull)
    return total / pairs, beta


@compiled
def objective(theta, coords, variance, ruler, alpha, ridge, n_features, n_latent, scratch, gradient):
    """Loss and gradient of one LET problem in span coordinates.

    ``theta`` holds A (latent, rank) and then b (rank,); ``coords`` (rank, anchor) are centred with the diagonal
    covariance ``variance`` (rank,), which reduces reconstruction and ridge to latent x latent matrices.
    Returns loss, ruler loss, beta.
    """
    rank, n = coords.shape
    latent, unit, pull, arcs, slopes, norms = scratch
    a = theta[: n_latent * rank].reshape(n_latent, rank)
    b = theta[n_latent * rank :]
    shift = np.dot(a, b)
    np.dot(a, coords, latent)
    norms[:] = NORM_FLOOR
    for k in range(n_latent):
        for i in range(n):
            latent[k, i] -= shift[k]
            norms[i] += latent[k, i] * latent[k, i]
    for i in range(n):
        norms[i] = 1.0 / math.sqrt(norms[i])
    for k in range(n_latent):
        for i in range(n):
            unit[k, i] = latent[k, i] * norms[i]
    gram = np.dot(a, a.T)
    trace = np.trace(gram)
    turned = np.dot(gram, unit)
    radial = np.zeros(n)
    for k in range(n_latent):
        for i in range(n):
            radial[i] += turned[k, i] * unit[k, i]
    unit_ridge = ridge * np.sum(variance) / rank / n
    inverse = norms * norms
    noise = unit_ridge * np.dot(inverse, trace - radial)
    ruler_loss, beta = ruler_term(unit, ruler, noise, arcs, slopes, pull)
    unit_ridge *= beta * beta
    tangent = np.zeros(n)
    for k in range(n_latent):
        for i in range(n):
            pull[k, i] -= 2.0 * unit_ridge * inverse[i] * turned[k, i]
            tangent[i] += pull[k, i] * unit[k, i]
    down = np.zeros(n_latent)
    for i in range(n):
        tangent[i] += 2.0 * unit_ridge * inverse[i] * (trace - radial[i])
    for k in range(n_latent):
        for i in range(n):
            pull[k, i] = (pull[k, i] - tangent[i] * unit[k, i]) * norms[i]
        down[k] = -np.sum(pull[k])
    scaled = a * variance
    spread = np.dot(scaled, a.T)
    back = np.dot(gram, shift)
    fit = np.sum(variance) - 2.0 * np.trace(spread) + np.sum(gram * spread)
    fit += np.dot(shift, back) - 2.0 * np.dot(shift, shift) + np.dot(b, b)
    share = alpha / n_features
    loss = ruler_loss + share * fit + beta * beta * noise
    for k in range(n_latent):
        down[k] += share * (2.0 * back[k] - 4.0 * shift[k])
    grad_a = gradient[: n_latent * rank].reshape(n_latent, rank)
    np.dot(pull, coords.T, grad_a)
    left = 2.0 * share * (spread + np.outer(shift, shift)) - 2.0 * unit_ridge * np.dot(unit * inverse, unit.T)
    right = 2.0 * share * gram
    for k in range(n_latent):
        left[k, k] += 2.0 * unit_ridge * np.sum(inverse)
        right[k, k] -= 4.0 * share
    grad_a += np.dot(left, a) + np.dot(right, scaled)
    for k in range(n_latent):
        for f in range(rank):
            grad_a[k, f] += down[k] * b[f]
    gradient[n_latent * rank :] = np.dot(down, a) + 2.0 * share * b
    return loss, ruler_loss, beta


@compiled
def direction(gradient, metric, steps, changes, inverse, newest, stored, out):
    """The L-BFGS direction -H g by the two-loop recursion over a ring of ``stored`` pairs ending at ``newest``.

    ``metric`` is the diagonal of the first guess of H, up to a factor.
    """
    memory = steps.shape[0]
    weights = np.empty(memory)
    out[:] = gradient
    for back in range(stored):
        k = (newest - back) % memory
        weights[k] = np.dot(steps[k], out) * inverse[k]
        out -= weights[k] * changes[k]
    out *= metric
    if stored > 0:
        out /= inverse[newest] * np.dot(changes[newest], metric * changes[newest])
    for back in range(stored):
        k = (newest - stored + 1 + back) % memory
        out += (weights[k] - np.dot(changes[k], out) * inverse[k]) * steps[k]
    out *= -1.0


@compiled
def minimise(theta, coords, variance, ruler, alpha, ridge, n_features, n_latent, max_iter):
    """Fit one problem from ``theta`` by L-BFGS with a weak-Wolfe bracketing line search.

    Returns theta, loss, ruler loss, beta, iterations, evaluations and the state (CAPPED, CONVERGED or STALLED).
    """
    size = theta.shape[0]
    n = coords.shape[1]
    scratch = (
        np.empty((n_latent, n)),
        np.empty((n_latent, n)),
        np.empty((n_latent, n)),
        np.empty((n, n)),
        np.empty((n, n)),
        np.empty(n),
    )
    steps, changes, inverse = np.empty((MEMORY, size)), np.empty((MEMORY, size)), np.empty(MEMORY)
    history = np.full(LOSS_WINDOW, np.inf)
    theta = theta.copy()
    gradient, trial, slope, way = np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    loss, ruler_loss, beta = objective(
        theta, coords, variance, ruler, alpha, ridge, n_features, n_latent, scratch, gradient
    )
    metric = np.ones(size)
    newest, stored, evaluations = -1, 0, 1
    for iteration in range(max_iter):
        history[iteration % LOSS_WINDOW] = loss
        direction(gradient, metric, steps, changes, inverse, newest, stored, way)
        descent = np.dot(way, gradient)
        if not descent < 0.0:
            stored = 0
            way[:] = -metric * gradient
            descent = np.dot(way, gradient)
            if not descent < 0.0:
                return theta, loss, ruler_loss, beta, iteration, evaluations, CONVERGED
        step = 1.0 if stored else min(1.0, 0.1 * math.sqrt(np.dot(theta, theta / metric) / -descent))
        low, high = 0.0, np.inf
        found = False
        for _ in range(MAX_LINE_SEARCH):
            trial[:] = theta + step * way
            new_loss, new_ruler, new_beta = objective(
                trial, coords, variance, ruler, alpha, ridge, n_features, n_latent, scratch, slope
            )
            evaluations += 1
            if not new_loss <= loss + ARMIJO * step * descent:
                high = step
            elif np.dot(slope, way) < CURVATURE * descent:
                low = step
                found = True
            else:
                found = True
                break
            step = 0.5 * (low + high) if high < np.inf else 2.0 * step
        if not found or not new_loss < loss:
            if stored == 0:
                return theta, loss, ruler_loss, beta, iteration, evaluations, STALLED
            stored = 0
            continue
        newest = (newest + 1) % MEMORY
        steps[newest] = trial - theta
        changes[newest] = slope - gradient
        product = np.dot(steps[newest], changes[newest])
        if product > 1e-16 * np.dot(changes[newest], changes[newest]):
            inverse[newest] = 1.0 / product
            stored = min(stored + 1, MEMORY)
        else:
            newest, stored = -1, 0
        theta, trial = trial, theta
        gradient, slope = slope, gradient
        loss, ruler_loss, beta = new_loss, new_ruler, new_beta
        past = history[(iteration + 1) % LOSS_WINDOW]
        if past - loss < LOSS_TOLERANCE * max(abs(loss), 1e-12):
            return theta, loss, ruler_loss, beta, iteration + 1, evaluations, CONVERGED
    return theta, loss, ruler_loss, beta, max_iter, evaluations, CAPPED
