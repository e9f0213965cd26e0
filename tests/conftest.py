"""What all tests share: one thread, and the real cells where they are at hand."""

import os
from pathlib import Path

import pytest

# Read when NumPy and torch are first imported, so no test may import them earlier than this file.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(scope="session")
def real_cells() -> Path:
    folder = os.environ.get("INTERP_CELLS", "")
    if not folder:
        pytest.skip("INTERP_CELLS does not name a folder of real cells")
    path = Path(folder)
    if not path.is_dir():
        pytest.fail(f"INTERP_CELLS names {folder}, which is not a folder")
    return path
