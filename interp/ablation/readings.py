"""What is read from the final residual stream, with all heads in place and with each set of heads replaced."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from interp.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float
    from torch import Tensor

    from interp.ablation.head_sets import HeadSet
    from interp.scgpt.tokens import GeneTokens

CLS_ROWS, ALL_ROWS = "cls", "all"


class Read(Protocol):
    """A function of the final residual stream.

    A reader that needs the `<cls>` row alone says so by an attribute ``rows = "cls"``; it is then given that row as
    (cell, 1, d_model), and the last layer is computed for it alone.
    """

    def __call__(self, resid: Float[Tensor, "cell token d_model"], tokens: GeneTokens) -> Mapping[str, Tensor]:
        """Return readings by name, each (cell, ...) with the same axes for every batch."""


@dataclass(frozen=True, eq=False, repr=False)
class Readings:
    """Readings of every cell.

    Attributes
    ----------
    base
        By name (cell, ...): the model as it is.
    ablated
        By name (set, cell, ...): with each set replaced.
    sets
        The sets, heads in the order of the model.
    """

    base: dict[str, np.ndarray]
    ablated: dict[str, np.ndarray]
    sets: tuple[HeadSet, ...]

    def __repr__(self) -> str:
        """Say what was read of how much."""
        cells = len(next(iter(self.base.values()), ()))
        return f"Readings({', '.join(self.base)}; {len(self.sets)} sets, {cells:,} cells)"


@dataclass(frozen=True, eq=False)
class Sheet:
    """Readings that are being filled in, batch by batch.

    Attributes
    ----------
    read
        The reader.
    sets
        The sets of heads.
    n_cells
        Number of cells.
    """

    read: Read
    sets: Sequence[HeadSet]
    n_cells: int
    _base: dict[str, np.ndarray] = field(default_factory=dict)
    _ablated: dict[str, np.ndarray] = field(default_factory=dict)

    def put_base(self, rows: np.ndarray, resid: Tensor, tokens: GeneTokens) -> None:
        """Read some cells of the model as it is; a set without heads is the same."""
        for name, values in self._values(resid, tokens).items():
            if name not in self._base:
                self._base[name] = np.zeros((self.n_cells, *values.shape[1:]), values.dtype)
                self._ablated[name] = np.zeros((len(self.sets), *self._base[name].shape), values.dtype)
            self._check(name, values)
            self._base[name][rows] = values
            for place, heads in enumerate(self.sets):
                if not heads:
                    self._ablated[name][place, rows] = values

    def put(self, place: int, rows: np.ndarray, resid: Tensor, tokens: GeneTokens) -> None:
        """Read some cells with one set replaced."""
        for name, values in self._values(resid, tokens).items():
            self._check(name, values)
            self._ablated[name][place, rows] = values

    def readings(self) -> Readings:
        """Return what has been read."""
        return Readings(self._base, self._ablated, tuple(self.sets))

    def _values(self, resid: Tensor, tokens: GeneTokens) -> dict[str, np.ndarray]:
        found = {name: value.detach().cpu().numpy() for name, value in self.read(resid, tokens).items()}
        for name, values in found.items():
            if values.shape[:1] != (len(tokens),):
                msg = f"the reading {name!r} has the shape {values.shape}; expected {len(tokens)} cells first"
                raise InputError(msg)
        return found

    def _check(self, name: str, values: np.ndarray) -> None:
        known = self._base.get(name)
        if known is None or known.shape[1:] != values.shape[1:]:
            before = "no such reading" if known is None else f"{known.shape[1:]} for a cell"
            msg = (
                f"the reading {name!r} is {values.shape[1:]} for a cell here, and was {before} in other cells; a "
                "reader returns the same names and axes for every batch"
            )
            raise InputError(msg)


def wanted_rows(read: object) -> str:
    """Return the rows that a reader needs.

    Raises
    ------
    InputError
        It asks for something else than ``"cls"`` or ``"all"``.
    """
    rows = getattr(read, "rows", ALL_ROWS)
    if rows not in (CLS_ROWS, ALL_ROWS):
        msg = f"the reader asks for the rows {rows!r}; expected {CLS_ROWS!r} or {ALL_ROWS!r}"
        raise InputError(msg)
    return rows
