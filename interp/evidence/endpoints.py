"""Secondary endpoints, one number per test donor: branch and stage read from the nearest centroid, and pseudotime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interp.evidence.fits import span_of
from interp.evidence.order import sharing
from interp.evidence.panel import UNKNOWN
from interp.extraction.let import LetProblem
from interp.geometry.distances import angles
from interp.geometry.ranks import row_spearman

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from interp.evidence.arms import Arm
    from interp.evidence.fits import Solver
    from interp.evidence.panel import FloatArray, IntArray, Labels, Panel
    from interp.stats import Split

BRANCH = "branch balanced accuracy"
STAGE = "stage balanced accuracy"
PSEUDOTIME = "pseudotime correlation with depth"
SECONDARY = (BRANCH, STAGE, PSEUDOTIME)
# Classes that a donor needs for a balanced accuracy, and depths for a correlation (design, pseudotime).
MIN_CLASSES = 2
MIN_DEPTHS = 3


def secondary_endpoints(panel: Panel, arms: Iterable[Arm], solver: Solver) -> pd.DataFrame:
    """Fit every arm on all training anchors of each split and read the test donors' anchors.

    Parameters
    ----------
    panel
        The anchors.
    arms
        What to measure; under permuted labels an arm is asked for the permuted branch, stage and depth.
    solver
        How adaptors are fitted.

    Returns
    -------
    pandas.DataFrame
        endpoint, control (the arm), draw, donor, value: mean over the donor's splits, NaN where not computable.
    """
    arms = list(arms)
    rows = []
    for split in panel.splits:
        if len(np.unique(panel.classes[panel.exact(panel.train(split))])) < MIN_CLASSES:
            continue
        for arm, labels, trained, tested in _fitted(panel, split, arms, solver):
            found = read_donors(panel, split, labels, trained, tested)
            rows += [(endpoint, arm.name, arm.draw, donor, value) for endpoint, donor, value in found]
    table = pd.DataFrame(rows, columns=["endpoint", "control", "draw", "donor", "value"])
    return table.groupby(["endpoint", "control", "draw", "donor"], sort=True)["value"].mean().reset_index()


def read_donors(
    panel: Panel, split: Split, labels: Labels, trained: FloatArray, tested: FloatArray
) -> Iterator[tuple[str, str, float]]:
    """Read the test donors of a split off their latents.

    Parameters
    ----------
    panel, split, labels
        The anchors, which of them were trained on, and what their classes are called.
    trained
        Latents of the training anchors of known class, (train, latent).
    tested
        Latents of all test anchors, (test, latent).

    Yields
    ------
    tuple
        Endpoint, donor, value.
    """
    train, test = panel.exact(panel.train(split)), panel.test(split)
    stages = np.unique(panel.classes[train])
    centroids = np.array([unit(trained)[panel.classes[train] == stage].mean(axis=0) for stage in stages])
    predicted = stages[angles(tested, centroids).argmin(axis=1)]
    branches = np.array([*labels.branch, None], dtype=object)
    # Coarse labels count for branches when nothing was permuted: their branch is known though their stage is not.
    known = panel.obs["branch"].to_numpy(dtype=object)[test]
    true_branch = np.where(panel.classes[test] == UNKNOWN, known, branches[panel.classes[test]])
    root = centroids[labels.depth[stages].argmin()]
    for donor in split.test_donors:
        mine = panel.donors[test] == donor
        if not mine.any():
            continue
        trained_branch = np.isin(true_branch[mine].astype(str), sorted({labels.branch[s] for s in stages}))
        yield BRANCH, donor, balanced(true_branch[mine][trained_branch], branches[predicted[mine]][trained_branch])
        seen = np.isin(panel.classes[test][mine], stages)
        yield STAGE, donor, balanced(panel.classes[test][mine][seen], predicted[mine][seen])
        exact = panel.classes[test][mine] != UNKNOWN
        yield PSEUDOTIME, donor, depth_correlation(tested[mine][exact], panel.classes[test][mine][exact], labels, root)


def balanced(true: np.ndarray, predicted: np.ndarray) -> float:
    """Mean over true classes of the share that was recognised; NaN with fewer than two classes.

    Examples
    --------
    >>> balanced(np.array(["a", "a", "b"]), np.array(["a", "b", "b"]))
    0.75
    """
    classes = sorted(set(true.tolist()))
    if len(classes) < MIN_CLASSES:
        return float("nan")
    return float(np.mean([(predicted[true == c] == c).mean() for c in classes]))


def depth_correlation(latents: FloatArray, classes: IntArray, labels: Labels, root: FloatArray) -> float:
    """Correlate geodesic distance from the root with depth, among one donor's anchors.

    Parameters
    ----------
    latents
        (anchor, latent).
    classes
        Class of each anchor, (anchor,).
    labels
        Gives the depth.
    root
        Centroid of the shallowest training stage, (latent,).

    Returns
    -------
    float
        Spearman, signed; NaN with fewer than three depths.
    """
    from interp.geometry import geodesic_pseudotime

    depth = labels.depth[classes]
    if len(set(depth.tolist())) < MIN_DEPTHS:
        return float("nan")
    pseudotime = np.asarray(geodesic_pseudotime(unit(latents), root), dtype=np.float64)
    return float(row_spearman(pseudotime[None], depth[None])[0])


def unit(latents: FloatArray) -> FloatArray:
    """Scale latents (row, latent) to length one, as only their angles were fitted."""
    norms = np.linalg.norm(latents, axis=1, keepdims=True)
    return np.divide(latents, norms, out=np.zeros_like(latents), where=norms > 0)


def _fitted(
    panel: Panel, split: Split, arms: list[Arm], solver: Solver
) -> Iterator[tuple[Arm, Labels, FloatArray, FloatArray]]:
    train, test = panel.exact(panel.train(split)), panel.test(split)

    def jobs() -> Iterator[tuple[LetProblem, tuple[Arm, Labels, FloatArray]]]:
        for group in sharing(arms):
            features = group[0].features(split)
            span = span_of(features[train])
            if span is None:
                continue
            coords = span.coords(features[test])
            for arm in group:
                labels, settings = arm.labels or panel.labels, arm.setting(split)
                ruler = panel.ruler(train, labels)
                if ruler.any():
                    yield LetProblem(span, ruler, settings.alpha, settings.ridge), (arm, labels, coords)

    for fit, (arm, labels, coords) in solver.stream(jobs()):
        yield arm, labels, fit.from_coords(fit.basis.train), fit.from_coords(coords)
