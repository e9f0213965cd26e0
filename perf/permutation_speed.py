"""Time the blocked permutation against a readable loop: ``python perf/permutation_speed.py [draws] [anchors]``.

Both draw the same keys, so they see the same relabellings.
"""

import sys
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from scipy.stats import rankdata, spearmanr

from interp.biology import StageGraph
from interp.geometry import PAIR_KINDS, blocked_permutation, point_distances
from interp.runs.seeds import stream

T = TypeVar("T")
N_STUDIES, N_DONORS, N_TISSUES = 3, 24, 3
N_PLAIN = 20


def world(n_anchors: int) -> tuple[np.ndarray, ...]:
    """Anchors of all 34 stages whose latents know a little of the ruler, by donor and tissue."""
    rng = np.random.default_rng(0)
    graph = StageGraph.hematopoiesis()
    ruler = graph.ruler(graph.stages)
    classes = rng.integers(0, len(ruler), n_anchors)
    blocks = rng.integers(0, N_DONORS * N_TISSUES, n_anchors)
    places = np.linalg.eigh(-(ruler**2))[1][:, -10:]
    latents = places[classes] + 1.5 * rng.standard_normal((n_anchors, 10))
    return point_distances(latents), ruler, classes, blocks, blocks % N_DONORS % N_STUDIES


def loop(
    distances: np.ndarray,
    ruler: np.ndarray,
    classes: np.ndarray,
    blocks: np.ndarray,
    studies: np.ndarray,
    kind: str,
    n: int,
) -> float:
    """Deal, look up and correlate, one relabelling after the other; ranks are made once, as they do not change."""
    first, second = np.triu_indices(len(classes), 1)
    if kind == "within-study":
        same = studies[first] == studies[second]
        first, second = first[same], second[same]
    ranks = rankdata(distances[first, second])
    values, counts = np.unique(ruler[classes[first], classes[second]], return_counts=True)
    level = dict(zip(values, np.cumsum(counts) - (counts - 1) / 2, strict=True))
    by_class = np.array([[level.get(value, 0.0) for value in row] for row in ruler])
    stages = np.unique(classes)
    a, b = np.triu_indices(len(stages), 1)
    members = [np.flatnonzero(blocks == block) for block in np.unique(blocks)]

    def statistic(labels: np.ndarray) -> float:
        if kind != "different-stage":
            return float(np.corrcoef(ranks, by_class[labels[first], labels[second]])[0, 1])
        hot = (labels[:, None] == stages) / (labels[:, None] == stages).sum(axis=0)
        return float(spearmanr((hot.T @ distances @ hot)[a, b], ruler[stages[a], stages[b]]).statistic)

    observed = statistic(classes)
    as_high = 0
    rng = stream(0, "permutation speed")
    for _ in range(n):
        keys, labels = rng.random(len(classes)), classes.copy()
        for at in members:
            labels[at] = classes[at][np.argsort(keys[at])]
        as_high += statistic(labels) >= observed - 1e-10
    return (1 + as_high) / (1 + n)


def plain(distances: np.ndarray, ruler: np.ndarray, classes: np.ndarray) -> float:
    """Seconds of one relabelling when scipy ranks everything anew, over all pairs."""
    first, second = np.triu_indices(len(classes), 1)
    start = time.perf_counter()
    for _ in range(N_PLAIN):
        spearmanr(distances[first, second], ruler[classes[first], classes[second]])
    return (time.perf_counter() - start) / N_PLAIN


def main(n_draws: int, n_anchors: int) -> None:
    """Print, for each kind of pairs and for all, both times and both p."""
    distances, ruler, classes, blocks, studies = world(n_anchors)
    given = {"distances": distances, "ruler": ruler, "classes": classes, "blocks": blocks, "studies": studies}
    blocked_permutation(**given, rng=stream(0, "compile"), n=2)
    print(f"{n_draws} relabellings of {n_anchors} anchors, {len(np.unique(blocks))} blocks; wall time (processor) in s")
    loops = np.zeros(2)
    for kind in PAIR_KINDS:
        ours, found = _timed(lambda kind=kind: blocked_permutation(
            **given, kinds=[kind], rng=stream(0, "permutation speed"), n=n_draws
        ))  # fmt: skip
        theirs, p = _timed(lambda kind=kind: loop(distances, ruler, classes, blocks, studies, kind, n_draws))
        loops += theirs
        same = "equal" if found[kind].p == p else f"NOT EQUAL to {p}"
        print(f"{kind:16s} {_line(theirs, ours)}, p {found[kind].p:.6f} {same}")
    ours, _ = _timed(lambda: blocked_permutation(**given, rng=stream(0, "permutation speed"), n=n_draws))
    print(f"{'all three':16s} {_line(loops, ours)}")
    one = plain(distances, ruler, classes)
    print(f"scipy's spearmanr over all pairs takes {one * 1e3:.0f} ms a relabelling ({N_PLAIN} timed)")


def _timed(work: Callable[[], T]) -> tuple[np.ndarray, T]:
    start = np.array([time.perf_counter(), time.process_time()])
    found = work()
    return np.array([time.perf_counter(), time.process_time()]) - start, found


def _line(theirs: np.ndarray, ours: np.ndarray) -> str:
    ratio = theirs / ours
    return (
        f"loop {theirs[0]:5.1f} ({theirs[1]:5.1f}), ours {ours[0]:5.2f} ({ours[1]:5.2f}): "
        f"{ratio[0]:5.1f} times faster, {ratio[1]:5.1f} by processor"
    )


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    main(*(numbers + [10_000, 600][len(numbers) :]))
