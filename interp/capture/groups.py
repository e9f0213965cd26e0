"""Attention sums by group of cells, such as cell types or donors; on disk where memory does not hold them."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.capture.accumulator import Accumulator
from interp.capture.attention import add_batch, check_genes, check_heads
from interp.capture.parts import token_parts
from interp.capture.plan import MEMORY, pass_plan
from interp.capture.sums import AttentionSums
from interp.errors import InputError
from interp.runs.progress import progress

if TYPE_CHECKING:
    from interp.capture.plan import BatchPlan
    from interp.cells.reader import Cells
    from interp.scgpt.model import HookedScGPT
    from interp.scgpt.tokens import GeneTokens

SUM_BYTES = 8  # float64 and int64


class GroupedSums(Mapping[str, AttentionSums]):
    """Attention sums by group; those on disk are read when asked for.

    Parameters
    ----------
    held
        Sums in memory, or the folder of sums on disk, by group.
    keeper
        What is closed when the sums are gone, such as the removal of a temporary folder.
    """

    def __init__(self, held: Mapping[str, AttentionSums | Path], keeper: ExitStack | None = None) -> None:
        self._held = dict(held)
        if keeper is not None:
            weakref.finalize(self, keeper.close)

    def __repr__(self) -> str:
        """Say how many groups there are and where they lie."""
        return f"GroupedSums({len(self)} groups, {'on disk' if self.on_disk else 'in memory'})"

    def __contains__(self, group: object) -> bool:
        """Tell whether there is such a group, without reading it."""
        return group in self._held

    def __getitem__(self, group: str) -> AttentionSums:
        """Return the sums of one group.

        Raises
        ------
        InputError
            There is no such group.
        StoreError
            Its sums on disk are damaged or gone.
        """
        if group not in self._held:
            msg = f"there is no group {group!r}; there are: {', '.join(self._held)}"
            raise InputError(msg)
        held = self._held[group]
        return AttentionSums.load(held) if isinstance(held, Path) else held

    def get(self, group: str, default: Any = None) -> Any:
        """Return the sums of one group, or a default where there is no such group."""
        try:
            return self[group]
        except InputError:
            return default

    def __iter__(self) -> Iterator[str]:
        """Go through the groups by name."""
        return iter(self._held)

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self._held)

    @property
    def on_disk(self) -> bool:
        """Whether the sums lie on disk."""
        return any(isinstance(held, Path) for held in self._held.values())


def attention_sums_by_group(
    model: HookedScGPT,
    cells: GeneTokens | Cells,
    genes: Sequence[str],
    groups: Sequence[str] | np.ndarray,
    *,
    heads: Sequence[tuple[int, int]] | None = None,
    value_weighted: bool = False,
    lift: bool = False,
    memory: int = MEMORY,
    spill: str | Path | None = None,
    seed: int = 0,
    max_tokens: int | None = None,
) -> GroupedSums:
    """Sum attention within groups of cells.

    As many groups as the memory holds are summed in one pass over the cells; when it does not hold all, finished sums
    go to disk and the cells are read again for the next ones.

    Parameters
    ----------
    model, cells, genes, heads, value_weighted, lift, seed, max_tokens
        As for `interp.attention_sums`.
    groups
        Group of every cell, such as ``cells.obs["cell_type"]``; missing values belong to none.
    memory
        Bytes that sums may take.
    spill
        New or empty folder for sums that exceed the memory, which stays; a temporary one, gone with the result, when
        None.

    Returns
    -------
    GroupedSums
        Group to `AttentionSums`, by name of the group.

    Raises
    ------
    InputError
        Not one group per cell, the sums of a single group exceed the memory, or `spill` holds other things.
    StoreError
        Sums cannot be written.
    """
    chosen = check_heads(model, heads)
    check_genes(model, genes)
    labels, names = _labels(groups)
    plan = pass_plan(model.config, model.device.type, patterns=True)
    n_arrays = len(chosen) * (1 + value_weighted + lift) + 2  # with the uniform sum and the count
    each = n_arrays * len(genes) ** 2 * SUM_BYTES
    at_once = int(memory // each)
    if not at_once:
        msg = (
            f"the sums of one group take {each / 2**20:,.0f} MiB ({len(chosen)} heads x {len(genes)} genes squared) "
            f"and memory = {memory / 2**20:,.0f} MiB; give more, or fewer heads"
        )
        raise InputError(msg)
    held: dict[str, AttentionSums | Path] = {}
    keeper = ExitStack()
    try:
        folder = None if at_once >= len(names) else _spill_folder(spill, keeper)
        for first in range(0, len(names), at_once):
            among = range(first, min(first + at_once, len(names)))
            accumulators = {
                code: Accumulator(model, genes, chosen, value_weighted=value_weighted, lift=lift) for code in among
            }
            options = {"seed": seed, "max_tokens": max_tokens, "rows": np.isin(labels, list(among))}
            _add_all(model, cells, plan, labels, accumulators, options)
            for code in among:
                sums = accumulators.pop(code).result(None if heads is None else chosen)
                if folder is not None:
                    sums.save(folder / f"{code:05d}")
                held[names[code]] = sums if folder is None else folder / f"{code:05d}"
    except BaseException:
        keeper.close()
        raise
    return GroupedSums(held, keeper)


def _labels(groups: Sequence[str] | np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return a code per cell, -1 for none, and the groups' names in order."""
    import pandas as pd

    given = pd.Series(np.asarray(groups, dtype=object))
    codes, names = pd.factorize(given.where(given.isna(), given.map(str)), sort=True)
    if not len(names):
        msg = "no cell belongs to a group; give one name per cell"
        raise InputError(msg)
    return codes, list(names)


def _spill_folder(spill: str | Path | None, keeper: ExitStack) -> Path:
    """Return the folder for sums; a temporary one is removed when the keeper closes."""
    if spill is None:
        return Path(keeper.enter_context(tempfile.TemporaryDirectory(prefix="interp-sums-")))
    folder = Path(spill)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        msg = f"spill = {folder} holds other things; give a new or an empty folder"
        raise InputError(msg)
    return folder


def _add_all(
    model: HookedScGPT,
    cells: GeneTokens | Cells,
    plan: BatchPlan,
    labels: np.ndarray,
    accumulators: Mapping[int, Accumulator],
    options: dict,
) -> None:
    parts, n_cells = token_parts(model, cells, plan, **options)
    kept = labels[options["rows"]]
    with progress(total=n_cells, description=f"attention of {len(accumulators)} groups", unit="cell") as bar:
        start = 0
        for part in parts:
            codes = kept[start : start + len(part)]
            start += len(part)
            for code in np.unique(codes):
                own = part[np.flatnonzero(codes == code)]
                for rows in plan.batches(own.lengths):
                    add_batch(model, own[rows], accumulators[int(code)])
                    bar.update(len(rows))
