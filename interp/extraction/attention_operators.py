"""Operators of attention: every head, kind and orientation, and pooled heads, made on demand from streamed sums."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.errors import InputError
from interp.extraction.kinds import ATTENTION_KINDS, DEFAULT_KINDS, POOLS, check_kinds
from interp.extraction.operator import ORIENTATIONS, Operator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from interp.capture import AttentionSums

# The field of `AttentionSums` that a kind is made of; all but "sum" divide it by the cells that hold both genes.
SOURCES = {"mean": "sum", "sum": "sum", "lift": "lifted", "value_weighted": "weighted"}
# The pooled blocks are the first, middle and last third of the layers; the drift compares them (design, section 4).
THIRDS = ("early", "mid", "late")


@dataclass(frozen=True)
class _Sums:
    """As much of `AttentionSums` as bare arrays make."""

    sum: NDArray
    count: NDArray
    genes: tuple[str, ...]
    n_cells: int
    heads: None = None


def attention_operators(
    sums: AttentionSums | _Sums, *, kinds: Iterable[str] = DEFAULT_KINDS, provenance: Mapping[str, Any] | None = None
) -> list[Operator]:
    """List the operators of summed attention: head x kind x orientation, then what pools all heads, kind by kind.

    The operators keep views on the sums and make a matrix each time they are asked for it, so the list weighs one
    matrix, the cells to divide by; once a pooled one was asked for, three more for each array of the sums.

    Parameters
    ----------
    sums
        Attention summed over cells; of chosen heads, nothing is pooled.
    kinds
        Some of `ATTENTION_KINDS` (``lift`` and ``value_weighted`` need sums that were made with them), and of `POOLS`:
        ``pooled`` adds the means over the heads of the first, middle and last third of the layers, ``drift`` their
        differences; models of fewer than three layers have neither. Weight kinds are passed over.
    provenance
        Kept with every operator.

    Returns
    -------
    list of Operator

    Raises
    ------
    InputError
        A kind is unknown, or the sums lack what it is made of.
    """
    kinds = check_kinds(kinds)
    own = tuple(kind for kind in kinds if kind in ATTENTION_KINDS)
    arrays = {source: _array(sums, source, kind) for kind, source in SOURCES.items() if kind in own}
    if sums.heads is None:
        heads = [(layer, head) for layer in range(sums.sum.shape[0]) for head in range(sums.sum.shape[1])]
        places: list[tuple[int, ...]] = [*heads]
    else:
        heads, places = list(sums.heads), [(slot,) for slot in range(len(sums.heads))]
    cells = np.maximum(sums.count, 1).astype(np.float64)
    shared: dict[str, Any] = {"genes": sums.genes, "n_cells": sums.n_cells, "provenance": dict(provenance or {})}
    operators = []
    for (layer, head), place in zip(heads, places, strict=True):
        for kind in own:
            make = partial(_reduced, arrays[SOURCES[kind]][place], cells, kind)
            operators += both_orientations(f"L{layer}H{head}.{kind}", kind, make, heads=((layer, head),), **shared)
    if sums.heads is not None or sums.sum.shape[0] < len(THIRDS):
        return operators
    pools = {source: _Pools(array, cells) for source, array in arrays.items()}
    for pool in (pool for pool in POOLS if pool in kinds):
        for kind in own:
            make_pool = _pooled if pool == "pooled" else _drift
            operators += make_pool(pools[SOURCES[kind]], kind, heads, shared)
    return operators


def operators_from_sums(
    sums: NDArray,
    count: NDArray,
    genes: Sequence[str],
    *,
    kinds: Iterable[str] = ("mean", "sum"),
    n_cells: int = 0,
    drift: bool = True,
    provenance: Mapping[str, Any] | None = None,
) -> list[Operator]:
    """List the operators of bare arrays, as `attention_operators` does of `AttentionSums`.

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
    square = (len(genes), len(genes))
    if sums.ndim != 4 or sums.shape[2:] != square or count.shape != square:
        msg = (
            f"Attention sums of shape {sums.shape} and counts of shape {count.shape} do not fit {len(genes):,} genes; "
            "expected (layer, head, gene, gene) and (gene, gene)."
        )
        raise InputError(msg)
    kinds = check_kinds(kinds, ("mean", "sum")) + (("drift",) if drift else ())
    return attention_operators(_Sums(sums, count, tuple(genes), n_cells), kinds=kinds, provenance=provenance)


def both_orientations(stem: str, kind: str, matrix: Callable[[], NDArray], **fields: Any) -> list[Operator]:
    """Make an operator in each orientation, named ``<stem>.out`` and ``<stem>.in``."""
    return [Operator(f"{stem}.{turned}", kind, turned, matrix, **fields) for turned in ORIENTATIONS]


@dataclass(frozen=True, eq=False)
class _Pools:
    """Means over the heads of each third of the layers; kept once they were asked for."""

    sums: NDArray
    cells: NDArray

    @cached_property
    def _means(self) -> list[NDArray]:
        return [_mean_of_heads(self.sums, layers) for layers in np.array_split(np.arange(len(self.sums)), len(THIRDS))]

    def block(self, third: int, kind: str) -> NDArray:
        return _reduced(self._means[third], self.cells, kind)

    def drift(self, kind: str) -> NDArray:
        early, middle, late = (self.block(third, kind) for third in range(len(THIRDS)))
        return np.hstack([early - middle, middle - late])


def _pooled(pools: _Pools, kind: str, heads: list[tuple[int, int]], shared: Mapping[str, Any]) -> list[Operator]:
    operators = []
    layers = np.array_split(np.arange(len(pools.sums)), len(THIRDS))
    for third, name in enumerate(THIRDS):
        own = tuple(head for head in heads if head[0] in layers[third])
        make = partial(pools.block, third, kind)
        operators += both_orientations(f"{name}.{kind}", kind, make, heads=own, **shared)
    return operators


def _drift(pools: _Pools, kind: str, heads: list[tuple[int, int]], shared: Mapping[str, Any]) -> list[Operator]:
    return [Operator(f"drift.{kind}.out", kind, "out", partial(pools.drift, kind), heads=tuple(heads), **shared)]


def _mean_of_heads(sums: NDArray, layers: NDArray) -> NDArray:
    # Head by head: a mean over a slice would copy it.
    total = np.zeros(sums.shape[2:])
    for layer in layers:
        for head in range(sums.shape[1]):
            total += sums[layer, head]
    return total / (len(layers) * sums.shape[1])


def _reduced(total: NDArray, cells: NDArray, kind: str) -> NDArray:
    total = np.asarray(total, dtype=np.float64)
    return total if kind == "sum" else total / cells


def _array(sums: AttentionSums | _Sums, source: str, kind: str) -> NDArray:
    array = getattr(sums, source, None)
    if array is None:
        option = {"weighted": "value_weighted", "lifted": "lift"}.get(source, source)
        msg = f"These sums hold nothing to make {kind!r} of; make them with attention_sums(..., {option}=True)."
        raise InputError(msg)
    return array
