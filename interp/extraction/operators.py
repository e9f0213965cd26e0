"""Gene x gene maps read out of attention heads: made on demand from streamed sums, applied to expression, saved."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.errors import InputError, IntegrityError
from interp.runs.files import write_bytes
from interp.runs.hashes import json_text

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray
    from scipy import sparse

    Expression: TypeAlias = NDArray | sparse.csr_matrix

SCHEMA = 1
# "out" spreads each gene along its row (x A), "in" gathers along its column (x A^T); design, attention operator.
ORIENTATIONS = ("out", "in")
# How sums over cells become one matrix: "sum" is the paper's convention, "mean" divides by the cells with both genes.
KINDS = ("mean", "sum")
# The pooled drift compares the first, middle and last third of the layers (design, section 4).
THIRDS = 3


class _OnDemand:
    """Field that holds an array, or a function that makes it whenever it is asked for."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object | None, owner: type) -> NDArray:
        if instance is None:
            raise AttributeError(self._name)  # dataclasses read this as "no default"
        value = instance.__dict__[self._name]
        return value() if callable(value) else value

    def __set__(self, instance: object, value: NDArray | Callable[[], NDArray]) -> None:
        instance.__dict__[self._name] = value


@dataclass(frozen=True, eq=False, repr=False)
class Operator:
    """A linear map on expression, read out of one head or several.

    Attributes
    ----------
    name
        ``L2H5.mean.out`` is head 5 of layer 2; ``drift.mean.out`` the pooled drift.
    kind
        How attention was reduced over cells: ``mean``, ``sum``, or the name of a control.
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

    Examples
    --------
    >>> swap = Operator("swap", "mean", "out", np.array([[0.0, 1.0], [1.0, 0.0]]), ("CD3D", "CD19"))
    >>> swap.apply(np.array([[2.0, 5.0]]))
    array([[5., 2.]])
    """

    name: str
    kind: str
    orientation: str
    matrix: _OnDemand = _OnDemand()  # a descriptor without a default: the matrix has to be given
    genes: tuple[str, ...] = ()
    heads: tuple[tuple[int, int], ...] = ()
    n_cells: int = 0
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what can be checked without making the matrix."""
        if not self.genes:
            msg = f"Operator {self.name} was made without genes; give their names in the order of the matrix's rows."
            raise InputError(msg)
        _check_orientation(self.orientation)
        object.__setattr__(self, "genes", tuple(str(gene) for gene in self.genes))
        object.__setattr__(self, "heads", tuple((int(layer), int(head)) for layer, head in self.heads))
        if not callable(self.__dict__["matrix"]):
            self._checked(self.matrix)

    def __repr__(self) -> str:
        return f"Operator({self.name!r}, {len(self.genes):,} genes, {len(self.heads)} heads, {self.n_cells:,} cells)"

    @property
    def feature_map(self) -> NDArray:
        """The oriented map F, (gene, feature): `apply` returns x F."""
        return self._oriented(self.orientation)

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
        _check_orientation(orientation)
        if expression.ndim != 2 or expression.shape[1] != len(self.genes):
            msg = (
                f"Operator {self.name} acts on {len(self.genes):,} genes and was given expression of shape "
                f"{tuple(expression.shape)}; give rows x those genes, in the order of `operator.genes`."
            )
            raise InputError(msg)
        return np.asarray(expression @ self._oriented(orientation))

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
        from safetensors.numpy import save

        described = {
            "schema": SCHEMA,
            "name": self.name,
            "kind": self.kind,
            "orientation": self.orientation,
            "genes": self.genes,
            "heads": self.heads,
            "n_cells": self.n_cells,
            "provenance": self.provenance,
        }
        # One metadata key only: the format writes several in no fixed order.
        data = save({"matrix": np.ascontiguousarray(self.matrix)}, metadata={"interp": json_text(described)})
        return write_bytes(path, data)

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
            The operator, its matrix in memory.

        Raises
        ------
        InputError
            There is no such file.
        IntegrityError
            The file is broken, of another schema, or its shapes contradict its genes.
        """
        from safetensors import SafetensorError, safe_open

        path = Path(path)
        if not path.is_file():
            msg = f"There is no operator file {path}; check the path."
            raise InputError(msg)
        try:
            with safe_open(path, framework="numpy") as file:
                described = json.loads((file.metadata() or {})["interp"])
                matrix = file.get_tensor("matrix")
            if described.pop("schema") != SCHEMA:
                msg = f"{path} has another schema than {SCHEMA}; export the operator again."
                raise IntegrityError(msg)
            return cls(matrix=matrix, **described)
        except (SafetensorError, KeyError, TypeError, ValueError, InputError) as error:
            msg = f"{path} is not a whole operator file ({error}); export the operator again."
            raise IntegrityError(msg) from error

    def _oriented(self, orientation: str) -> NDArray:
        matrix = self._checked(self.matrix)
        if orientation == "out":
            return matrix
        n_genes = len(self.genes)
        if matrix.shape[1] == n_genes:
            return matrix.T  # a view; most operators end here
        return np.hstack([matrix[:, :n_genes].T, matrix[:, n_genes:].T])

    def _checked(self, matrix: NDArray) -> NDArray:
        n_genes = len(self.genes)
        if matrix.ndim != 2 or matrix.shape[0] != n_genes or matrix.shape[1] not in (n_genes, 2 * n_genes):
            msg = (
                f"Operator {self.name} has a matrix of shape {tuple(matrix.shape)} over {n_genes:,} genes; "
                "expected gene x gene, or gene x 2 gene for the drift."
            )
            raise InputError(msg)
        return matrix


