from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch

from interp.capture.parts import ahead, read_tokens, token_parts
from interp.capture.plan import BatchPlan
from interp.cells.genes import match_genes
from interp.cells.reader import open_cells
from interp.errors import InputError


def rows_of(tokens):
    """Each cell's tokens without padding, by name."""
    return {
        name: (tokens.gene_ids[i][~tokens.padding[i]].tolist(), tokens.values[i][~tokens.padding[i]].tolist())
        for i, name in enumerate(tokens.cell_ids)
    }


@pytest.mark.parametrize("part_cells", [1, 2, 8, 64])
@pytest.mark.parametrize("max_tokens", [None, 7])
@pytest.mark.parametrize("reverse", [False, True])
def test_tokens_are_exactly_those_of_the_whole_panel(model, mixed, part_cells, max_tokens, reverse):
    whole = rows_of(model.tokenize(mixed, seed=3, max_tokens=max_tokens))
    cells = mixed[::-1] if reverse else mixed
    plan = BatchPlan(part_cells, 100, None, 2)
    parts, n_cells = token_parts(model, cells, plan, seed=3, max_tokens=max_tokens)
    found = [rows_of(part) for part in parts]
    assert n_cells == 23
    assert [len(part) for part in found] == [stop - start for start, stop in plan.parts(23)]
    assert [name for part in found for name in part] == list(cells.obs_names)
    assert {name: row for part in found for name, row in part.items()} == whole


def test_rows_pick_cells_of_tokens_and_of_cells_alike(model, mixed):
    rows = np.arange(23) % 3 == 1
    rows[4:8] = False
    wanted = {name: row for name, row in rows_of(model.tokenize(mixed)).items() if rows[mixed.obs_names.get_loc(name)]}
    for cells in (mixed, model.tokenize(mixed)):
        parts, n_cells = token_parts(model, cells, BatchPlan(4, 100, None, 2), seed=0, max_tokens=None, rows=rows)
        found = [rows_of(part) for part in parts]
        assert all(found)  # a part without a cell is not read
        assert n_cells == rows.sum()
        assert {name: row for part in found for name, row in part.items()} == wanted
    with pytest.raises(InputError, match="22 groups were given for 23 cells"):
        token_parts(model, mixed, BatchPlan(4, 100, None, 2), seed=0, max_tokens=None, rows=rows[1:])


def test_tokens_do_not_depend_on_the_thread(model, mixed):
    reader, match = open_cells(mixed), match_genes(mixed.var_names, model.vocabulary.genes)
    here = read_tokens(model, reader, 2, 9, match=match, seed=0, max_tokens=None)
    there: list = []
    threads = [
        threading.Thread(
            target=lambda: there.append(read_tokens(model, reader, 2, 9, match=match, seed=0, max_tokens=None))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for tokens in there:
        assert torch.equal(tokens.gene_ids, here.gene_ids)
        assert torch.equal(tokens.values, here.values)


def test_one_thing_is_made_ahead_and_no_more():
    made = []

    def make(item):
        made.append(item)
        return item * 10

    found = []
    for number, result in enumerate(ahead(make, range(6))):
        time.sleep(0.01)
        assert len(made) <= number + 2
        found.append(result)
    assert found == [0, 10, 20, 30, 40, 50]
    assert list(ahead(make, [])) == []


def test_an_error_while_making_reaches_the_one_who_asks():
    def make(item):
        if item == 2:
            msg = "the file went away"
            raise InputError(msg)
        return item

    made = ahead(make, range(5))
    assert [next(made), next(made)] == [0, 1]
    with pytest.raises(InputError, match="went away"):
        next(made)
