"""The compiled heart of the logistic probes: one multinomial fit per call, by Newton and conjugate gradients.

Losses and gradients are float64. Newton steps are solved to a share of the gradient only, so their products with the
Hessian are float32, which takes half the time; the next gradient corrects what that costs. Once a step of float32 gains
little, those after it are float64.
"""

import math

import numpy as np
from numba import njit

# Armijo's constant (Nocedal & Wright 2006, section 3.1), and how often a step may be halved.
ARMIJO = 1e-4
MAX_HALVINGS = 30
# Rounding of the loss, relative to 1 + loss, within which two losses count as equal.
ROUNDING = 4e-16
# Products with the Hessian that one Newton step may take, in float32 and in float64.
MAX_PRODUCTS, MAX_EXACT_PRODUCTS = 150, 1000
# A Newton step is solved to this share of the gradient at first, then to the gradient's square root (ibid., 7.1), but
# no further than float32 carries.
LOOSEST = 0.1
TIGHTEST = 1e-4
SINGLE = np.float32
# A step of float32 that leaves more than this share of the gradient has come to the end of its precision.
LITTLE_GAIN = 0.3
# Added to the diagonal of a class's block, relative to its largest entry, so that a rare class can be inverted.
BLOCK_FLOOR = 1e-9

CAPPED, CONVERGED, STALLED = 0, 1, 2

# exp(x) = 2**k exp(r) with r within ln(2) / 2; a Taylor polynomial of degree 12 is then exact to 2e-16.
LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10  # their sum is ln(2); the first has zeros at its end
LOWEST = -708.0  # exp of less is no normal float64
EXPONENT_BIAS, MANTISSA_BITS = 1023, 52  # of a float64


def compiled(function):
    """Compile with numba, cached on disk where a folder for it can be written, else in memory only."""
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz", "reassoc"}}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:
        return njit(cache=False, **options)(function)


@compiled
def exponentials(x, bits):
    """Replace a vector of numbers of at most 0 by their exponentials; free of branches and calls, so it runs in lanes.

    ``bits`` int64 of the same length is scratch.
    """
    for j in range(x.shape[0]):
        value = max(x[j], LOWEST)
        k = math.floor(value * LOG2_E + 0.5)
        r = (value - k * LN2_HIGH) - k * LN2_LOW
        p = 1.0 + r * (1.0 / 11.0) * (1.0 + r * (1.0 / 12.0))
        p = 1.0 + r * (1.0 / 8.0) * (1.0 + r * (1.0 / 9.0) * (1.0 + r * (1.0 / 10.0) * p))
        p = 1.0 + r * (1.0 / 5.0) * (1.0 + r * (1.0 / 6.0) * (1.0 + r * (1.0 / 7.0) * p))
        x[j] = 1.0 + r * (1.0 + r * (1.0 / 2.0) * (1.0 + r * (1.0 / 3.0) * (1.0 + r * (1.0 / 4.0) * p)))
        bits[j] = (int(k) + EXPONENT_BIAS) << MANTISSA_BITS
    scale = bits.view(np.float64)
    for j in range(x.shape[0]):
        x[j] *= scale[j]


@compiled
def softmax_loss(logits, labels, weights, bits):
    """Weighted log loss of the logits (class, cell), which are replaced by weights times (probability - label)."""
    n_classes, n = logits.shape
    top = logits[0].copy()
    for c in range(1, n_classes):
        row = logits[c]
        for i in range(n):
            top[i] = max(top[i], row[i])
    own = np.empty(n)
    for i in range(n):
        own[i] = logits[labels[i], i] - top[i]
    for c in range(n_classes):
        row = logits[c]
        for i in range(n):
            row[i] -= top[i]
    exponentials(logits.reshape(n_classes * n), bits)
    total = logits[0].copy()
    for c in range(1, n_classes):
        row = logits[c]
        for i in range(n):
            total[i] += row[i]
    loss = 0.0
    for i in range(n):
        loss += weights[i] * (math.log(total[i]) - own[i])
        total[i] = weights[i] / total[i]
    for c in range(n_classes):
        row = logits[c]
        for i in range(n):
            row[i] *= total[i]
    for i in range(n):
        logits[labels[i], i] -= weights[i]
    return loss


