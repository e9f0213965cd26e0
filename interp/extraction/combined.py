"""Several heads in one operator, weighted by how well each did on training donors."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from interp.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from interp.extraction.operator import Operator


def top_k(operators: Sequence[Operator], scores: ArrayLike, k: int) -> Operator:
    """Add up the oriented maps of the k best heads, each scaled to unit Frobenius norm, weighted by their scores.

    Scaling makes kinds comparable: a sum over cells, a mean and a product of weights differ by orders of magnitude.

    Parameters
    ----------
    operators
        Candidates on the same genes; of every head its best one counts, and those of several heads or none are passed
        over.
    scores
        Selection score of every candidate, (operator,), from training donors; NaN where not computable.
    k
        Number of heads.

    Returns
    -------
    Operator
        ``top<k>.out``, made on demand. Weights are the scores, negative ones taken as 0, divided by their sum; equal
        where no score is positive. They stand in its provenance.

    Raises
    ------
    InputError
        Not one score per operator, other genes, or fewer than k heads with a score.

    Examples
    --------
    >>> from interp.extraction.operator import Operator
    >>> up, down = np.array([[0.0, 2.0], [0.0, 0.0]]), np.array([[0.0, 0.0], [1.0, 0.0]])
    >>> heads = [Operator(f"L0H{h}.mean.out", "mean", "out", m, ("A", "B"), [(0, h)]) for h, m in enumerate((up, down))]
    >>> top_k(heads, [3, 1], 2).matrix.tolist()
    [[0.0, 0.75], [0.25, 0.0]]
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (len(operators),):
        msg = f"{len(operators)} operators were given with scores of shape {values.shape}; give one score for each."
        raise InputError(msg)
    best: dict[tuple[int, int], int] = {}
    for place in np.argsort(-values, kind="stable"):  # NaN comes last
        own = operators[place].heads
        if len(own) == 1 and np.isfinite(values[place]):
            best.setdefault(own[0], int(place))
    if not 1 <= k <= len(best):
        msg = f"The {k} best heads were asked for, and {len(best)} heads have a score; give a k from 1 to that."
        raise InputError(msg)
    members = [operators[place] for place in list(best.values())[:k]]
    if any(member.genes != members[0].genes for member in members):
        msg = "The operators of the best heads are on different genes; make them on one panel."
        raise InputError(msg)
    weights = _weights(values[list(best.values())[:k]])
    parts = [{"name": m.name, "weight": w} for m, w in zip(members, weights.tolist(), strict=True)]
    return replace(
        members[0],
        name=f"top{k}.out",
        kind="top_k",
        orientation="out",
        heads=tuple(member.heads[0] for member in members),
        provenance={**members[0].provenance, "members": parts},
        matrix=lambda: _summed(members, weights),
    )


def _weights(scores: NDArray) -> NDArray:
    positive = np.maximum(scores, 0.0)
    return positive / positive.sum() if positive.any() else np.full(len(scores), 1 / len(scores))


def _summed(members: Sequence[Operator], weights: NDArray) -> NDArray:
    total = np.zeros((len(members[0].genes), len(members[0].genes)))
    for member, weight in zip(members, weights, strict=True):
        map_ = np.asarray(member.feature_map, dtype=np.float64)
        norm = np.linalg.norm(map_)
        total += weight * map_ / norm if norm else 0.0
    return total
