from __future__ import annotations

import numpy as np
import pytest

from interp.errors import InputError
from interp.probing import probe_classes, probe_value


@pytest.fixture
def separable():
    rng = np.random.default_rng(0)
    labels = np.array(["a", "b", "c"] * 20)
    centres = dict(zip("abc", rng.standard_normal((3, 5)) * 4, strict=True))
    signal = np.array([centres[x] for x in labels]) + rng.standard_normal((60, 5))
    noise = rng.standard_normal((60, 5))
    return labels, signal, noise


def test_signal_is_read_and_noise_is_not(separable):
    labels, signal, noise = separable
    table = probe_classes(
        {"signal": (signal[:30], signal[30:]), "noise": (noise[:30], noise[30:])}, labels[:30], labels[30:]
    )
    score = table.set_index("representation")["balanced_accuracy"]
    assert score["signal"] > 0.95
    assert score["noise"] < 0.6


def test_few_labels_are_drawn_alike_for_every_representation(separable):
    labels, signal, _ = separable
    parts = signal[:30], signal[30:]
    table = probe_classes({"one": parts, "two": parts}, labels[:30], labels[30:], per_class=2, repeats=3)
    assert table["balanced_accuracy"].nunique() == 1
    assert (table["n_train"] == 6).all()


def test_classes_of_one_side_only_are_left_out(separable):
    labels, signal, _ = separable
    train = np.where(labels[:30] == "c", None, labels[:30])
    table = probe_classes({"signal": (signal[:30], signal[30:])}, train, labels[30:])
    assert table["n_classes"].item() == 2
    assert table["n_test"].item() == 20


def test_one_shared_class_is_an_error(separable):
    labels, signal, _ = separable
    with pytest.raises(InputError, match="two classes"):
        probe_classes({"signal": (signal[:30], signal[30:])}, ["a"] * 30, labels[30:])


def test_a_number_is_read(separable):
    _, signal, noise = separable
    value = signal @ np.arange(5)
    table = probe_value(
        {"signal": (signal[:30], signal[30:]), "noise": (noise[:30], noise[30:])}, value[:30], value[30:]
    )
    score = table.set_index("representation")["spearman"]
    assert score["signal"] > 0.95
    assert abs(score["noise"]) < 0.6
