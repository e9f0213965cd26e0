"""What the cell adaptor minimises: the loss of a linear map fitted to cells, and its gradient.

The map is the one of `interp.extraction.let`, z = W (x - b) with distances beta arccos cos(z_i, z_j), over features
standardised with the training cells' mean and sd. The loss is the weighted sum of

- **stage**: the mean over pairs of cells of (beta arc - hops)^2. Cells are dealt into blocks of at most `BLOCK`, each
  with every stage in proportion, and all pairs inside a block count; up to `BLOCK` cells that is every pair;
- **local**: the mean over cells and their k nearest neighbours of (beta arc)^2. Neighbours are Euclidean in the first
  `NEIGHBOUR_AXES` principal axes of the standardised features;
- **reconstruction**: the mean over cells and kept features of (W^T z + b - x)^2;
- **classification**: the mean cross-entropy of a linear softmax head over stages on the unit latents, trained along,
  plus `HEAD_RIDGE` times its squared weights, so that it has a minimum when stages separate;
- **topology**: the mean over all pairs of anchors of (beta arc - hops)^2, the ruler part of the anchor adaptor's loss
  under the same map and beta. Without it this is the ``cell`` variant, with it ``hybrid``;
- **ridge**: the mean square, in hops, by which noise of the cells' mean variance along the directions of the span would
  move a cell, exactly the ridge of `interp.extraction.let`;

and `BETA_RIDGE` beta^2 times the weights of stage and topology. beta has a closed form and is put in throughout.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from interp.errors import InputError
from interp.extraction.let import RIDGE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from interp.extraction.span import SpanBasis

    Floats = NDArray[np.float64]

# Cells of a block; each cell then meets 127 others, some of every stage that is not rare.
BLOCK = 128
# Neighbours and principal axes of the local term: the usual graph of single cells (scanpy's defaults, 15 and 50).
NEIGHBOURS = 15
NEIGHBOUR_AXES = 50
# Weight of the squared weights of the stage head: about scikit-learn's default for 500 cells.
HEAD_RIDGE = 1e-3


@dataclass(frozen=True)
class CellWeights:
    """Weights of the loss; the defaults are the method's (arXiv:2603.10261), no topology prior, and the anchors' ridge.

    The method has no ridge (0). Without one, in a trial on simulated cells, fits took 2 to 10 times more iterations and
    held-out order was up to 0.07 lower.

    Attributes
    ----------
    stage, local, reconstruction, classification
        Weights of the parts over cells.
    topology
        Weight of the prior over anchors.
    ridge
        Weight of the ridge.
    """

    stage: float = 1.0
    local: float = 0.1
    reconstruction: float = 0.08
    classification: float = 0.4
    topology: float = 0.0
    ridge: float = RIDGE

    def __post_init__(self) -> None:
        """Check that the weights are finite, not negative, and say where distances are to go."""
        given = asdict(self)
        if not all(np.isfinite(value) and value >= 0 for value in given.values()):
            msg = f"Weights of the loss must be finite and not negative; {given} given."
            raise InputError(msg)
        if self.stage == 0 and self.topology == 0:
            msg = "The weights of stage and topology are both 0, so nothing ties distances to the ruler; raise one."
            raise InputError(msg)


@dataclass(frozen=True, eq=False)
class CellProblem:
    """One adaptor to fit to cells.

    Attributes
    ----------
    basis
        Span of the training cells.
    stages
        Row of ``ruler`` of each training cell, int64 (cell,).
    ruler
        Symmetric distances between stages in hops, (stage, stage).
    weights
        Weights of the loss.
    anchors
        Training anchors in the coordinates of ``basis``, (anchor, rank); needed with a topology weight.
    anchor_stages
        Row of ``ruler`` of each anchor, int64 (anchor,).
    """

    basis: SpanBasis
    stages: NDArray[np.int64]
    ruler: Floats = field(repr=False)
    weights: CellWeights = CellWeights()
    anchors: Floats | None = field(default=None, repr=False)
    anchor_stages: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        """Check stages, ruler and anchors against each other."""
        ruler = np.ascontiguousarray(self.ruler, dtype=np.float64)
        object.__setattr__(self, "ruler", ruler)
        object.__setattr__(self, "stages", _codes(self.stages, self.basis.n_rows, len(ruler), "cells"))
        if ruler.ndim != 2 or not np.array_equal(ruler, ruler.T) or not (np.isfinite(ruler) & (ruler >= 0)).all():
            msg = f"The ruler must be symmetric, finite and non-negative, (stage, stage); shape {ruler.shape} given."
            raise InputError(msg)
        if not ruler[np.ix_(self.present, self.present)].any():
            msg = (
                f"All {self.basis.n_rows} cells are of {len(self.present)} stage(s) with no distance between them; "
                "cells of at least two different stages are needed."
            )
            raise InputError(msg)
        if self.weights.topology == 0:
            return
        if self.anchors is None or self.anchor_stages is None:
            msg = f"A topology weight of {self.weights.topology} needs the training anchors and their stages."
            raise InputError(msg)
        codes = _codes(self.anchor_stages, len(self.anchors), len(ruler), "anchors")
        object.__setattr__(self, "anchor_stages", codes)
        if self.anchors.shape[1:] != (self.basis.rank,) or not ruler[np.ix_(codes, codes)].any():
            msg = (
                f"Anchors of shape {self.anchors.shape} and {len(set(codes.tolist()))} stage(s) were given; at least "
                f"two stages, in the {self.basis.rank} coordinates of the cells' span, are needed."
            )
            raise InputError(msg)

    @property
    def present(self) -> NDArray[np.int64]:
        """Stages that have cells, ascending."""
        return np.unique(self.stages)

    @cached_property
    def bounds(self) -> NDArray[np.int64]:
        """First cell of each block in the order of ``dealt``, and their number, (block + 1,)."""
        n = self.basis.n_rows
        n_blocks = -(-n // BLOCK)
        sizes = np.bincount(np.arange(n) % n_blocks, minlength=n_blocks)
        return np.r_[0, np.cumsum(sizes)].astype(np.int64)

    @cached_property
    def dealt(self) -> NDArray[np.intp]:
        """Cells in the order of the blocks, (cell,): stage by stage, dealt out like cards."""
        by_stage = np.argsort(self.stages, kind="stable")
        return by_stage[np.argsort(np.arange(len(by_stage)) % (len(self.bounds) - 1), kind="stable")]

    @cached_property
    def neighbours(self) -> NDArray[np.int64]:
        """Nearest neighbours of each cell, both in the order of ``dealt``, (cell, k)."""
        from sklearn.neighbors import NearestNeighbors

        points = np.ascontiguousarray(self.basis.train[self.dealt, :NEIGHBOUR_AXES])
        k = min(NEIGHBOURS, len(points) - 1)
        found = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(points).kneighbors(return_distance=False)
        return np.ascontiguousarray(found, dtype=np.int64)

    def reweighted(self, weights: CellWeights) -> CellProblem:
        """Return the same problem under other weights; what was made of the cells is shared."""
        other = CellProblem(self.basis, self.stages, self.ruler, weights, self.anchors, self.anchor_stages)
        for name in ("bounds", "dealt", "neighbours"):
            if name in self.__dict__:
                other.__dict__[name] = self.__dict__[name]
        return other


def _codes(values: object, n: int, n_stages: int, what: str) -> NDArray[np.int64]:
    codes = np.ascontiguousarray(values, dtype=np.int64)
    if codes.shape != (n,) or (n and not (codes.min() >= 0 and codes.max() < n_stages)):
        msg = f"{n} {what} need one stage each, from 0 to {n_stages - 1}; stages of shape {codes.shape} were given."
        raise InputError(msg)
    return codes
