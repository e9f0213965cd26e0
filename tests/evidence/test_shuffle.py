from collections import Counter
from itertools import permutations

import numpy as np
from scipy.stats import chisquare

from interp.evidence.shuffle import shuffle


def readable_shuffle(values, uniform):
    """Walk from the last value to the second, and swap each with one of those up to it."""
    for i in reversed(range(1, len(values))):
        j = int(uniform[i] * (i + 1))
        values[i], values[j] = values[j], values[i]


def test_the_kernel_is_the_readable_shuffle():
    values = np.arange(1000, dtype=np.float32)
    expected = values.tolist()
    readable_shuffle(expected, np.random.default_rng(3).random(1000))
    shuffle(values, np.random.default_rng(3))
    assert values.tolist() == expected


def test_every_order_comes_out_equally_often():
    rng = np.random.default_rng(0)
    found = Counter()
    for _ in range(12_000):
        values = np.arange(4)
        shuffle(values, rng)
        found[tuple(values.tolist())] += 1
    assert set(found) == set(permutations(range(4)))
    assert chisquare(list(found.values())).pvalue > 1e-3


def test_nothing_and_one_value_stay():
    for n in (0, 1):
        values = np.arange(n, dtype=np.float32)
        shuffle(values, np.random.default_rng(0))
        assert values.tolist() == list(range(n))
