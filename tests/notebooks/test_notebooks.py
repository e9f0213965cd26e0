"""Every notebook runs in a fresh kernel, and its committed outputs are those of its code."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MOST_BYTES = 1_500_000
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
# Printed numbers are rounded, and floats differ a little between machines.
TOLERANCE = {"rel": 0.05, "abs": 0.02}


@pytest.fixture(scope="module")
def tool() -> SimpleNamespace:
    """What `python notebooks/execute.py` does."""
    return SimpleNamespace(**runpy.run_path(str(FOLDER / "execute.py")))


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the kernel from the user's start-up files and from writing beside them."""
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        folder = tmp_path / name.lower()
        folder.mkdir()
        monkeypatch.setenv(name, str(folder))


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def kinds(output: NotebookNode) -> list[str]:
    """`stdout`, `error` or the types of what is shown."""
    return sorted(output.get("data", {})) or [output.get("name", output.output_type)]


def texts(notebook: NotebookNode) -> Iterator[str]:
    for cell in code_cells(notebook):
        for output in cell.outputs:
            text = output.get("text") or output.get("data", {}).get("text/plain")
            if text:
                yield text


def problems(notebook: NotebookNode) -> list[str]:
    """What a committed notebook must not have."""
    found = []
    cells = code_cells(notebook)
    if [cell.execution_count for cell in cells] != list(range(1, len(cells) + 1)):
        found.append("cells were not run once each, in order")
    for cell in cells:
        shown = [kind for output in cell.outputs for kind in kinds(output)]
        if not shown:
            found.append(f"cell {cell.id} has no output")
        found += [f"cell {cell.id} shows {kind}" for kind in shown if kind in ("error", "stderr")]
        found += [f"cell {cell.id} shows {kind}, no png" for kind in shown if kind in ("image/svg+xml", "image/jpeg")]
    if re.search(r"(?:/home/|/Users/|/root/|site-packages|\d{4}-\d\d-\d\dT\d\d:)", json.dumps(notebook)):
        found.append("it holds a path of a machine or a time")
    return found


def differences(before: NotebookNode, after: NotebookNode) -> list[str]:
    """Where the outputs of two runs differ by more than rounding; pictures are not compared."""
    found = []
    for old, new in zip(code_cells(before), code_cells(after), strict=True):
        if [kinds(output) for output in old.outputs] != [kinds(output) for output in new.outputs]:
            found.append(f"cell {new.id} shows something of another kind")
    for old, new in zip(texts(before), texts(after), strict=False):
        # Table columns are as wide as their numbers.
        words = [" ".join(NUMBER.sub("#", text).replace("-", " ").split()) for text in (old, new)]
        numbers = [[float(number) for number in NUMBER.findall(text)] for text in (old, new)]
        if words[0] != words[1] or numbers[0] != pytest.approx(numbers[1], **TOLERANCE):
            found.append(f"{new!r} was {old!r}")
    return found


def test_there_are_notebooks():
    assert "01_look_inside" in [path.stem for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_committed(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert problems(notebook) == []
    assert path.stat().st_size < MOST_BYTES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_is_committed(path, tool, tmp_path):
    committed = nbformat.read(path, as_version=4)
    done = tool.execute(committed, tmp_path)
    assert problems(done) == []
    hint = f"run `python notebooks/execute.py {path.name}` if that is right"
    assert differences(committed, done) == [], hint


def test_a_cell_that_raises_is_an_error(tool, tmp_path):
    with pytest.raises(CellExecutionError, match="no such cell"):
        tool.execute(new_notebook(cells=[new_code_cell("raise ValueError('no such cell')")]), tmp_path)


def test_what_a_cell_prints_is_one_output_however_slow_it_is(tool, tmp_path):
    code = "import time\nprint(1)\ntime.sleep(0.5)\nprint(2)"
    done = tool.execute(new_notebook(cells=[new_code_cell(code)]), tmp_path)
    assert [output.text for output in done.cells[0].outputs] == ["1\n2\n"]


def run_cell(text: str, count: int | None = 1) -> NotebookNode:
    outputs = [new_output("stream", name="stdout", text=text)] if text else []
    return new_notebook(cells=[new_code_cell("print(1)", id="a", execution_count=count, outputs=outputs)])


def test_missing_outputs_are_found():
    assert problems(run_cell("1")) == []
    assert problems(run_cell("")) == ["cell a has no output"]
    assert problems(run_cell("1", None)) == ["cells were not run once each, in order"]
    assert problems(run_cell("/home/somebody/file")) == ["it holds a path of a machine or a time"]


@pytest.mark.parametrize("text", ["score 0.50", "score 0.91 more"])
def test_stale_outputs_are_found(text):
    assert differences(run_cell("score 0.91"), run_cell("score 0.92")) == []
    assert differences(run_cell("score 0.91"), run_cell(text))
