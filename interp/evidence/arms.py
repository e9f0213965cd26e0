"""Arms of the comparison: whatever gives anchors features goes through the same fit, tuning, split and endpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from interp.extraction.let import ALPHA, RIDGE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from interp.evidence.panel import FloatArray, IntArray, Labels
    from interp.stats import Split

Family = Literal["operator", "control", "null"]
# The arm that all others are compared with: the best operator of the model, chosen on training donors.
CHOSEN = "chosen"


class LinearMap(Protocol):
    """What is needed of an operator: a name, and features for expression."""

    @property
    def name(self) -> str:
        """Name of the map."""
        ...

    def apply(self, expression: NDArray[np.floating]) -> NDArray[np.floating]:
        """Features (anchor, feature) of expression (anchor, gene)."""
        ...


@dataclass(frozen=True)
class Settings:
    """The two weights of the adaptor's loss that are tuned."""

    alpha: float = ALPHA
    ridge: float = RIDGE


@dataclass(frozen=True, eq=False)
class Arm:
    """One way to give anchors features, and possibly other labels to fit them to.

    Attributes
    ----------
    name
        ``chosen``, or the name of a control or null.
    features
        From a split to features of all anchors of the panel, (anchor, feature). Called anew each time.
    family
        ``operator``, ``control`` or ``null``.
    draw
        Number of the draw of a random arm.
    labels
        Labels in place of the panel's own; label nulls have them.
    settings
        Settings of the fit by split id; the defaults elsewhere.
    """

    name: str
    features: Callable[[Split], FloatArray]
    family: Family = "operator"
    draw: int = 0
    labels: Labels | None = None
    settings: Mapping[str, Settings] = field(default_factory=dict)

    def setting(self, split: Split) -> Settings:
        """Settings of the fit in a split."""
        return self.settings.get(split.id, Settings())


@dataclass(frozen=True, eq=False)
class Candidates:
    """Operators among which each split chooses one, on its training donors.

    Attributes
    ----------
    name
        Name of the arm that the choice becomes.
    operators
        From a split to the operators made from its training donors, always in the same order.
    expression
        From a split to the anchors' expression on its genes, (anchor, gene).
    family
        ``operator`` or ``control``.
    draw
        Number of the draw of a random control.
    """

    name: str
    operators: Callable[[Split], Sequence[LinearMap]]
    expression: Callable[[Split], NDArray[np.floating]]
    family: Family = "operator"
    draw: int = 0

    def at(self, split: Split) -> Candidates:
        """Return the same candidates, listed once, for this split alone; the list lives as long as they do."""
        operators, expression = self.operators(split), self.expression(split)
        return replace(self, operators=lambda _: operators, expression=lambda _: expression)

    def names(self, split: Split) -> list[str]:
        """Names of the candidates."""
        return [operator.name for operator in self.operators(split)]

    def features(self, split: Split, index: int, anchors: IntArray | None = None) -> FloatArray:
        """Features of all anchors under one candidate, (anchor, feature); where some are given, NaN for all others."""
        operator, expression = self.operators(split)[index], self.expression(split)
        if anchors is None:
            return as_float(operator.apply(expression))
        found = operator.apply(expression[anchors])
        features = np.full((len(expression), found.shape[1]), np.nan)
        features[anchors] = found
        return features


def as_float(values: object) -> FloatArray:
    """Return an array as contiguous float64."""
    return np.ascontiguousarray(values, dtype=np.float64)