@compiled
def objective(theta, features, labels, weights, penalty, n_classes, bits, gradient):
    """Return the loss of one problem and weights times (probability - label), and write the gradient.

    ``theta`` holds the weights (class, feature), ``features`` is (feature, cell), ``weights`` (cell,) add up to 1 and
    ``penalty`` (feature,) multiplies half the squared weights.
    """
    n_features = features.shape[0]
    table = theta.reshape(n_classes, n_features)
    logits = np.dot(table, features)
    loss = softmax_loss(logits, labels, weights, bits)
    slope = gradient.reshape(n_classes, n_features)
    np.dot(logits, features.T, slope)
    for c in range(n_classes):
        for j in range(n_features):
            pull = penalty[j] * table[c, j]
            loss += 0.5 * pull * table[c, j]
            slope[c, j] += pull
    return loss, logits


@compiled
def probabilities(residual, labels, weights):
    """Turn what `softmax_loss` left, weights times (probability - label), back into probabilities, in place."""
    n_classes, n = residual.shape
    for i in range(n):
        residual[labels[i], i] += weights[i]
    for c in range(n_classes):
        for i in range(n):
            residual[c, i] /= weights[i]


@compiled
def curvature(vector, features, shares, weights, penalty, n_classes, out):
    """Write the product of the Hessian with a vector (class x feature,), all of one type.

    ``shares`` (class, cell) are probabilities.
    """
    n_features, n = features.shape
    table = vector.reshape(n_classes, n_features)
    moved = np.dot(table, features)
    mean = np.zeros(n, features.dtype)
    for c in range(n_classes):
        for i in range(n):
            mean[i] += shares[c, i] * moved[c, i]
    for c in range(n_classes):
        for i in range(n):
            moved[c, i] = weights[i] * shares[c, i] * (moved[c, i] - mean[i])
    result = out.reshape(n_classes, n_features)
    np.dot(moved, features.T, result)
    for c in range(n_classes):
        for j in range(n_features):
            result[c, j] += penalty[j] * table[c, j]


@compiled
def class_inverses(features, shares, weights, penalty):
    """Inverse of each class's own block of the Hessian, float32 (class, feature, feature)."""
    n_classes, n = shares.shape
    n_features = features.shape[0]
    inverses = np.empty((n_classes, n_features, n_features), SINGLE)
    scaled = np.empty((n_features, n))
    spread = np.empty(n)
    for c in range(n_classes):
        for i in range(n):
            spread[i] = weights[i] * shares[c, i] * (1.0 - shares[c, i])
        for j in range(n_features):
            for i in range(n):
                scaled[j, i] = spread[i] * features[j, i]
        block = np.dot(scaled, features.T)
        top = 0.0
        for j in range(n_features):
            block[j, j] += penalty[j]
            top = max(top, block[j, j])
        for j in range(n_features):
            block[j, j] += BLOCK_FLOOR * top
        inverses[c] = np.linalg.inv(block).astype(SINGLE)
    return inverses


@compiled
def blocks_at(theta, features, weights, penalty, n_classes):
    """Inverse of each class's block of the Hessian at ``theta``, float32 (class, feature, feature)."""
    table = theta.reshape(n_classes, features.shape[0])
    shares = np.dot(table, features)
    n = shares.shape[1]
    labels = np.zeros(n, np.int64)
    softmax_loss(shares, labels, weights, np.empty(n_classes * n, np.int64))
    probabilities(shares, labels, weights)
    return class_inverses(features, shares, weights, penalty)


@compiled
def class_diagonals(features, shares, weights, penalty, out):
    """Write one over the diagonal of each class's block, (class x feature,)."""
    n_classes, n = shares.shape
    n_features = features.shape[0]
    moments = np.empty(n_features)
    for c in range(n_classes):
        spread = weights * shares[c] * (1.0 - shares[c])
        top = 0.0
        for j in range(n_features):
            moment = penalty[j]
            row = features[j]
            for i in range(n):
                moment += spread[i] * row[i] * row[i]
            moments[j] = moment
            top = max(top, moment)
        for j in range(n_features):
            out[c * n_features + j] = 1.0 / (moments[j] + BLOCK_FLOOR * top)


@compiled
def centre(vector, n_classes):
    """Take from a vector (class x feature,) its mean over classes, in place."""
    n_features = vector.shape[0] // n_classes
    table = vector.reshape(n_classes, n_features)
    for j in range(n_features):
        mean = 0.0
        for c in range(n_classes):
            mean += table[c, j]
        mean /= n_classes
        for c in range(n_classes):
            table[c, j] -= mean


@compiled
def precondition(vector, inverses, diagonals, n_classes, out):
    """Apply the inverse blocks, or the diagonals without any; the classes' sum stays zero, as at the optimum."""
    n_features = vector.shape[0] // n_classes
    table, result = vector.reshape(n_classes, n_features), out.reshape(n_classes, n_features)
    if inverses.shape[0] > 0:
        for c in range(n_classes):
            result[c] = np.dot(inverses[c], table[c].astype(SINGLE))
    else:
        for i in range(vector.shape[0]):
            out[i] = diagonals[i] * vector[i]
    centre(out, n_classes)


