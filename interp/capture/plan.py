"""How cells are cut into pieces of work: parts that are written together, and batches that the model sees at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from interp.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from interp.capture.sites import Site
    from interp.scgpt.config import ScGPTConfig

GIB = 2**30
MEMORY = GIB
# Cells that are tokenised, sorted by length and written together, at most.
PART_CELLS = 512
# Workers that share cells take as many parts each, at least, so that the last one is not waited for long; but below
# so many cells a part costs more to hand out, sort and write than it evens out.
PARTS_PER_WORKER = 4
LEAST_PART_CELLS = 32
# Tokens (cells x longest cell) that the model sees at once, at most. On CPUs larger batches leave the cache and were
# slower (12 x 512 model, 2 cores: perf/capture_speed.py); GPUs want enough work per kernel.
BATCH_TOKENS = {"cpu": 4096, "cuda": 131_072}
# Entries of the patterns held at once in one layer (cell x head x query x key); 4 MiB in float32 stay in the cache, and
# larger batches were slower.
PATTERN_ENTRIES = {"cpu": 2**20, "cuda": 2**28}
# A stored chunk has at most so many bytes before compression.
CHUNK_BYTES = 2**24
FLOAT = 4
# Rows of d_model that live at once in a block of the fused path (input, query, key, value and their transposed copies,
# output, projection, sum, normalised sum), counted in the code and confirmed by measurement.
ROWS_PER_TOKEN = 14
# Copies of the pattern that live at once in the explicit path (scores, masked scores, softmax).
PATTERN_COPIES = 4


@dataclass(frozen=True)
class BatchPlan:
    """How cells are cut; equal plans give equal bytes.

    Attributes
    ----------
    part_cells
        Cells that are read, tokenised and written together, a power of two.
    batch_tokens
        Cells x longest cell of a batch, at most (one cell always fits).
    pattern_entries
        Cell x head x query x key of a batch, at most; None when no pattern is computed.
    n_heads
        Heads of the model.
    """

    part_cells: int
    batch_tokens: int
    pattern_entries: int | None
    n_heads: int

    def n_parts(self, n_cells: int) -> int:
        """Return the number of parts."""
        return -(-n_cells // self.part_cells)

    def part(self, number: int, n_cells: int) -> tuple[int, int]:
        """Return the range of cells of one part."""
        start = number * self.part_cells
        return start, min(start + self.part_cells, n_cells)

    def parts(self, n_cells: int) -> list[tuple[int, int]]:
        """Return the ranges of cells of all parts."""
        return [self.part(number, n_cells) for number in range(self.n_parts(n_cells))]

    def batches(self, lengths: Sequence[int] | np.ndarray) -> Iterator[np.ndarray]:
        """Go through cells in batches of similar length.

        Parameters
        ----------
        lengths
            Tokens of each cell, (cell,).

        Yields
        ------
        numpy.ndarray
            Places of the cells of one batch, shortest first.
        """
        lengths = np.asarray(lengths)
        order = np.argsort(lengths, kind="stable")
        start = 0
        while start < len(order):
            # no batch holds more cells than tokens
            longest = lengths[order[start : start + self.batch_tokens]].astype(np.float64)
            number = np.arange(1, len(longest) + 1)
            fits = number * longest <= self.batch_tokens
            if self.pattern_entries is not None:
                fits &= number * self.n_heads * longest**2 <= self.pattern_entries
            size = max(1, int(np.argmin(fits)) if not fits.all() else len(fits))
            yield order[start : start + size]
            start += size


def make_plan(
    config: ScGPTConfig,
    sites: Sequence[Site],
    *,
    row_bytes: int,
    longest: int,
    memory: int = MEMORY,
    device: str = "cpu",
) -> BatchPlan:
    """Make the largest plan that a memory budget allows.

    Half of the budget is for the forward pass, half for the part that is being written; of a GPU's memory only the
    forward pass takes any.

    Parameters
    ----------
    config
        The model's sizes.
    sites
        Activations that are read.
    row_bytes
        Bytes that one cell takes in the buffers of a part.
    longest
        Tokens of the longest cell.
    memory
        Bytes above the model.
    device
        ``cpu`` or ``cuda``.

    Raises
    ------
    InputError
        Not even one cell fits.
    """
    kind = kind_of(device)
    widest = max((site.width for site in sites if site.per_token), default=0)
    per_token = FLOAT * (ROWS_PER_TOKEN * config.d_model + 2 * config.d_hid + 3 * widest)
    pairs = any(site.per_pair for site in sites)
    tokens_one = longest * per_token
    pairs_one = longest**2 * FLOAT * PATTERN_COPIES * config.n_heads if pairs else 0
    needed = 2 * max(tokens_one + pairs_one, row_bytes)
    if needed > memory:
        msg = (
            f"a memory budget of {memory / 2**20:,.0f} MiB is too small: one cell of {longest:,} tokens with these "
            f"sites needs about {needed / 2**20:,.0f} MiB; give more with memory=, or fewer sites"
        )
        raise InputError(msg)
    share = memory // 2
    # with patterns, tokens and pairs of tokens halve what the forward pass may take, as long as one cell fits
    token_share = min(max(share // 2, tokens_one), share - pairs_one) if pairs else share
    entries = min(PATTERN_ENTRIES[kind], (share - token_share) // (FLOAT * PATTERN_COPIES)) if pairs else None
    part = min(PART_CELLS, max(1, share // max(1, row_bytes)))
    return BatchPlan(_power_of_two(part), min(BATCH_TOKENS[kind], token_share // per_token), entries, config.n_heads)


def pass_plan(config: ScGPTConfig, device: str, *, patterns: bool) -> BatchPlan:
    """Return the plan of passes whose results stay in memory.

    Parameters
    ----------
    config
        The model's sizes.
    device
        ``cpu`` or ``cuda``.
    patterns
        Whether the passes compute patterns.
    """
    kind = kind_of(device)
    return BatchPlan(PART_CELLS, BATCH_TOKENS[kind], PATTERN_ENTRIES[kind] if patterns else None, config.n_heads)


def kind_of(device: str) -> str:
    """Return the kind of device whose constants hold; unknown ones work like CPUs."""
    return device if device in BATCH_TOKENS else "cpu"


def share_out(plan: BatchPlan, n_cells: int, n_workers: int) -> BatchPlan:
    """Return a plan with enough parts that workers which are not equally fast all have work until the end.

    Parameters
    ----------
    plan
        The largest plan that the memory allows.
    n_cells
        Number of cells.
    n_workers
        How many share them.
    """
    wanted = max(LEAST_PART_CELLS, n_cells // (PARTS_PER_WORKER * n_workers))
    return replace(plan, part_cells=min(plan.part_cells, _power_of_two(wanted)))


def chunk_cells(plan: BatchPlan, cell_bytes: int) -> int:
    """Return how many cells of one array a stored chunk holds; it divides `part_cells`, so parts share no chunk."""
    return min(plan.part_cells, _power_of_two(max(1, CHUNK_BYTES // max(1, cell_bytes))))


def _power_of_two(number: int) -> int:
    """Largest power of two that is not above a number."""
    return 1 << (number.bit_length() - 1)
