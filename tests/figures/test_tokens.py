import numpy as np
import pytest

from interp.errors import InputError
from interp.figures import attention_pattern, cell_tokens
from interp.figures.look import text_of

GENES = ["<cls>", "LYZ", "CD74", "B2M", "<pad>"]


def ticks(axis):
    return [tick.get_text() for tick in axis.get_ticklabels()]


def test_bars_are_the_highest_genes_without_special_and_padded_tokens():
    padding = np.array([False, False, False, False, True])
    ax = cell_tokens(GENES, np.array([0, 3, 9, 9, -2.0]), padding=padding, n_bins=11, n_top=2)
    assert ticks(ax.xaxis) == ["B2M", "CD74"]
    assert [bar.get_height() for bar in ax.patches] == [9, 9]
    assert ax.get_ylim()[1] == pytest.approx(10.2)
    assert text_of(ax, "note") == "3 gene tokens, the 2 highest drawn; besides <cls>"


def test_a_cell_without_genes_is_drawn_empty():
    assert text_of(cell_tokens([], np.array([])), "note") == "0 gene tokens, the 0 highest drawn"


def test_tokens_of_different_lengths_are_refused():
    with pytest.raises(InputError, match="one per token"):
        cell_tokens(GENES, np.zeros(3))


def test_the_pattern_shows_what_receives_most_attention_first():
    pattern = np.tile([0.1, 0.2, 0.4, 0.05, 0.25], (5, 1))
    ax = attention_pattern(pattern, GENES, head="L2H5", cell="kang:1", n_top=3)
    assert ticks(ax.xaxis) == ticks(ax.yaxis) == ["CD74", "<pad>", "LYZ"]
    np.testing.assert_allclose(ax.images[0].get_array()[0], [0.4, 0.25, 0.2])
    assert text_of(ax, "title") == "Attention of L2H5"
    assert text_of(ax, "note") == "kang:1: the 3 of 5 tokens that receive most (85 % of all attention)"


def test_rows_are_queries():
    pattern = np.eye(5)[[1, 1, 1, 1, 2]]
    shown = attention_pattern(pattern, GENES, n_top=5).images[0].get_array()
    assert shown[0, 0] == 1  # LYZ attends to LYZ
    np.testing.assert_allclose(shown[:, 1] > 0.5, [False, False, False, False, True])  # only <pad> to CD74


def test_nan_is_not_an_error():
    ax = attention_pattern(np.full((5, 5), np.nan), GENES)
    assert np.isnan(ax.images[0].get_array().astype(float).filled(np.nan)).all()


def test_a_pattern_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match="does not fit 5 tokens"):
        attention_pattern(np.eye(4), GENES)