@compiled
def newton_step(gradient, features, shares, weights, penalty, inverses, diagonals, forcing, most, step):
    """Solve H step = -gradient by preconditioned conjugate gradients until the residual is ``forcing`` of the gradient.

    Works in the type of the features.

    Returns the number of products with H.
    """
    size, n_classes, kind = gradient.shape[0], shares.shape[0], features.dtype
    residual = (-gradient).astype(kind)
    direction, product, near = np.empty(size, kind), np.empty(size, kind), np.empty(size, kind)
    step[:] = 0.0
    precondition(residual, inverses, diagonals, n_classes, near)
    direction[:] = near
    rho = np.dot(residual, near)
    enough = forcing * math.sqrt(np.dot(gradient, gradient))
    for used in range(most):
        curvature(direction, features, shares, weights, penalty, n_classes, product)
        length = np.dot(direction, product)
        if not length > 0.0:
            if used == 0:
                step[:] = near
            return used + 1
        alpha = rho / length
        for i in range(size):
            step[i] += alpha * direction[i]
            residual[i] -= alpha * product[i]
        if math.sqrt(np.dot(residual, residual)) <= enough:
            return used + 1
        precondition(residual, inverses, diagonals, n_classes, near)
        fresh = np.dot(residual, near)
        ratio = fresh / rho
        rho = fresh
        for i in range(size):
            direction[i] = near[i] + ratio * direction[i]
    return most


@compiled
def minimise(theta, features, single, labels, weights, penalty, n_classes, inverses, tolerance, max_iter):
    """Fit one problem from ``theta``, until the Euclidean norm of the gradient is at most ``tolerance``.

    ``single`` are the features as float32. ``inverses``, float32 (class, feature, feature), precondition every step;
    they may come from a like problem. Without them, shape (0, 0, 0), the diagonals of the problem itself do. Returns
    theta, loss, norm of the gradient, evaluations, products with the Hessian, and the state (CAPPED, CONVERGED, or
    STALLED when no step lowers the loss any more).
    """
    size = theta.shape[0]
    bits = np.empty(n_classes * features.shape[1], np.int64)
    theta, trial, step = theta.copy(), np.empty(size), np.empty(size)
    gradient, slope, diagonals = np.empty(size), np.empty(size), np.empty(size, SINGLE)
    weights_single, penalty_single = weights.astype(SINGLE), penalty.astype(SINGLE)
    loss, shares = objective(theta, features, labels, weights, penalty, n_classes, bits, gradient)
    norm = math.sqrt(np.dot(gradient, gradient))
    products, evaluations, exact = 0, 1, False
    for _ in range(max_iter):
        if norm <= tolerance:
            return theta, loss, norm, evaluations, products, CONVERGED
        probabilities(shares, labels, weights)
        if inverses.shape[0] == 0:
            class_diagonals(features, shares, weights, penalty, diagonals)
        forcing = max(min(LOOSEST, math.sqrt(norm)), 0.5 * tolerance / norm, TIGHTEST)
        if exact:
            products += newton_step(
                gradient, features, shares, weights, penalty, inverses, diagonals, forcing, MAX_EXACT_PRODUCTS, step
            )
        else:
            products += newton_step(
                gradient, single, shares.astype(SINGLE), weights_single, penalty_single, inverses, diagonals, forcing,
                MAX_PRODUCTS, step,
            )  # fmt: skip
        centre(step, n_classes)  # what float32 leaves there would stay, as no later step could see it
        descent = np.dot(step, gradient)
        length, lower, new_loss = 1.0, False, loss
        for _ in range(MAX_HALVINGS):
            for i in range(size):
                trial[i] = theta[i] + length * step[i]
            new_loss, shares = objective(trial, features, labels, weights, penalty, n_classes, bits, slope)
            evaluations += 1
            lower = new_loss <= loss + ARMIJO * length * descent + ROUNDING * (1.0 + abs(loss))
            if lower:
                break
            length *= 0.5
        if not lower:
            if exact:
                return theta, loss, norm, evaluations, products, STALLED
            exact = True
            _, shares = objective(theta, features, labels, weights, penalty, n_classes, bits, slope)
            continue
        theta, trial = trial, theta
        gradient, slope = slope, gradient
        loss = new_loss
        before, norm = norm, math.sqrt(np.dot(gradient, gradient))
        exact = exact or (length == 1.0 and norm > LITTLE_GAIN * before)
    return theta, loss, norm, evaluations, products, CONVERGED if norm <= tolerance else CAPPED
