from __future__ import annotations

import numpy as np
import pytest

from interp.errors import InputError
from interp.geometry import trustworthiness


def readable(high, low, k):
    """Sum over false neighbours of how far outside the k nearest they lay (Venna & Kaski 2001)."""
    n = len(high)
    penalty = 0
    for i in range(n):
        others = [j for j in range(n) if j != i]
        by_high = sorted(others, key=lambda j: np.linalg.norm(high[i] - high[j]))
        by_low = sorted(others, key=lambda j: np.linalg.norm(low[i] - low[j]))
        penalty += sum(by_high.index(j) + 1 - k for j in by_low[:k] if j not in by_high[:k])
    return 1 - 2 / (n * k * (2 * n - 3 * k - 1)) * penalty


def test_equals_the_definition():
    rng = np.random.default_rng(0)
    high, low = rng.standard_normal((30, 6)), rng.standard_normal((30, 2))
    assert trustworthiness(high, low, k=5) == pytest.approx(readable(high, low, 5))


@pytest.mark.parametrize("k", [0, 15])
def test_too_many_neighbours_is_an_error(k):
    with pytest.raises(InputError, match="under half"):
        trustworthiness(np.zeros((30, 2)), np.zeros((30, 2)), k=k)


def test_different_points_is_an_error():
    with pytest.raises(InputError, match="30 points"):
        trustworthiness(np.zeros((30, 2)), np.zeros((29, 2)))
