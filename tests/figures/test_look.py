"""The palette stays apart for colour-blind eyes, looks are stable, words are honest."""

from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from interp.figures import BRANCH_COLOURS, donor_looks, study_markers, style
from interp.figures.look import DONOR_COLOURS, number, p_words, without_unit, wrap

# Machado, Oliveira & Fernandes (2009), severity 1.0, on linear RGB.
PROTANOPIA = np.array(
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
)
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
# sRGB to XYZ (IEC 61966-2-1), white D65.
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(colour, eye):
    rgb = np.array(to_rgb(colour))
    linear = np.clip(eye @ np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4), 0, 1)
    f = np.cbrt(np.maximum(XYZ @ linear / [0.9505, 1.0, 1.089], 1e-4))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eye", [np.eye(3), PROTANOPIA, DEUTERANOPIA], ids=["usual", "protanopia", "deuteranopia"])
@pytest.mark.parametrize("palette", [BRANCH_COLOURS, DONOR_COLOURS], ids=["branches", "donors"])
def test_colours_stay_apart(palette, eye):
    assert min(np.linalg.norm(lab(a, eye) - lab(b, eye)) for a, b in combinations(palette, 2)) > 10


def test_markers_and_looks_do_not_depend_on_the_order_of_rows():
    assert study_markers(["b", "a", "b"]) == study_markers(["a", "b"])
    donors, studies = ["b:1", "a:2", "a:10"], ["b", "a", "a"]
    assert donor_looks(donors, studies) == donor_looks(donors[::-1], studies[::-1])
    assert list(donor_looks(donors, studies)) == ["a:2", "a:10", "b:1"]


def test_sixteen_donors_of_a_study_all_look_different():
    looks = donor_looks([f"d{i}" for i in range(16)], ["s"] * 16)
    assert len({tuple(look.values()) for look in looks.values()}) == 16


def test_style_ends_with_its_block():
    before = mpl.rcParams["font.size"]
    with style():
        assert mpl.rcParams["font.family"] == ["DejaVu Sans"]
    assert mpl.rcParams["font.size"] == before


@pytest.mark.parametrize(
    ("given", "written"),
    [(0.005, "p = 0.005"), (1e-4, "p = 0.0001"), (0.03125, "p = 0.031"), (None, "p not computable")],
)
def test_p_values_keep_two_digits_that_count(given, written):
    assert p_words(given) == written


def test_words():
    assert number(None) == number(float("nan")) == "not computable"
    assert number(-0.5) == "\u22120.50"
    assert without_unit("order (Spearman)") == "Order"
    assert wrap("one two three four five six", 9, lines=2) == "one two\nthree …"
