"""Any activation of the model for any number of cells: streamed, resumable, the same bytes every time."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.capture.layout import DTYPES, SCHEMA
from interp.capture.parts import ahead
from interp.capture.partstore import PartStore
from interp.capture.plan import MEMORY, make_plan, share_out
from interp.capture.reduce import CLS, Reduction
from interp.capture.sites import find_sites, measure_sites
from interp.capture.store import ActivationStore
from interp.capture.work import PRECISIONS, CaptureWork
from interp.cells.genes import match_genes
from interp.cells.reader import open_cells
from interp.cells.survey import survey
from interp.errors import InputError
from interp.runs.progress import progress
from interp.scgpt.hooked import describe_hooks
from interp.scgpt.identity import model_sha256
from interp.scgpt.tokens import longest_cell

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from interp.capture.workers import Workers
    from interp.cells.reader import Cells
    from interp.scgpt.model import HookedScGPT

log = logging.getLogger(__name__)

TOKEN_BYTES = 13  # a token's id, value and padding flag


def capture(
    model: HookedScGPT,
    cells: Cells,
    *,
    sites: str | Iterable[str] = ("resid_post",),
    layers: int | Sequence[int] | None = None,
    reduce: str = CLS,
    genes: Sequence[str] | None = None,
    out: str | Path | None = None,
    dtype: str = "float32",
    seed: int = 0,
    max_tokens: int | None = None,
    precision: str = "float32",
    memory: int = MEMORY,
    client: Any = None,
) -> ActivationStore:
    """Capture activations of the model for cells, in a store on disk.

    Cells are read, tokenised, sorted by length and written part by part, so memory does not grow with their number.
    An interrupted capture goes on with the same call, under the plan it began with, and ends with the same bytes.
    Hooks that are live at the call act on what is captured; a store keeps where they were.

    Parameters
    ----------
    model
        The model.
    cells
        AnnData with raw counts, in memory or backed; the path of an ``.h5ad`` file or zarr folder, which stays on
        disk; or what `interp.cells.open_cells` returns, to name a layer or a column of symbols.
    sites
        Activations: ``"resid_post"``, ``"z"``, ``"mlp.post"`` and the like in every layer, ``"embed"``, full names
        (``"blocks.2.attn.hook_z"``), or patterns with ``*``.
    layers
        Layers that count: None (all), a number, or several, such as ``range(2, 5)``.
    reduce
        What is kept of a cell: ``"cls"`` (the `<cls>` row), ``"mean"`` over its expressed genes, ``"genes"`` (the rows
        of chosen genes; NaN where the cell does not express one), or ``"full"`` (all tokens, padded with NaN).
    genes
        Genes for ``reduce="genes"``.
    out
        Folder of the store; None keeps it in memory.
    dtype
        ``"float32"`` or ``"float16"``, on disk.
    seed
        Whole number; of the ties between counts, and of the subset of genes of a cell that is too long.
    max_tokens
        Longest cell, `<cls>` included; the model's limit by default.
    precision
        ``"float32"`` or ``"bfloat16"`` (autocast; for GPUs).
    memory
        Bytes that the work may take above the model and the cells, in each worker; the batch follows from it.
    client
        A ``dask.distributed.Client``: its workers, each with the model, share the parts; a worker that sees a GPU
        uses it. They must see `out` and the cells' path (docs/cluster.md).

    Returns
    -------
    ActivationStore
        ``store["blocks.2.hook_resid_post"]`` is (cell, d_model) for ``"cls"`` and ``"mean"``, (cell, gene, d_model)
        for ``"genes"``, (cell, token, d_model) for ``"full"``; other activations accordingly.

    Raises
    ------
    InputError
        A site, layer, gene or option is unknown, the cells are no raw counts, the memory is too small, or another
        process writes to `out`.
    VocabularyError
        Too few genes of the cells are in the vocabulary, or a chosen gene is not.
    StoreError
        `out` holds activations of something else, or is damaged.
    UnfinishedError
        The disk is full, `out` cannot be written, or workers were lost; the same call continues.

    Examples
    --------
    >>> import interp
    >>> model = interp.load_model("scgpt-sim")
    >>> cells = interp.simulate(n_donors=2, n_cells=20, seed=1)
    >>> interp.capture(model, cells, sites="z", layers=[0, 3])["blocks.3.attn.hook_z"].shape
    (20, 4, 16)
    """
    _check_words(dtype, precision)
    if client is not None and any(point.has_hooks() for point in model.hook_dict.values()):
        msg = f"workers have no live hooks ({describe_hooks(model.hook_dict)}); remove them, or leave client= out"
        raise InputError(msg)
    limit, seed = longest_cell(max_tokens, model.config), int(seed)
    shared = None if client is None else _check_workers(client, out)
    found = tuple(measure_sites(model, find_sites(model, sites, layers)))
    chosen = Reduction(reduce, (genes,) if isinstance(genes, str) else tuple(map(str, () if genes is None else genes)))
    chosen.check(found)
    model.vocabulary.ids(chosen.genes)  # an unknown gene is an error before the work, not in it
    reader = open_cells(cells)
    match = match_genes(reader.genes, model.vocabulary.genes)
    seen = survey(reader, reader.genes.isin(match.matched.keys()))
    match = match_genes(reader.genes, model.vocabulary.genes, counts_per_gene=seen.counts_per_gene)
    longest = min(seen.longest + 1, limit)
    reduction = replace(chosen, longest=longest)
    itemsize = np.dtype(DTYPES[dtype]).itemsize
    row_bytes = sum(itemsize * int(np.prod(reduction.shape(site), dtype=np.int64)) for site in found)
    row_bytes += 2 * TOKEN_BYTES * longest  # the next part's tokens are made meanwhile
    device = model.device.type if shared is None else shared.device
    plan = make_plan(model.config, found, row_bytes=row_bytes, longest=longest, memory=int(memory), device=device)
    if shared is not None:
        plan = share_out(plan, seen.n_cells, shared.number)
    identity = {
        "schema": SCHEMA,
        "model": model_sha256(model),
        "vocabulary": model.vocabulary.sha256,
        "hooks": describe_hooks(model.hook_dict),
        "cells": seen.identity,
        "n_cells": seen.n_cells,
        "sites": [site.name for site in found],
        "reduce": reduce,
        "genes": list(reduction.genes),
        "dtype": dtype,
        "seed": seed,
        "max_tokens": limit,
        "precision": precision,
        "matched_genes": len(match.matched),
        "count_share": None if np.isnan(match.count_share) else round(match.count_share, 6),
    }
    work = CaptureWork(model, reader, match, found, reduction, plan, dtype, seed, limit, precision)
    with PartStore.open(None if out is None else Path(out), identity, plan, work.shapes) as store:
        if not store.complete:
            _fill(store, replace(work, plan=store.plan), client)
    return ActivationStore(store.group, where="memory") if out is None else ActivationStore.open(out)


def _fill(store: PartStore, work: CaptureWork, client: Any) -> None:
    todo, n_parts = store.todo(), store.plan.n_parts(store.n_cells)
    if len(todo) < n_parts:
        log.info("%d of %d parts were captured before.", n_parts - len(todo), n_parts)
    if todo and client is not None:
        from interp.capture.cluster import run_parts

        run_parts(client, work, store, todo)
    else:
        _fill_here(store, work, todo)
    store.finish(work.reader.columns())


def _fill_here(store: PartStore, work: CaptureWork, todo: Sequence[int]) -> None:
    left = sum(stop - start for start, stop in (store.plan.part(number, store.n_cells) for number in todo))
    with progress(total=left, description="capture", unit="cell") as bar, closing(ahead(work.tokens, todo)) as parts:
        for number, tokens in zip(todo, parts, strict=True):
            store.write(number, work.compute(tokens, bar.update))


def _check_workers(client: Any, out: str | Path | None) -> Workers:
    from interp.capture.workers import check_workers

    if out is None:
        msg = "client= was given, but no out=: workers write to a folder that all of them share; name it"
        raise InputError(msg)
    return check_workers(client)


def _check_words(dtype: str, precision: str) -> None:
    for name, value, known in (("dtype", dtype, DTYPES), ("precision", precision, PRECISIONS)):
        if value not in known:
            msg = f"{name} = {value!r} is not known; expected one of {', '.join(known)}"
            raise InputError(msg)
