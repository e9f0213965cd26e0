"""Contrasts of latent space: the stage axis, pseudotime, depth, pairs of cell types and branches, as directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interp.biology.pairs import side_of
from interp.extraction.readout import MAX_ITER, MIN_CELLS_PER_CLASS, RIDGE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from interp.biology.pairs import Pairs

STAGE_AXIS, PSEUDOTIME, DEPTH = "stage axis", "pseudotime", "depth"
REST = "rest"
# Nearer to the root than this (radians), or to its antipode, the angle to it has no gradient worth a mean.
MIN_SINE = 1e-3


@dataclass(frozen=True)
class Contrast:
    """What a weight stands for: the kind of direction, and the sides that negative and positive weights move to."""

    name: str
    kind: str
    negative: str
    positive: str


@dataclass(frozen=True, eq=False)
class Contrasts:
    """Finds the same contrasts in the latents of any fit.

    Attributes
    ----------
    ends
        Shallowest and deepest stages, the two ends of the stage axis; several where they are as deep.
    pairs, candidates
        As in `interp.extraction.readout.fit_readouts`.
    """

    ends: tuple[tuple[str, ...], tuple[str, ...]]
    pairs: Pairs
    candidates: Mapping[str, Sequence[str]]

    @classmethod
    def of(cls, obs: pd.DataFrame, pairs: Pairs, candidates: Mapping[str, Sequence[str]] | None = None) -> Contrasts:
        """Take the ends of the stage axis from the stages and depths of some anchors."""
        rows = obs[obs["stage"].notna()]
        depth = rows["depth"].astype(float)
        first, last = (tuple(sorted(set(rows["stage"][depth == at]))) for at in (depth.min(), depth.max()))
        return cls((first, last), pairs, candidates or {})

    def directions(self, latents: NDArray, beta: float, obs: pd.DataFrame) -> Iterator[tuple[Contrast, NDArray]]:
        """Find the direction of every contrast that these rows allow.

        Parameters
        ----------
        latents
            (row, latent).
        beta
            Hops per radian.
        obs
            Columns stage, branch, depth and cell_type of the rows.

        Yields
        ------
        tuple
            The contrast and w, (latent,): moving a cell by dz changes what the contrast measures by dz . w.
        """
        stages = _labels(obs["stage"])
        first, last = (_centroid(latents, stages, end) for end in self.ends)
        shallow, deep = map("; ".join, self.ends)
        if first is not None and last is not None and (length := (last - first) @ (last - first)) > 0:
            yield Contrast(STAGE_AXIS, "axis", shallow, deep), (last - first) / length
        if first is not None:
            away = latents[np.array([stage is not None and stage not in self.ends[0] for stage in stages])]
            yield Contrast(PSEUDOTIME, "axis", "towards the root", "away"), beta * _gradient(away, first)
        yield from self._readouts(latents, obs)

    def _readouts(self, latents: NDArray, obs: pd.DataFrame) -> Iterator[tuple[Contrast, NDArray]]:
        if (depth := _depth(latents, obs["depth"].to_numpy(dtype=np.float64))) is not None:
            yield Contrast(DEPTH, "axis", "shallow", "deep"), depth
        for name, sides in self.pairs.items():
            classes, coef = _logistic(latents, side_of(obs, sides, self.candidates), tuple(sides))
            if len(classes) == 2:
                yield Contrast(name, "pair", *classes), coef[0]
        labels = _labels(obs["branch"])
        classes, coef = _logistic(latents, labels, tuple(sorted(set(labels) - {None})))
        if len(classes) > 1:
            yield from _against_the_rest(classes, coef)


def _logistic(latents: NDArray, labels: NDArray, classes: tuple[str, ...]) -> tuple[tuple[str, ...], NDArray]:
    """Balanced logistic readout of the classes that have enough rows: those, and coef (class or 1, latent)."""
    from sklearn.linear_model import LogisticRegression

    classes = tuple(each for each in classes if (labels == each).sum() >= MIN_CELLS_PER_CLASS)
    if len(classes) < 2:
        return (), np.empty((0, latents.shape[1]))
    rows = np.isin(labels, np.array(classes, dtype=object))
    scaled, scale = _scaled(latents[rows])
    target = np.array([classes.index(label) for label in labels[rows]])
    model = LogisticRegression(C=1.0 / RIDGE, class_weight="balanced", max_iter=MAX_ITER).fit(scaled, target)
    return classes, model.coef_ / scale


def _depth(latents: NDArray, depth: NDArray) -> NDArray | None:
    """Ridge readout of depth, (latent,), every depth weighing alike; None with fewer than two."""
    from sklearn.linear_model import Ridge

    rows = np.isfinite(depth)
    values, inverse, counts = np.unique(depth[rows], return_inverse=True, return_counts=True)
    if len(values) < 2:
        return None
    scaled, scale = _scaled(latents[rows])
    weights = rows.sum() / (len(values) * counts[inverse])
    return Ridge(alpha=RIDGE).fit(scaled, depth[rows], sample_weight=weights).coef_ / scale


def _scaled(latents: NDArray) -> tuple[NDArray, float]:
    """Centre, and scale all axes alike: the ridge is then the same in every gauge, and faint axes stay faint."""
    centred = latents - latents.mean(axis=0)
    scale = float(np.sqrt(centred.var(axis=0).mean())) or 1.0
    return centred / scale, scale


def _against_the_rest(classes: tuple[str, ...], coef: NDArray) -> Iterator[tuple[Contrast, NDArray]]:
    """Direction of each class's log-odds less the mean of the others'; one row of coef is the second of two classes."""
    if len(classes) == 2:
        yield Contrast(f"{classes[1]} / {REST}", "branch", classes[0], classes[1]), coef[0]
        yield Contrast(f"{classes[0]} / {REST}", "branch", classes[1], classes[0]), -coef[0]
        return
    for k, name in enumerate(classes):
        others = np.delete(coef, k, axis=0).mean(axis=0)
        rest = "; ".join(each for each in classes if each != name)
        yield Contrast(f"{name} / {REST}", "branch", rest, name), coef[k] - others


def _centroid(latents: NDArray, stages: NDArray, wanted: Sequence[str]) -> NDArray | None:
    """Mean over the wanted stages' centroids, (latent,); None where a stage is missing."""
    found = [latents[stages == stage] for stage in wanted]
    return np.mean([rows.mean(axis=0) for rows in found], axis=0) if all(map(len, found)) else None


def _gradient(latents: NDArray, root: NDArray) -> NDArray:
    """Mean gradient (latent,) of the angle to the root at latents (row, latent); 0 where that has none."""
    norms = np.linalg.norm(latents, axis=1, keepdims=True)
    unit = np.divide(latents, norms, out=np.zeros_like(latents), where=norms > 0)
    direction = root / np.linalg.norm(root)
    cosine = unit @ direction
    sine = np.sqrt(np.maximum(1.0 - cosine**2, 0.0))[:, None]
    across = cosine[:, None] * unit - direction  # at right angles to each latent, away from the root, of length sine
    scale = np.divide(1.0, sine * norms, out=np.zeros_like(norms), where=(sine > MIN_SINE) & (norms > 0))
    return (across * scale).mean(axis=0) if len(latents) else np.zeros_like(root)


def _labels(column: pd.Series) -> NDArray:
    values = column.astype(object)
    return values.where(values.notna(), None).to_numpy(dtype=object)
