"""Time the batched probe screen of 96 heads against a scikit-learn loop that reaches the same optimum.

``python perf/probe_speed.py [every]``: scikit-learn fits every so many heads (24 by default) and its time is scaled up;
1 fits them all. Both sides fit the same probes: 12 layers x 8 heads of width 64, 8 classes, 10 donors in 5 folds, the
15 training subsets of nested cross-validation, 5 penalties. Of scikit-learn's solvers the fastest one counts.
"""

import sys
import time
import warnings

import numpy as np
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from interp.probing import LogisticPaths, ridge_paths
from interp.probing.nested import Folds
from interp.probing.standard import PENALTIES
from interp.runs.workers import one_thread_each

N_LAYERS, N_HEADS, WIDTH, N_CLASSES = 12, 8, 64, 8
N_DONORS, N_CELLS, N_FOLDS = 10, 120, 5
SOLVERS = ("lbfgs", "newton-cg", "newton-cholesky")
# scikit-learn stops when the largest entry of the gradient is this small, ours when its norm is.
TOLERANCE = 1e-6
N_TARGETS = 41
# The classes differ along so many leading axes and by so much: probes then reach about what they reach on real cells.
N_KNOWN, SIGNAL = 16, 0.7


def heads(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Activations with a spectrum as steep as a trained model's, (head, cell, feature); labels and folds of cells."""
    rng = np.random.default_rng(seed)
    n = N_DONORS * N_CELLS
    labels, donors = rng.integers(0, N_CLASSES, n), np.repeat(np.arange(N_DONORS), N_CELLS)
    spectrum, known = np.geomspace(1.0, 1e-2, WIDTH), np.arange(WIDTH) < N_KNOWN
    found = []
    for _ in range(N_LAYERS * N_HEADS):
        mixing = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0] * spectrum[:, None]
        latent = rng.standard_normal((n, WIDTH)) + 0.3 * rng.standard_normal((N_DONORS, WIDTH))[donors]
        found.append((latent + SIGNAL * known * rng.standard_normal((N_CLASSES, WIDTH))[labels]) @ mixing)
    return np.array(found), labels, donors % N_FOLDS


def ours(x: np.ndarray, labels: np.ndarray, folds: Folds) -> dict:
    """All probes of one head."""
    run = LogisticPaths(x, folds.of_cell, folds.left_out, PENALTIES, tolerance=TOLERANCE).start(labels)
    places = range(len(PENALTIES))
    return {(subset, place): run.fit(subset, place) for subset in range(len(folds.left_out)) for place in places}


def theirs(x: np.ndarray, labels: np.ndarray, folds: Folds, solver: str) -> dict:
    """The same by scikit-learn, each penalty from the solution of the one before where the solver can."""
    found = {}
    for subset in range(len(folds.left_out)):
        train = np.setdiff1d(np.arange(len(x)), folds.tested(subset))
        scaler = StandardScaler().fit(x[train])
        z = scaler.transform(x[train])
        probe = LogisticRegression(
            class_weight="balanced", solver=solver, tol=TOLERANCE, max_iter=5000, warm_start=True
        )
        for place, penalty in enumerate(PENALTIES):
            probe.set_params(C=1 / (penalty * WIDTH * len(train))).fit(z, labels[train])
            found[subset, place] = scaler, probe.coef_.copy(), probe.intercept_.copy()
    return found


