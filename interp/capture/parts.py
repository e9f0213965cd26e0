"""Cells as tokens, one part after the other, so that a million cells need the memory of one part."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from interp.cells.genes import match_genes
from interp.cells.reader import open_cells
from interp.errors import InputError
from interp.scgpt.tokens import GeneTokens

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from interp.capture.plan import BatchPlan
    from interp.cells.genes import GeneMatch
    from interp.cells.reader import CellReader, Cells
    from interp.scgpt.model import HookedScGPT

T = TypeVar("T")
R = TypeVar("R")


def read_tokens(
    model: HookedScGPT,
    reader: CellReader,
    start: int,
    stop: int,
    *,
    match: GeneMatch,
    seed: int,
    max_tokens: int | None,
    rows: np.ndarray | None = None,
) -> GeneTokens:
    """Read a range of cells and tokenise them, or those that `rows` marks; a cell's tokens do not depend on others."""
    import pandas as pd
    from anndata import AnnData

    names, counts = reader.names(start, stop), reader.counts(start, stop)
    if rows is not None:
        names, counts = names[rows], counts[np.flatnonzero(rows)]
    obs = pd.DataFrame(index=pd.Index(names, dtype=object))
    part = AnnData(X=counts, obs=obs, var=pd.DataFrame(index=reader.genes))
    return model.tokenize(part, seed=seed, max_tokens=max_tokens, match=match)


def ahead(make: Callable[[T], R], items: Iterable[T]) -> Generator[R, None, None]:
    """Go through what is made of items, while the next one is made in a thread of its own."""
    with ThreadPoolExecutor(1) as maker:
        coming: list[Future[R]] = []
        for item in items:
            coming.append(maker.submit(make, item))
            if len(coming) > 1:
                yield coming.pop(0).result()
        for future in coming:
            yield future.result()


def token_parts(
    model: HookedScGPT,
    cells: GeneTokens | Cells,
    plan: BatchPlan,
    *,
    seed: int,
    max_tokens: int | None,
    rows: np.ndarray | None = None,
) -> tuple[Iterator[GeneTokens], int]:
    """Cut tokens into the parts of a plan, or read and tokenise cells part by part.

    Parameters
    ----------
    model
        The model.
    cells
        Tokens, or cells as for `interp.cells.open_cells`.
    plan
        How they are cut.
    seed, max_tokens
        Of the tokens, where cells are given.
    rows
        Cells that count, bool (cell,); None takes all.

    Returns
    -------
    parts, n_cells
        The parts' tokens one after the other, and the number of cells that count.

    Raises
    ------
    InputError
        `rows` has another length than there are cells.
    """
    tokens = cells if isinstance(cells, GeneTokens) else None
    reader = open_cells(cells) if tokens is None else None
    total = len(tokens if tokens is not None else reader)  # type: ignore[arg-type]
    if rows is not None and len(rows) != total:
        msg = f"{len(rows):,} groups were given for {total:,} cells; give one for each cell"
        raise InputError(msg)
    n_cells = total if rows is None else int(rows.sum())
    parts = [part for part in plan.parts(total) if rows is None or rows[slice(*part)].any()]
    if tokens is not None:
        picked = (np.arange(*part) if rows is None else np.flatnonzero(rows[slice(*part)]) + part[0] for part in parts)
        return (tokens[places] for places in picked), n_cells
    match = match_genes(reader.genes, model.vocabulary.genes)  # type: ignore[union-attr]

    def read(part: tuple[int, int]) -> GeneTokens:
        kept = None if rows is None else rows[slice(*part)]
        return read_tokens(model, reader, *part, match=match, seed=seed, max_tokens=max_tokens, rows=kept)  # type: ignore[arg-type]

    return ahead(read, parts), n_cells
