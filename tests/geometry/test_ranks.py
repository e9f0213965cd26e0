from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from interp.geometry.ranks import NARROW, row_spearman


@pytest.mark.parametrize("n_columns", [7, NARROW + 1])
def test_row_spearman_is_spearman_and_constant_rows_have_none(n_columns):
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, size=(20, n_columns)).astype(float), rng.normal(size=(20, n_columns))
    a[0] = 1.0
    expected = [np.nan if i == 0 else spearmanr(x, y).statistic for i, (x, y) in enumerate(zip(a, b, strict=True))]
    np.testing.assert_allclose(row_spearman(a, b), expected, atol=1e-12)