def gap(x: np.ndarray, labels: np.ndarray, folds: Folds, mine: dict, other: dict) -> tuple[float, float]:
    """Largest gap of the penalised loss (ours minus theirs) and of the AUROC on the test cells over the probes."""
    losses, areas = [], []
    for (subset, place), fit in mine.items():
        tested = folds.tested(subset)
        train = np.setdiff1d(np.arange(len(x)), tested)
        scaler, coef, intercept = other[subset, place]
        coef = coef / scaler.scale_
        weights = 1 / np.bincount(labels[train])[labels[train]]

        def loss(logits: np.ndarray, w: np.ndarray, rows=train, s=weights, scale=scaler.scale_, p=PENALTIES[place]):
            nll = -np.log(softmax(logits, axis=1)[np.arange(len(rows)), labels[rows]])
            return np.average(nll, weights=s) + 0.5 * p * WIDTH * ((w * scale) ** 2).sum()

        offset = intercept - coef @ scaler.mean_
        losses.append(loss(fit.logits(x[train]), fit.coef) - loss(x[train] @ coef.T + offset, coef))
        both = (fit.logits(x[tested]), x[tested] @ coef.T + offset)
        mean, sk = (roc_auc_score(labels[tested], softmax(z, axis=1), multi_class="ovr") for z in both)
        areas.append(abs(mean - sk))
    return float(np.max(losses)), float(np.max(areas))


def ridge(x: np.ndarray, folds: Folds, every: int) -> None:
    """Time the closed form with many targets against a loop over heads, subsets and penalties."""
    targets = np.random.default_rng(1).standard_normal((x.shape[1], N_TARGETS))
    ridge_paths(x[0], targets, folds.of_cell, folds.left_out, PENALTIES)
    start = time.process_time()
    fits = [ridge_paths(head, targets, folds.of_cell, folds.left_out, PENALTIES) for head in x]
    mine, loop, worst = time.process_time() - start, 0.0, 0.0
    chosen = range(0, len(x), every)
    for head in chosen:
        for subset in range(len(folds.left_out)):
            tested = folds.tested(subset)
            train = np.setdiff1d(np.arange(x.shape[1]), tested)
            own = fits[head][subset].predict(x[head][tested])
            for place, penalty in enumerate(PENALTIES):
                start = time.process_time()
                if not place:
                    scaler = StandardScaler().fit(x[head][train])
                    z = scaler.transform(x[head][train])
                model = Ridge(alpha=penalty * WIDTH * len(train)).fit(z, targets[train])
                loop += time.process_time() - start
                worst = max(worst, np.abs(model.predict(scaler.transform(x[head][tested])) - own[place].T).max())
    loop *= len(x) / len(chosen)
    ratio = f"{loop / mine:.0f} times slower; predictions differ by at most {worst:.0e}"
    print(f"ridge, {N_TARGETS} targets: {mine:.1f} s, scikit-learn {loop:.1f} s, {ratio}")


def main(every: int) -> None:
    """Print the times, the ratio and how far the two optima lie apart."""
    warnings.simplefilter("ignore")
    x, labels, of_cell = heads()
    folds = Folds(of_cell, np.arange(N_DONORS) % N_FOLDS, N_FOLDS)
    n_probes = len(x) * len(folds.left_out) * len(PENALTIES)
    with one_thread_each():
        ours(x[0], labels, folds)  # compiles
        start = time.process_time()
        mine = [ours(head, labels, folds) for head in x]
        spent = time.process_time() - start
        converged = all(fit.converged for head in mine for fit in head.values())
        print(f"{len(x)} heads, {n_probes:,} probes: {spent:.1f} s of processor, all converged: {converged}")
        loops = {}
        for solver in SOLVERS:
            start = time.process_time()
            found = {head: theirs(x[head], labels, folds, solver) for head in range(0, len(x), every)}
            loops[solver] = (time.process_time() - start) * len(x) / len(found)
            worst = np.max([gap(x[head], labels, folds, mine[head], other) for head, other in found.items()], axis=0)
            measured = f"measured on {len(found)} heads" if every > 1 else "measured on all"
            ratio = loops[solver] / spent
            print(f"scikit-learn {solver}: {loops[solver]:.0f} s ({measured}); {ratio:.1f} times slower")
            print(f"  ours is above its loss by at most {worst[0]:.0e}, AUROC differs by at most {worst[1]:.1e}")
        print(f"against the fastest solver: {min(loops.values()) / spent:.1f} times faster")
        ridge(x, folds, every)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 24)
