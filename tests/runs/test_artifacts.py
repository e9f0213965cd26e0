import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from interp.errors import InputError
from interp.runs import artifacts
from interp.runs.artifacts import artifact_folder, known_artifacts

ROOT = Path(__file__).parents[2]


def fill(root: Path) -> None:
    for name in ("scgpt-mini/args.json", "algorithms/blood/manifest.json", "algorithms/notes/README.md", "runs/x.txt"):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text("{}")


def test_models_and_algorithms_load_by_name_from_source_and_from_an_installation(tmp_path, monkeypatch):
    fill(tmp_path / "source" / "artifacts")
    fill(tmp_path / "installed" / "_artifacts")
    monkeypatch.setattr(artifacts, "SOURCE", tmp_path / "source" / "artifacts")
    monkeypatch.setattr(artifacts, "INSTALLED", tmp_path / "installed" / "_artifacts")
    # A folder that happens to lie beside an installed package is not the source tree.
    assert artifact_folder("scgpt-mini") == tmp_path / "installed" / "_artifacts" / "scgpt-mini"
    (tmp_path / "source" / "pyproject.toml").touch()
    assert artifact_folder("blood") == tmp_path / "source" / "artifacts" / "algorithms" / "blood"
    assert sorted(known_artifacts()) == ["blood", "scgpt-mini"]


@pytest.mark.parametrize("name", ["scgpt-maxi", "../scgpt-mini", "algorithms", ""])
def test_an_unknown_name_is_answered_with_the_known_ones(name):
    with pytest.raises(InputError, match=r"known names: .*scgpt-mini"):
        artifact_folder(name)


def test_the_wheel_holds_all_that_loads_by_name(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("interp-*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    assert {"scgpt-mini", "scgpt-sim"} <= set(known_artifacts())
    for folder in known_artifacts().values():
        for file in folder.rglob("*"):
            if file.is_file():
                assert f"interp/_artifacts/{file.relative_to(ROOT / 'artifacts').as_posix()}" in packed
    assert "interp/runs/folder.py" in packed
    assert not [name for name in packed if name.startswith(("tests/", "artifacts/"))]