def operators_from_sums(
    sums: NDArray,
    count: NDArray,
    genes: Sequence[str],
    *,
    kinds: Iterable[str] = KINDS,
    n_cells: int = 0,
    drift: bool = True,
    provenance: Mapping[str, Any] | None = None,
) -> list[Operator]:
    """List every candidate operator of a model: head x kind x orientation, and the pooled drift of every kind.

    The operators keep views on the sums and make a matrix each time they are asked for it, so the list weighs nothing;
    once a drift was asked for, three matrices.

    Parameters
    ----------
    sums
        Attention summed over cells, (layer, head, gene, gene).
    count
        Cells in which both genes were tokens, (gene, gene).
    genes
        Names of the genes.
    kinds
        ``sum`` (the sums as they are) and ``mean`` (divided by the count, 0 where no cell held both genes).
    n_cells
        Cells that were summed.
    drift
        Add the pooled drift; models with fewer than three layers have none.
    provenance
        Kept with every operator.

    Returns
    -------
    list of Operator
        2 x kinds x heads, then one drift per kind.

    Raises
    ------
    InputError
        The shapes do not agree, or a kind is unknown.
    """
    kinds = tuple(kinds)
    _check_sums(sums, count, genes, kinds)
    n_layers, n_heads = sums.shape[:2]
    shared: dict[str, Any] = {
        "genes": tuple(map(str, genes)),
        "n_cells": int(n_cells),
        "provenance": dict(provenance or {}),
    }
    operators = []
    for layer in range(n_layers):
        for head in range(n_heads):
            for kind in kinds:
                make = _head_matrix(sums[layer, head], count, kind)
                operators += [
                    Operator(
                        f"L{layer}H{head}.{kind}.{orientation}",
                        kind,
                        orientation,
                        make,
                        heads=((layer, head),),
                        **shared,
                    )
                    for orientation in ORIENTATIONS
                ]
    if drift and n_layers >= THIRDS:
        heads = tuple((layer, head) for layer in range(n_layers) for head in range(n_heads))
        means = cache(partial(_means_of_thirds, sums))
        operators += [
            Operator(f"drift.{kind}.out", kind, "out", _drift_matrix(means, count, kind), heads=heads, **shared)
            for kind in kinds
        ]
    return operators


def _head_matrix(total: NDArray, count: NDArray, kind: str) -> Callable[[], NDArray]:
    return lambda: _reduced(total, count, kind)


def _drift_matrix(means: Callable[[], list[NDArray]], count: NDArray, kind: str) -> Callable[[], NDArray]:
    def make() -> NDArray:
        early, middle, late = (_reduced(mean, count, kind) for mean in means())
        return np.hstack([early - middle, middle - late])

    return make


def _means_of_thirds(sums: NDArray) -> list[NDArray]:
    return [_mean_of_heads(sums, layers) for layers in np.array_split(np.arange(len(sums)), THIRDS)]


def _mean_of_heads(sums: NDArray, layers: NDArray) -> NDArray:
    # Head by head: a mean over a slice would copy it.
    total = np.zeros(sums.shape[2:])
    for layer in layers:
        for head in range(sums.shape[1]):
            total += sums[layer, head]
    return total / (len(layers) * sums.shape[1])


def _reduced(total: NDArray, count: NDArray, kind: str) -> NDArray:
    total = np.asarray(total, dtype=np.float64)
    return total if kind == "sum" else total / np.maximum(count, 1)


def _check_orientation(orientation: str) -> None:
    if orientation not in ORIENTATIONS:
        msg = f"There is no orientation {orientation!r}; give one of {', '.join(ORIENTATIONS)}."
        raise InputError(msg)


def _check_sums(sums: NDArray, count: NDArray, genes: Sequence[str], kinds: tuple[str, ...]) -> None:
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        msg = f"There is no operator kind {', '.join(map(repr, unknown))}; give some of {', '.join(KINDS)}."
        raise InputError(msg)
    square = (len(genes), len(genes))
    if sums.ndim != 4 or sums.shape[2:] != square or count.shape != square:
        msg = (
            f"Attention sums of shape {sums.shape} and counts of shape {count.shape} do not fit {len(genes):,} genes; "
            "expected (layer, head, gene, gene) and (gene, gene)."
        )
        raise InputError(msg)
