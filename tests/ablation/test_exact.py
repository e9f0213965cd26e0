"""Exact ablation against one full forward pass with hooks for each set."""

import numpy as np
import pytest

from interp.ablation import ReplaceHeads, exact_readings

SETS = [
    (),
    ((0, 0),),
    ((0, 2),),
    ((1, 1),),
    ((2, 0),),
    ((3, 0),),
    ((3, 2),),
    ((1, 0), (1, 2)),
    ((0, 1), (2, 2)),
    ((2, 1), (3, 0), (3, 1)),
    ((1, 1), (0, 0), (3, 2), (2, 0)),
]


def reference(model, tokens, sets, replacement, read, rows=None):
    """One full forward pass per set and cell, by name (set, cell, ...)."""
    rows = range(len(tokens)) if rows is None else rows
    found = []
    for heads in sets:
        of_set = []
        for row in rows:
            cell = tokens[[row]]
            with model.hooks(ReplaceHeads(tuple(heads), replacement).hooks(model, cell)):
                resid = model(cell).resid
            of_set.append({name: value.numpy() for name, value in read(resid, cell).items()})
        found.append({name: np.concatenate([one[name] for one in of_set]) for name in of_set[0]})
    return {name: np.stack([one[name] for one in found]) for name in found[0]}


def close(a, b):
    return np.abs(a - b).max() <= 1e-5 * np.abs(b).max()


@pytest.mark.parametrize("batch_cells", [None, 3])
def test_it_equals_a_full_forward_pass_for_each_set(model, tokens, replacement, read, batch_cells):
    found = exact_readings(model, tokens, SETS, replacement, read, batch_cells=batch_cells)
    expected = reference(model, tokens, SETS, replacement, read)
    assert found.sets[-1] == ((0, 0), (1, 1), (2, 0), (3, 2))
    for name, values in found.ablated.items():
        assert values.shape == expected[name].shape
        assert close(values, expected[name])
        assert close(found.base[name], expected[name][0])
        assert all(not close(values[i], found.base[name]) for i in range(1, len(SETS)))
