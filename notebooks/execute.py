"""Run notebooks in fresh kernels and keep their outputs.

Usage: python notebooks/execute.py [NOTEBOOK ...]

Without names all notebooks of this folder are run. What differs from run to run (times, versions) is not kept.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

HERE = Path(__file__).resolve().parent
SECONDS_PER_CELL = 900  # far above what a cell takes, for busy machines
# One thread, so that outputs repeat; and a widget library that is not needed tells of its absence with a path.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore:IProgress not found",
}


def execute(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Return a copy of a notebook with the outputs of a run in `folder`.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        A cell raises.
    """
    notebook = nbformat.from_dict(notebook)
    client = NotebookClient(
        notebook,
        timeout=SECONDS_PER_CELL,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,  # else slow machines cut what is printed into other pieces than fast ones
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env={**ENVIRONMENT, **os.environ})
    return tidy(notebook)


def tidy(notebook: NotebookNode) -> NotebookNode:
    """Leave out what differs between machines and runs; tables are kept as text and html, pictures as png."""
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
        for output in cell.get("outputs", []):
            if "metadata" in output:
                output.metadata = nbformat.from_dict({})
            if "image/png" in output.get("data", {}):
                # the text beside a picture is the address or the size of an object
                output.data = nbformat.from_dict({"image/png": output.data["image/png"]})
    return notebook


def main(names: list[str]) -> None:
    """Run notebooks and write them back."""
    for path in [Path(name) for name in names] or sorted(HERE.glob("*.ipynb")):
        logging.info("running %s", path.name)
        done = execute(nbformat.read(path, as_version=4), path.resolve().parent)
        path.write_text(nbformat.writes(done) + "\n", encoding="utf-8")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(sys.argv[1:])
