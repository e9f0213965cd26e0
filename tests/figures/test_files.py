"""Saved figures: two files, written whole, the same bytes for the same figure in any process."""

import hashlib
import os
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest

from interp import figures

from .conftest import anchors, controls

SCRIPT = """
import hashlib, sys
import numpy as np
from interp import figures
ax = figures.null_distribution({"a": np.arange(19.0), "look-up code": np.arange(9.0)}, 12.0)
for path in figures.save(ax.figure, sys.argv[1]):
    print(hashlib.sha256(path.read_bytes()).hexdigest())
"""


def digests(ax, folder):
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in figures.save(ax.figure, folder / "figure")]


def test_both_formats_are_written_under_one_name(tmp_path):
    ax = figures.null_distribution(np.arange(9.0), 3.0)
    written = figures.save(ax.figure, tmp_path / "deep" / "null.order.png")
    assert sorted(tmp_path.rglob("*.*")) == sorted(written)
    assert [path.name for path in written] == ["null.order.png", "null.order.pdf"]
    png, pdf = (path.read_bytes() for path in written)
    assert png.startswith(b"\x89PNG")
    assert pdf.startswith(b"%PDF")
    assert not plt.get_fignums()
    assert b"CreationDate" not in pdf
    assert b"matplotlib" not in png.lower()


def test_png_has_two_hundred_dots_an_inch(tmp_path):
    ax = figures.null_distribution(np.arange(9.0), 3.0)
    png, _ = figures.save(ax.figure, tmp_path / "null")
    height, width = plt.imread(png).shape[:2]
    assert 3.0 * 200 < width <= 3.6 * 200
    assert height < 2.4 * 200


@pytest.mark.parametrize("which", ["manifold", "controls"])
def test_equal_inputs_give_equal_bytes(which, tmp_path, graph):
    def draw():
        if which == "manifold":
            return figures.latent_manifold(*anchors(graph, ("HSC", "MPP", "NK"), {"a": "s", "b": "t"}), graph)
        return figures.controls_forest(controls(), endpoint="order")

    assert digests(draw(), tmp_path / "one") == digests(draw(), tmp_path / "two")


def test_another_process_with_another_hash_seed_gives_equal_bytes(tmp_path):
    environment = {**os.environ, "PYTHONHASHSEED": "1", "MPLBACKEND": "Agg"}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "there")]
    there = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
    ax = figures.null_distribution({"a": np.arange(19.0), "look-up code": np.arange(9.0)}, 12.0)
    assert there == digests(ax, tmp_path)
