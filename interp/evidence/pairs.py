"""Latent distances against the ruler over pairs of a panel's anchors, and its labels permuted inside blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from interp.geometry.agreement import PAIR_KINDS, ruler_agreement
from interp.geometry.permutation import BlockedP, blocked_permutation

if TYPE_CHECKING:
    from interp.evidence.panel import FloatArray, IntArray, Labels, Panel

# Pairs that count: all; of different stages, each pair of stages weighing one; of one study (design, pairs).
GATE_PAIRS = PAIR_KINDS


def pair_correlations(panel: Panel, rows: IntArray, labels: Labels, distances: FloatArray) -> FloatArray:
    """Correlate distances with the ruler inside one group of anchors.

    Parameters
    ----------
    panel
        The anchors.
    rows
        Anchors of the group, all of known class, (anchor,).
    labels
        What the classes are called.
    distances
        Between them, (anchor, anchor).

    Returns
    -------
    numpy.ndarray
        Spearman for each of `GATE_PAIRS`; NaN where fewer than four stages are compared or the ruler is constant.
    """
    ruler = panel.ruler(rows, labels)
    found = ruler_agreement(distances, ruler, stages=panel.classes[rows], studies=panel.studies[rows])
    return np.array([found[kind].spearman.value for kind in GATE_PAIRS])


def blocked_p(
    panel: Panel, rows: IntArray, labels: Labels, distances: FloatArray, *, n: int, rng: np.random.Generator
) -> list[BlockedP]:
    """Permute the stages of anchors inside donor x tissue blocks and see how often the correlation is as high.

    Parameters
    ----------
    panel, rows, labels, distances
        As in `pair_correlations`.
    n
        Number of relabellings.
    rng
        Random stream.

    Returns
    -------
    list of BlockedP
        For each of `GATE_PAIRS`.
    """
    columns = panel.obs[["study", "donor", "tissue"]].iloc[rows].astype(str)
    found = blocked_permutation(
        distances,
        labels.ruler,
        panel.classes[rows],
        columns.agg("\n".join, axis=1).to_numpy(dtype=object),
        studies=panel.studies[rows],
        rng=rng,
        n=n,
    )
    return [found[kind] for kind in GATE_PAIRS]
