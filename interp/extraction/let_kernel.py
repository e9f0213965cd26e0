"""The compiled heart of the LET adaptor: one whole fit per call, objective and L-BFGS, without the interpreter.

Nothing here looks at another problem of the batch, so a fit gives the same bits alone and among thousands.
"""

import math

import numpy as np
from numba import njit

# Cosines are clipped to +-(1 - COSINE_MARGIN) before arccos (design, adaptor numerics).
COSINE_MARGIN = 1e-7
# Added to squared latent norms, so that a latent at the origin has a finite gradient. Norms are of order 1 to 100.
NORM_FLOOR = 1e-12
# Weight of beta squared: without it some problems have no minimum, as anchors on an ever smaller cap of an ever larger
# sphere approach a flat map. At 1e-4 the sphere's radius stays around 10 ruler units and the fit changes little.
BETA_RIDGE = 1e-4
# Stopping rule (design): relative change of the loss under LOSS_TOLERANCE over LOSS_WINDOW iterations.
LOSS_TOLERANCE = 1e-6
LOSS_WINDOW = 50
# L-BFGS: pairs kept, and the Wolfe constants of Nocedal & Wright (2006), section 3.1.
MEMORY = 12
ARMIJO = 1e-4
CURVATURE = 0.9
MAX_LINE_SEARCH = 25
# First guess of the inverse Hessian: 1 / (variance + (ridge + METRIC_FLOOR) mean variance) for weights, METRIC_OFFSET
# for offsets. Over 60 to 2,000 features and 40 to 110 anchors it took 3 to 10 times fewer iterations than the identity.
METRIC_FLOOR = 0.1
METRIC_OFFSET = 20.0
# Degree of the polynomial for arcsin(s) / s in s**2 on [0, 1/4]; its error is below 1e-15.
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
def arccos(cosines, out):
    """Write arccos of a vector of cosines into ``out``; free of branches and calls, so it runs in SIMD lanes."""
    c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12 = _COEFFICIENTS
    for j in range(cosines.shape[0]):
        x = cosines[j]
        w = abs(x)
        near = w <= 0.5
        half = 0.5 * (1.0 - w)
        t = x * x if near else half
        s = w if near else math.sqrt(half)
        p = ((((c12 * t + c11) * t + c10) * t + c9) * t + c8) * t + c7
        p = (((((((p * t + c6) * t + c5) * t + c4) * t + c3) * t + c2) * t + c1) * t + c0) * s
        angle = math.pi / 2 - p if near else 2.0 * p
        out[j] = angle if x >= 0.0 else math.pi - angle


