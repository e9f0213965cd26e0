from __future__ import annotations

import numpy as np
import pytest
import torch

from interp.capture.accumulator import Accumulator, add_on_device, value_norms
from interp.capture.attention import add_batch
from interp.capture.kernel import add_pairs, add_patterns, add_weighted


@pytest.fixture
def batch():
    """Random patterns of 5 cells, 3 heads and 8 tokens, on a panel of 6 genes."""
    rng = np.random.default_rng(0)
    pattern = torch.from_numpy(rng.random((5, 3, 8, 8), dtype=np.float32))
    columns = np.full((5, 8), -1)
    for cell in range(4):  # the last cell holds no gene of the panel
        places = rng.choice(8, rng.integers(1, 6), replace=False)
        columns[cell, places] = rng.choice(6, len(places), replace=False)
    return pattern, columns, rng.random((5, 8, 3), dtype=np.float32)


@pytest.mark.parametrize("slots", [[0, 1, 2], [1, -1, 0], [-1, -1, 0]])
def test_the_kernel_and_its_torch_form_equal_the_definition(batch, slots):
    pattern, columns, norms = batch
    slots = np.array(slots)
    wanted, weighted = np.zeros((slots.max() + 1, 6, 6)), np.zeros((slots.max() + 1, 6, 6))
    for c, h, q, k in np.ndindex(pattern.shape):
        if slots[h] >= 0 and columns[c, q] >= 0 and columns[c, k] >= 0:
            value = float(pattern[c, h, q, k])
            wanted[slots[h], columns[c, q], columns[c, k]] += value
            weighted[slots[h], columns[c, q], columns[c, k]] += value * float(norms[c, k, h])
    compiled, on_device, both = np.zeros_like(wanted), torch.zeros(wanted.shape, dtype=torch.float64), wanted * 0
    add_patterns(compiled, slots, pattern.numpy(), columns)
    add_on_device(on_device, slots, pattern, columns)
    add_weighted(both, slots, pattern.numpy(), norms, columns)
    np.testing.assert_allclose(compiled, wanted, rtol=1e-12)
    np.testing.assert_allclose(on_device.numpy(), wanted, rtol=1e-12)
    np.testing.assert_allclose(both, weighted, rtol=1e-6)


def test_pairs_are_counted_once_a_cell(batch):
    _, columns, _ = batch
    count, uniform = np.zeros((6, 6), np.int64), np.zeros((6, 6))
    lengths = np.array([8, 7, 4, 5, 2])
    add_pairs(count, uniform, columns, lengths)
    for i, j in np.ndindex(6, 6):
        both = [(columns[c] == i).any() and (columns[c] == j).any() for c in range(5)]
        assert count[i, j] == sum(both)
        assert uniform[i, j] == pytest.approx(sum(1 / lengths[c] for c in range(5) if both[c]))


def test_norms_are_those_of_the_full_product():
    generator = torch.Generator().manual_seed(0)
    v, output = torch.randn(4, 7, 3, 5, generator=generator), torch.randn(3, 5, 16, generator=generator)
    full = torch.einsum("cthd,hdm->cthm", v, output).norm(dim=-1)
    torch.testing.assert_close(value_norms(v, output), full)
    assert (value_norms(v * 0, output) == 0).all()


@pytest.mark.parametrize(("value_weighted", "lift"), [(False, False), (True, False), (False, True), (True, True)])
def test_sums_where_the_model_is_equal_those_on_the_cpu(model, mixed, value_weighted, lift):
    tokens, heads, genes = model.tokenize(mixed), [(0, 1), (2, 0)], ["G3", "G8", "G20"]
    results = []
    for on_device in (False, True):
        accumulator = Accumulator(model, genes, heads, value_weighted=value_weighted, lift=lift)
        if on_device:  # what a GPU does, on tensors of the CPU
            accumulator._on_device = True
            accumulator._sum = accumulator._zeros(2, 3)
            accumulator._weighted = accumulator._zeros(2, 3) if value_weighted else None
            accumulator._lifted = accumulator._zeros(2, 3) if lift else None
        for start in range(0, 23, 6):
            add_batch(model, tokens[start : start + 6], accumulator)
        results.append(accumulator.result(tuple(heads)))
    cpu, device = results
    assert isinstance(device.sum, np.ndarray)
    np.testing.assert_allclose(device.sum, cpu.sum, rtol=1e-6)
    np.testing.assert_array_equal(device.count, cpu.count)
    if value_weighted:
        np.testing.assert_allclose(device.weighted, cpu.weighted, rtol=1e-6)
    if lift:
        np.testing.assert_allclose(device.lifted, cpu.lifted, rtol=1e-6)
