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
    _filled: dict[str, np.ndarray] = field(default_factory=dict)

    def put(self, place: int | None, rows: np.ndarray, resid: Tensor, tokens: GeneTokens) -> None:
        """Read some cells.

        Parameters
        ----------
        place
            The set that is replaced; None for the model as it is.
        rows
            Places of the cells.
        resid
            Final residual stream of the cells, (cell, token, d_model).
        tokens
            The cells.

        Raises
        ------
        InputError
            The reader returns other names or axes than before, or not one reading per cell.
        """
        found = {name: value.detach().cpu().numpy() for name, value in self.read(resid, tokens).items()}
        if not self._filled:
            n_rows = len(self.sets) + 1  # the base is the last
            for name, values in found.items():
                self._filled[name] = np.zeros((n_rows, self.n_cells, *values.shape[1:]), values.dtype)
        self._check(found, len(tokens))
        for name, values in found.items():
            self._filled[name][len(self.sets) if place is None else place, rows] = values

    def readings(self) -> Readings:
        """Return what has been read; a set without heads is the base."""
        for values in self._filled.values():
            values[[place for place, heads in enumerate(self.sets) if not heads]] = values[-1]
        base = {name: values[-1] for name, values in self._filled.items()}
        return Readings(base, {name: values[:-1] for name, values in self._filled.items()}, tuple(self.sets))

    def _check(self, found: dict[str, np.ndarray], n_cells: int) -> None:
        known = {name: (n_cells, *values.shape[2:]) for name, values in self._filled.items()}
        shapes = {name: values.shape for name, values in found.items()}
        if shapes != known:
            msg = (
                f"the reader returned {shapes} for {n_cells} cells, where {known} was expected; it returns the same "
                "names and axes for every batch, cells first"
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
