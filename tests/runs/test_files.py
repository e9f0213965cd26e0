import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from interp.runs.files import new_folder, remove_asides, write_bytes, write_csv, write_json, write_text


def left_over(folder: Path) -> list[str]:
    return [item.name for item in folder.rglob("*.part")]


def test_writes_make_parents_and_replace(tmp_path):
    path = write_text(tmp_path / "deep" / "note.txt", "old")
    write_text(path, "néw")
    assert path.read_text(encoding="utf-8") == "néw"
    assert not left_over(tmp_path)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_bytes(tmp_path / "data.bin", b"old")

    def full_disk(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert not left_over(tmp_path)


def test_json_files_are_sorted_and_know_no_nan(tmp_path):
    path = write_json(tmp_path / "x.json", {"b": float("nan"), "a": np.float32(0.5)})
    assert path.read_text() == '{\n  "a": 0.5,\n  "b": null\n}\n'
    assert json.loads(path.read_text()) == {"a": 0.5, "b": None}


def test_tables_come_back_to_the_last_digit(tmp_path):
    table = pd.DataFrame({"name": ["a", "b", np.nan], "value": [0.1 + 0.2, 1 / 3, np.nan]})
    path = write_csv(tmp_path / "x.csv", table)
    back = pd.read_csv(path, float_precision="round_trip")
    pd.testing.assert_frame_equal(back, table, check_exact=True)
    assert write_csv(tmp_path / "y.csv", table.to_dict("records")).read_bytes() == path.read_bytes()


def test_a_new_folder_replaces_the_old_one_at_the_end(tmp_path):
    target = tmp_path / "operators"
    for text in ("first", "second"):
        with new_folder(target) as fresh:
            (fresh / f"{text}.txt").write_text(text)
            assert not (target / f"{text}.txt").exists()
    assert [item.name for item in target.iterdir()] == ["second.txt"]
    assert not left_over(tmp_path)


def test_an_error_inside_leaves_the_old_folder(tmp_path):
    target = tmp_path / "operators"
    with new_folder(target) as fresh:
        (fresh / "a.txt").write_text("a")

    def fail() -> None:
        with new_folder(target) as fresh:
            (fresh / "b.txt").write_text("b")
            msg = "stop"
            raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert [item.name for item in target.iterdir()] == ["a.txt"]
    assert not left_over(tmp_path)


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / "algorithm").mkdir()
    (tmp_path / "algorithm" / ".manifest.json.1f.part").write_text("half")
    (tmp_path / ".operators.2f.part").mkdir()
    (tmp_path / ".operators.2f.part" / "a.txt").write_text("half")
    (tmp_path / "keep.part.txt").write_text("kept")
    assert remove_asides(tmp_path) == 2
    assert sorted(item.name for item in tmp_path.rglob("*")) == ["algorithm", "keep.part.txt"]
