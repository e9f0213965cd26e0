from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

STAGES = ("HSC", "erythroblast", "classical monocyte")


@pytest.fixture
def make_file() -> Callable[..., AnnData]:
    """A factory of small files: counts from a seed, donors d1, d2, ..., tissue blood, stages in turn."""

    def make(
        n_cells: int = 24, genes: list[str] | int = 12, *, n_donors: int = 2, seed: int = 0, cells: str = "c"
    ) -> AnnData:
        rng = np.random.default_rng(seed)
        names = [f"G{i}" for i in range(genes)] if isinstance(genes, int) else list(genes)
        counts = rng.poisson(2.0, (n_cells, len(names))).astype(np.float32)
        counts[:, 0] += 1
        obs = pd.DataFrame(
            {
                "donor": [f"d{i % n_donors + 1}" for i in range(n_cells)],
                "tissue": "blood",
                "cell_type": [STAGES[i // n_donors % len(STAGES)] for i in range(n_cells)],
            },
            index=[f"{cells}{i}" for i in range(n_cells)],
        )
        return AnnData(csr_matrix(counts), obs=obs, var=pd.DataFrame(index=names))

    return make


@pytest.fixture
def columns() -> dict[str, str]:
    return {"donor": "donor", "tissue": "tissue", "cell_type": "cell_type"}
