"""A gene x gene map read out of attention heads or out of weights, whole or as factors, applied to expression."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.errors import InputError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    from numpy.typing import DTypeLike, NDArray
    from scipy import sparse

    Expression: TypeAlias = NDArray | sparse.csr_matrix
    # An array, or a function that makes it whenever it is asked for; what it makes is never kept.
    Part: TypeAlias = NDArray | Callable[[], NDArray]

    class _Given:
        """What `Operator` takes as a `Part` and gives back as an array."""

        def __get__(self, instance: object, owner: type) -> NDArray:
            raise NotImplementedError

        def __set__(self, instance: object, value: Part | None) -> None:
            raise NotImplementedError


# "out" spreads each gene along its row (x A), "in" gathers along its column (x A^T); design, attention operator.
ORIENTATIONS = ("out", "in")


@dataclass(frozen=True, eq=False, repr=False, init=False)
class Operator:
    """A linear map on expression, read out of one head or several, or out of the weights of a model.

    It holds either the matrix or two factors whose product the matrix is. With `dataclasses.replace` another matrix
    takes the place of factors, and factors that of a matrix; what is not given anew stays as it is held, unmade.

    Attributes
    ----------
    name
        ``L2H5.mean.out`` is head 5 of layer 2; ``drift.mean.out`` the pooled drift.
    kind
        How attention was reduced over cells, or what was made of the weights: one of `interp.extraction.kinds.KINDS`,
        or the name of a control or surrogate.
    orientation
        ``out``: features are x A; ``in``: features are x A^T.
    matrix
        A, (gene, gene), or (gene, 2 gene) for the drift: the blocks early - middle and middle - late. Row: the gene
        that attends, column: the gene attended to. May be given as a function that makes it; it is then never kept.
    genes
        Names of the genes, in the order of the rows.
    heads
        (layer, head) of every head that went in.
    n_cells
        Cells whose attention was summed.
    provenance
        Where it came from; only what JSON can hold.
    left, right
        Factors of A in place of the matrix, (gene, factor) and (factor, feature), each an array or a function that
        makes it; None where the matrix is held.

    Examples
    --------
    >>> swap = Operator("swap", "mean", "out", np.array([[0.0, 1.0], [1.0, 0.0]]), ("CD3D", "CD19"))
    >>> swap.apply(np.array([[2.0, 5.0]]))
    array([[5., 2.]])
    >>> one = Operator("one", "rank 1", "out", genes=("CD3D", "CD19"), left=np.ones((2, 1)), right=np.ones((1, 2)))
    >>> one.apply(np.array([[2.0, 5.0]])), one.matrix.shape
    (array([[7., 7.]]), (2, 2))
    """

    name: str
    kind: str
    orientation: str
    genes: tuple[str, ...]
    heads: tuple[tuple[int, int], ...]
    n_cells: int
    provenance: Mapping[str, Any]
    _held: tuple[Part, ...]

    if TYPE_CHECKING:  # no fields: `dataclasses.replace` would read them, and could not tell old ones from new ones
        matrix: _Given = _Given()
        left: _Given = _Given()
        right: _Given = _Given()

    def __init__(
        self,
        name: str,
        kind: str,
        orientation: str,
        matrix: Part | None = None,
        genes: Sequence[str] = (),
        heads: Sequence[tuple[int, int]] = (),
        n_cells: int = 0,
        provenance: Mapping[str, Any] | None = None,
        *,
        left: Part | None = None,
        right: Part | None = None,
        _held: tuple[Part, ...] = (),
    ) -> None:
        check_orientation(orientation)
        if not len(genes):
            msg = f"Operator {name} was made without genes; give their names in the order of the matrix's rows."
            raise InputError(msg)
        fields = {
            "name": name,
            "kind": kind,
            "orientation": orientation,
            "genes": tuple(str(gene) for gene in genes),
            "heads": tuple((int(layer), int(head)) for layer, head in heads),
            "n_cells": int(n_cells),
            "provenance": dict(provenance or {}),
            "_held": _chosen(name, matrix, left, right, _held),
        }
        for field, value in fields.items():
            object.__setattr__(self, field, value)
        if not any(map(callable, self._held)):
            self._parts()

    def __repr__(self) -> str:
        form = f", rank <= {self.left.shape[1]}" if self.factored else ""
        return (
            f"Operator({self.name!r}, {len(self.genes):,} genes, {len(self.heads)} heads, {self.n_cells:,} cells{form})"
        )

    @property
    def factored(self) -> bool:
        """Whether factors are held in place of the matrix."""
        return len(self._held) == 2

    if not TYPE_CHECKING:

        @property
        def matrix(self) -> NDArray:
            """A, (gene, feature)."""
            parts = self._parts()
            return parts[0] @ parts[1] if self.factored else parts[0]

        @property
        def left(self) -> NDArray | None:
            """Left factor, (gene, factor)."""
            return self._parts()[0] if self.factored else None

        @property
        def right(self) -> NDArray | None:
            """Right factor, (factor, feature)."""
            return self._parts()[1] if self.factored else None

    @property
    def feature_map(self) -> NDArray:
        """The oriented map F, (gene, feature): `apply` returns x F."""
        return self._turned(self.matrix) if self.orientation == "in" else self.matrix

    def apply(self, expression: Expression, orientation: str | None = None) -> NDArray:
        """Map expression to features.

        Parameters
        ----------
        expression
            (row, gene), dense or sparse; rows are cells or anchors, columns the operator's genes in their order.
        orientation
            Another orientation than the operator's own.

        Returns
        -------
        numpy.ndarray
            (row, feature); feature = gene, or 2 gene for the drift.

        Raises
        ------
        InputError
            The number of columns is not the number of genes, or there is no such orientation.
        """
        if orientation is None:
            orientation = self.orientation
        check_orientation(orientation)
        if expression.ndim != 2 or expression.shape[1] != len(self.genes):
            msg = (
                f"Operator {self.name} acts on {len(self.genes):,} genes and was given expression of shape "
                f"{tuple(expression.shape)}; give rows x those genes, in the order of `operator.genes`."
            )
            raise InputError(msg)
        if not self.factored:
            matrix = self.matrix
            return np.asarray(expression @ (matrix if orientation == "out" else self._turned(matrix)))
        left, right = self._parts()
        if orientation == "out":
            return np.asarray((expression @ left) @ right)
        return np.hstack([np.asarray((expression @ block.T) @ left.T) for block in self._blocks(right)])

    def astype(self, dtype: DTypeLike) -> Operator:
        """Return the operator with its matrix, or its factors, made and held in another type of number."""
        return replace(self, _held=tuple(part.astype(dtype) for part in self._parts()))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the operator to a safetensors file; equal operators give equal bytes.

        Parameters
        ----------
        path
            The file, ``.safetensors`` by custom.

        Returns
        -------
        pathlib.Path
            The file.
        """
        from interp.extraction.operator_files import write_operator

        return write_operator(self, Path(path))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Operator:
        """Read an operator from a safetensors file.

        Parameters
        ----------
        path
            A file that `save` wrote.

        Returns
        -------
        Operator
            The operator, its matrix or factors in memory.

        Raises
        ------
        InputError
            There is no such file.
        IntegrityError
            The file is broken, was changed, is of another schema, or its shapes contradict its genes.
        """
        from interp.extraction.operator_files import read_operator

        return read_operator(Path(path))

    def _parts(self) -> tuple[NDArray, ...]:
        """Make what is held, and check that it fits the genes."""
        parts = tuple(part() if callable(part) else part for part in self._held)
        n_genes = len(self.genes)
        fits = (
            all(part.ndim == 2 for part in parts)
            and parts[0].shape[0] == n_genes
            and parts[-1].shape[1] in (n_genes, 2 * n_genes)
            and (len(parts) == 1 or parts[0].shape[1] == parts[1].shape[0])
        )
        if not fits:
            what = "factors" if self.factored else "a matrix"
            msg = (
                f"Operator {self.name} has {what} of shape {', '.join(str(tuple(part.shape)) for part in parts)} over "
                f"{n_genes:,} genes; expected gene x gene, or gene x 2 gene for the drift."
            )
            raise InputError(msg)
        return parts

    def _blocks(self, array: NDArray) -> list[NDArray]:
        """Cut features into blocks of genes: one, or two for the drift."""
        n_genes = len(self.genes)
        return [array[:, start : start + n_genes] for start in range(0, array.shape[1], n_genes)]

    def _turned(self, matrix: NDArray) -> NDArray:
        blocks = self._blocks(matrix)
        return matrix.T if len(blocks) == 1 else np.hstack([block.T for block in blocks])  # a view for most operators


def check_orientation(orientation: str) -> None:
    """Refuse an orientation that there is none of."""
    if orientation not in ORIENTATIONS:
        msg = f"There is no orientation {orientation!r}; give one of {', '.join(ORIENTATIONS)}."
        raise InputError(msg)


def _chosen(
    name: str, matrix: Part | None, left: Part | None, right: Part | None, held: tuple[Part, ...]
) -> tuple[Part, ...]:
    """Decide what an operator holds: what is given anew, else what was held before."""
    factors = [part for part in (left, right) if part is not None]
    if matrix is not None and not factors:
        return (matrix,)
    if matrix is None and len(factors) == 2:
        return tuple(factors)
    if matrix is None and not factors and held:
        return held
    given = [n for n, part in (("matrix", matrix), ("left", left), ("right", right)) if part is not None]
    msg = f"Operator {name} was given {', '.join(given) or 'nothing to hold'}; give a matrix, or left and right."
    raise InputError(msg)