@compiled
def stress(unit, ruler, noise, arcs, slopes, pull):
    """Mean square of beta arc - ruler over pairs i < j, the best beta, and the gradient by the unit latents.

    ``unit`` (latent, anchor); ``ruler`` (anchor, anchor); ``noise`` is what multiplies beta squared elsewhere in the
    loss; ``arcs`` and ``slopes`` (anchor, anchor) are scratch; ``pull`` (latent, anchor) receives the gradient.
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
        arccos(cosine, arc)
        across += np.dot(arc, ruler[i, i + 1 :])
        square += np.dot(arc, arc)
    pairs = 0.5 * n * (n - 1)
    beta = across / (square + pairs * noise)
    weight = -2.0 * beta / pairs
    total = 0.0
    for i in range(n - 1):
        slope = slopes[i, i + 1 :]
        arc = arcs[i, i + 1 :]
        hops = ruler[i, i + 1 :]
        for j in range(slope.shape[0]):
            arc[j] = beta * arc[j] - hops[j]
            # a clipped cosine has no slope
            inside = abs(slope[j]) < limit
            steep = weight / math.sqrt(1.0 - slope[j] * slope[j])
            slope[j] = arc[j] * steep if inside else 0.0
        total += np.dot(arc, arc)
    for i in range(n):
        slopes[i, i] = 0.0
        for j in range(i + 1, n):
            slopes[j, i] = slopes[i, j]
    np.dot(unit, slopes, pull)
    return total / pairs, beta


@compiled
def project(a, shift, coords, unit, inverse):
    """Write the unit latents (latent, anchor) of a y - shift, and the inverse norms (anchor,)."""
    n_latent, n = unit.shape
    np.dot(a, coords, unit)
    inverse[:] = NORM_FLOOR
    for k in range(n_latent):
        for i in range(n):
            unit[k, i] -= shift[k]
            inverse[i] += unit[k, i] * unit[k, i]
    for i in range(n):
        inverse[i] = 1.0 / math.sqrt(inverse[i])
    for k in range(n_latent):
        for i in range(n):
            unit[k, i] *= inverse[i]


@compiled
def angular(unit, inverse, gram, ruler, ridge, scratch, pull):
    """Stress plus the terms in beta squared, and their gradient by the latents in ``pull`` (latent, anchor).

    Returns the value, the stress, beta, and W'W's own gradient: left (latent, latent), to be multiplied by W.
    """
    n_latent, n = unit.shape
    arcs, slopes, turned, radial, heat = scratch
    np.dot(gram, unit, turned)
    radial[:] = 0.0
    for k in range(n_latent):
        for i in range(n):
            radial[i] += turned[k, i] * unit[k, i]
    trace = np.trace(gram)
    noise = 0.0
    total = 0.0
    for i in range(n):
        heat[i] = ridge / n * inverse[i] * inverse[i]
        total += heat[i]
        noise += heat[i] * (trace - radial[i])
    noise += BETA_RIDGE
    value, beta = stress(unit, ruler, noise, arcs, slopes, pull)
    twice = 2.0 * beta * beta
    for i in range(n):
        heat[i] *= twice
        radial[i] = heat[i] * (trace - radial[i])
    for k in range(n_latent):
        for i in range(n):
            pull[k, i] -= heat[i] * turned[k, i]
            radial[i] += pull[k, i] * unit[k, i]
            turned[k, i] = -heat[i] * unit[k, i]
    for k in range(n_latent):
        for i in range(n):
            pull[k, i] = (pull[k, i] - radial[i] * unit[k, i]) * inverse[i]
    left = np.dot(turned, unit.T)
    for k in range(n_latent):
        left[k, k] += twice * total
    return value + beta * beta * noise, value, beta, left


@compiled
def objective(theta, coords, variance, ruler, alpha, ridge, n_features, n_latent, gradient):
    """Loss and gradient of one LET problem in span coordinates.

    ``theta`` holds A (latent, rank) and then b (rank,); ``coords`` (rank, anchor) are centred with the diagonal
    covariance ``variance`` (rank,), which reduces the reconstruction to latent x latent matrices.
    Returns loss, stress, beta.
    """
    rank, n = coords.shape
    size = n_latent * rank
    a = theta[:size].reshape(n_latent, rank)
    b = theta[size:]
    scratch = np.empty((n, n)), np.empty((n, n)), np.empty((n_latent, n)), np.empty(n), np.empty(n)
    unit, pull, inverse = np.empty((n_latent, n)), np.empty((n_latent, n)), np.empty(n)
    shift = np.dot(a, b)
    project(a, shift, coords, unit, inverse)
    gram = np.dot(a, a.T)
    loss, ruler_loss, beta, left = angular(unit, inverse, gram, ruler, ridge * np.mean(variance), scratch, pull)
    scaled = np.empty((n_latent, rank))
    for k in range(n_latent):
        for f in range(rank):
            scaled[k, f] = a[k, f] * variance[f]
    spread = np.dot(scaled, a.T)
    back = np.dot(gram, shift)
    share = alpha / n_features
    fit = np.sum(variance) + np.dot(b, b) + np.dot(shift, back) - 2.0 * np.dot(shift, shift)
    down = np.empty(n_latent)
    for k in range(n_latent):
        fit -= 2.0 * spread[k, k]
        down[k] = share * (2.0 * back[k] - 4.0 * shift[k]) - np.sum(pull[k])
        for m in range(n_latent):
            fit += gram[k, m] * spread[k, m]
            left[k, m] += 2.0 * share * (spread[k, m] + shift[k] * shift[m])
            gram[k, m] *= 2.0 * share
        gram[k, k] -= 4.0 * share
    grad_a = np.dot(pull, coords.T)
    near, far = np.dot(left, a), np.dot(gram, scaled)
    tail = np.dot(down, a)
    for k in range(n_latent):
        for f in range(rank):
            gradient[k * rank + f] = grad_a[k, f] + near[k, f] + far[k, f] + down[k] * b[f]
    for f in range(rank):
        gradient[size + f] = tail[f] + 2.0 * share * b[f]
    return loss + share * fit, ruler_loss, beta


@compiled
def add(target, factor, vector):
    """Add ``factor`` times ``vector`` to ``target`` in place."""
    for i in range(target.shape[0]):
        target[i] += factor * vector[i]


@compiled
def direction(gradient, metric, steps, changes, inverse, newest, stored, out):
    """Write the L-BFGS direction -H g, by two loops over a ring of ``stored`` pairs ending at ``newest``.

    ``metric`` (parameter,) is the diagonal of the first guess of H, up to a factor.
    """
    memory = steps.shape[0]
    weights = np.empty(memory)
    for i in range(out.shape[0]):
        out[i] = -gradient[i]
    for back in range(stored):
        k = (newest - back) % memory
        weights[k] = np.dot(steps[k], out) * inverse[k]
        add(out, -weights[k], changes[k])
    factor = 1.0
    if stored > 0:
        square = 0.0
        for i in range(out.shape[0]):
            square += metric[i] * changes[newest, i] * changes[newest, i]
        factor = 1.0 / (inverse[newest] * square)
    for i in range(out.shape[0]):
        out[i] *= factor * metric[i]
    for back in range(stored):
        k = (newest - stored + 1 + back) % memory
        add(out, weights[k] - np.dot(changes[k], out) * inverse[k], steps[k])


@compiled
def first_metric(variance, ridge, n_latent):
    """Diagonal first guess of the inverse Hessian, (parameter,): what varies much is stiff."""
    rank = variance.shape[0]
    metric = np.full((n_latent + 1) * rank, METRIC_OFFSET)
    floor = (ridge + METRIC_FLOOR) * np.mean(variance)
    for k in range(n_latent):
        for f in range(rank):
            metric[k * rank + f] = 1.0 / (variance[f] + floor)
    return metric


@compiled
def minimise(theta, coords, variance, ruler, alpha, ridge, n_features, n_latent, max_iter):
    """Fit one problem from ``theta`` by L-BFGS with a bracketing weak-Wolfe line search.

    Returns theta, loss, stress, beta, iterations, evaluations, the state (CAPPED, CONVERGED, or STALLED when no step
    lowers the loss any more) and the learning curve: the loss before each iteration and after the last.
    """
    size = theta.shape[0]
    metric = first_metric(variance, ridge, n_latent)
    steps, changes, inverse = np.empty((MEMORY, size)), np.empty((MEMORY, size)), np.empty(MEMORY)
    curve = np.empty(max_iter + 1)
    theta, trial, way = theta.copy(), np.empty(size), np.empty(size)
    gradient, slope = np.empty(size), np.empty(size)
    loss, ruler_loss, beta = objective(theta, coords, variance, ruler, alpha, ridge, n_features, n_latent, gradient)
    newest, stored, evaluations = -1, 0, 1
    curve[0] = loss
    for iteration in range(max_iter):
        direction(gradient, metric, steps, changes, inverse, newest, stored, way)
        descent = np.dot(way, gradient)
        if stored > 0 and not descent < 0.0:
            stored = 0
            direction(gradient, metric, steps, changes, inverse, newest, stored, way)
            descent = np.dot(way, gradient)
        if not descent < 0.0:
            return theta, loss, ruler_loss, beta, iteration, evaluations, STALLED, curve[: iteration + 1].copy()
        step = 1.0 if stored > 0 else min(1.0, 0.1 * math.sqrt(np.dot(theta, theta) / np.dot(way, way)))
        low, high, lower = 0.0, np.inf, False
        new_loss, new_ruler, new_beta = loss, ruler_loss, beta
        for _ in range(MAX_LINE_SEARCH):
            for i in range(size):
                trial[i] = theta[i] + step * way[i]
            new_loss, new_ruler, new_beta = objective(
                trial, coords, variance, ruler, alpha, ridge, n_features, n_latent, slope
            )
            evaluations += 1
            lower = new_loss <= loss + ARMIJO * step * descent
            if not lower:
                high = step
            elif np.dot(slope, way) < CURVATURE * descent:
                low = step
            else:
                break
            step = 0.5 * (low + high) if high < np.inf else 2.0 * step
        if not (lower and new_loss < loss):
            if stored == 0:
                return theta, loss, ruler_loss, beta, iteration, evaluations, STALLED, curve[: iteration + 1].copy()
            stored = 0
            curve[iteration + 1] = loss
            continue
        newest = (newest + 1) % MEMORY
        for i in range(size):
            steps[newest, i] = trial[i] - theta[i]
            changes[newest, i] = slope[i] - gradient[i]
        product = np.dot(steps[newest], changes[newest])
        inverse[newest] = 1.0 / product
        # the line search makes the product positive, except when it ran out
        stored = min(stored + 1, MEMORY) if product > 0.0 else 0
        theta, trial = trial, theta
        gradient, slope = slope, gradient
        loss, ruler_loss, beta = new_loss, new_ruler, new_beta
        curve[iteration + 1] = loss
        back = iteration + 1 - LOSS_WINDOW
        if back >= 0 and curve[back] - loss < LOSS_TOLERANCE * abs(loss):
            return theta, loss, ruler_loss, beta, iteration + 1, evaluations, CONVERGED, curve[: iteration + 2].copy()
    return theta, loss, ruler_loss, beta, max_iter, evaluations, CAPPED, curve
