"""Chain, factors and attribution: what is drawn is what the tables say."""

import numpy as np
import pytest

from interp.errors import InputError
from interp.figures import (
    attribution_forest,
    compaction_chain,
    factor_impact,
    factor_loadings,
    impact_concentration,
)
from interp.figures.chain import bytes_words
from interp.figures.look import text_of

from . import conftest as made

STEPS, LOSSES = made.chain()


def markers(ax, size):
    return [line for line in ax.lines if line.get_marker() in ("o", "D") and line.get_markersize() == size]


def test_steps_stand_at_their_size_and_value():
    ax = compaction_chain(STEPS, endpoint="order", losses=LOSSES)
    rows = STEPS[(STEPS["endpoint"] == "order") & STEPS["value"].notna()]
    found = sorted((float(m.get_xdata()[0]), float(m.get_ydata()[0])) for m in markers(ax, 4.6))
    assert found == sorted(zip(rows["size_bytes"], rows["value"], strict=True))
    assert ax.get_xscale() == "log"


def test_lost_steps_are_open_and_counted():
    ax = compaction_chain(STEPS, endpoint="order", losses=LOSSES)
    open_ones = [m for m in markers(ax, 4.6) if m.get_markerfacecolor() == "white"]
    assert len(open_ones) == 1
    assert "1 step of 4 lost" in text_of(ax, "note")
    assert "folded 0.80 at 48 kB" in text_of(ax, "note")
    assert "lost" not in text_of(compaction_chain(STEPS, endpoint="order"), "note")


def test_a_chain_without_a_number_says_so_and_an_unknown_endpoint_is_refused():
    nothing = compaction_chain(STEPS.assign(value=np.nan), endpoint="order")
    assert "not computable" in made.words(nothing)
    with pytest.raises(InputError, match="the chain has order"):
        compaction_chain(STEPS, endpoint="colour")


@pytest.mark.parametrize(("size", "words"), [(999, "999 B"), (48_080, "48 kB"), (5_760_000, "5.8 MB"), (2e9, "2.0 GB")])
def test_sizes_are_written_in_their_unit(size, words):
    assert bytes_words(size) == words


def test_bars_fall_and_pale_ones_hold_zero():
    ax = factor_impact(made.impact(), surrogate="rank 8", n_top=5)
    heights = [bar.get_height() for bar in ax.patches]
    assert len(heights) == 5
    assert heights == sorted(heights, reverse=True)
    pale = [bar.get_facecolor() != ax.patches[0].get_facecolor() for bar in ax.patches]
    assert pale == [False, False, True, True, True]
    assert "2 of 8 factors with an interval above 0" in text_of(ax, "note")
    with pytest.raises(InputError, match="rank 8: mean over endpoints"):
        factor_impact(made.impact(), surrogate="rank 99")


def test_shares_are_written_beside_random_bases():
    ax = impact_concentration(made.curves(), tops=(2, 4, 99))
    assert "2: 75 %" in made.words(ax)
    note = text_of(ax, "note")
    assert "20 random bases of the same operator" in note
    assert "2: rotated 0.35, p = 0.048 (its floor)" in note
    alone = impact_concentration(made.curves()[lambda t: t["basis"] == "factors"])
    assert "no rotated basis" in text_of(alone, "note")
    with pytest.raises(InputError, match="no row of the basis"):
        impact_concentration(made.curves()[lambda t: t["basis"] != "factors"])


def test_loadings_stand_at_their_gene_and_factor():
    genes = made.factor_genes()
    ax = factor_loadings(genes, side="read", factors=[1, 0], n_genes=2)
    names = [tick.get_text() for tick in ax.get_yticklabels()]
    shown = ax.images[0].get_array()
    leading = genes[(genes["side"] == "read") & (genes["rank"] <= 2) & (genes["factor"] < 2)]
    for row in leading.itertuples():
        assert shown[names.index(row.gene), [1, 0].index(row.factor)] == pytest.approx(row.weight)
    assert shown.mask.any()
    with pytest.raises(InputError, match="no read genes of factor 9"):
        factor_loadings(genes, factors=[9])


def test_genes_are_in_order_of_weight_and_open_ones_hold_zero():
    table = made.attribution()
    ax = attribution_forest(table, contrast="depth", n_top=4)
    dots = markers(ax, 3.8)
    weights = [float(dot.get_xdata()[0]) for dot in dots]
    assert weights == sorted(weights, reverse=True)
    assert [dot.get_markerfacecolor() == "white" for dot in dots] == [False, True, True, False]
    assert "towards deep" in made.words(ax)
    with pytest.raises(InputError, match="has depth"):
        attribution_forest(table, contrast="colour")


def test_a_contrast_without_intervals_says_so():
    ax = attribution_forest(made.attribution().assign(lo=np.nan, hi=np.nan, n_boot=3), contrast="depth")
    assert "no interval: 3 resamples could be computed" in text_of(ax, "note")


def test_many_factors_take_a_page():
    ax = factor_loadings(made.factor_genes(n_factors=14), n_genes=1, factors=list(range(14)))
    assert ax.get_figure().get_figwidth() == 7.2
