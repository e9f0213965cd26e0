from __future__ import annotations

import numpy as np
import pytest

from interp.capture import plan as module
from interp.capture.plan import BatchPlan, chunk_cells, make_plan
from interp.capture.sites import Site
from interp.errors import InputError
from interp.scgpt.config import ScGPTConfig

CONFIG = ScGPTConfig(n_vocab=60_000, n_layers=12, n_heads=8, d_model=512, d_hid=512)
RESID, PATTERN = Site("resid", (None, 512)), Site("pattern", (8, None, None))


@pytest.mark.parametrize("pattern_entries", [None, 1, 900, 10**6])
@pytest.mark.parametrize("batch_tokens", [1, 37, 4096])
def test_batches_hold_every_cell_once_within_the_limits(batch_tokens, pattern_entries):
    lengths = np.random.default_rng(0).integers(1, 60, 200)
    plan = BatchPlan(256, batch_tokens, pattern_entries, 2)
    batches = list(plan.batches(lengths))
    assert sorted(np.concatenate(batches).tolist()) == list(range(200))
    for rows in batches:
        longest = int(lengths[rows].max())
        assert len(rows) == 1 or len(rows) * longest <= batch_tokens
        assert len(rows) == 1 or pattern_entries is None or len(rows) * 2 * longest**2 <= pattern_entries
    together = np.concatenate([lengths[rows] for rows in batches])
    assert (np.diff(together) >= 0).all()


def test_batches_are_as_large_as_they_may_be():
    assert [len(rows) for rows in BatchPlan(8, 12, None, 1).batches([3] * 10)] == [4, 4, 2]
    assert [rows.tolist() for rows in BatchPlan(8, 100, None, 1).batches([])] == []


@pytest.mark.parametrize(("n_cells", "parts"), [(1, [(0, 1)]), (4, [(0, 4)]), (9, [(0, 4), (4, 8), (8, 9)])])
def test_parts_cover_the_cells(n_cells, parts):
    plan = BatchPlan(4, 10, None, 1)
    assert plan.parts(n_cells) == parts
    assert plan.n_parts(n_cells) == len(parts)


@pytest.mark.parametrize("memory", [2**29, 10**9, 2**32])
@pytest.mark.parametrize("sites", [[RESID], [PATTERN], [RESID, PATTERN]])
@pytest.mark.parametrize("longest", [2, 300, 1201])
def test_a_plan_keeps_within_its_budget(memory, sites, longest):
    row_bytes = 4 * 24 * 512
    plan = make_plan(CONFIG, sites, row_bytes=row_bytes, longest=longest, memory=memory)
    per_token = 4 * (module.ROWS_PER_TOKEN * 512 + 2 * 512)
    tokens = plan.batch_tokens * per_token
    patterns = 4 * module.PATTERN_COPIES * (plan.pattern_entries or 0)
    assert tokens + patterns + plan.part_cells * row_bytes <= memory
    assert plan.batch_tokens >= longest
    # the constant that was fastest may be less than one cell, which is then computed alone
    assert patterns == 0 or plan.pattern_entries >= min(8 * longest**2, module.PATTERN_ENTRIES["cpu"])
    assert plan.part_cells & (plan.part_cells - 1) == 0


def test_a_budget_for_less_than_a_cell_is_refused_with_what_is_needed():
    with pytest.raises(InputError, match=r"64 MiB is too small: one cell of 1,201 tokens .* about \d+ MiB"):
        make_plan(CONFIG, [RESID], row_bytes=1000, longest=1201, memory=2**26)
    with pytest.raises(InputError, match="needs about 200 MiB"):
        make_plan(CONFIG, [RESID], row_bytes=100 * 2**20, longest=10, memory=2**27)


@pytest.mark.parametrize("cell_bytes", [0, 1, 4, 2048, 10**6, 10**8])
@pytest.mark.parametrize("part_cells", [1, 4, 512])
def test_parts_share_no_chunk(part_cells, cell_bytes):
    cells = chunk_cells(BatchPlan(part_cells, 1, None, 1), cell_bytes)
    assert part_cells % cells == 0
    assert cells == 1 or cells * cell_bytes <= module.CHUNK_BYTES


def test_unknown_devices_are_planned_for_like_cpus():
    assert module.pass_plan(CONFIG, "xpu", patterns=True) == module.pass_plan(CONFIG, "cpu", patterns=True)
    assert module.pass_plan(CONFIG, "cuda", patterns=False).pattern_entries is None
