import numpy as np
import pytest

from interp.biology import StageGraph, gene_pool, gene_programs, marker_programs
from interp.extraction.factor_programs import program_table_of
from interp.extraction.factors import factors_of
from interp.extraction.operator import Operator
from interp.extraction.surrogates import sparse_factors, truncated

GENES = gene_pool()[:800]


def loadings(genes, sign=1.0):
    return sign * np.isin(GENES, genes).astype(float)


@pytest.fixture(scope="module")
def planted():
    """T genes write monocyte genes; B genes, against NK genes, write the interferon response."""
    known = marker_programs()
    t, mono, b, nk, ifn = (
        known[name] for name in ("T / lymphoid", "monocyte / macrophage", "B / plasma", "NK / cytotoxic", "interferon")
    )
    nk = [gene for gene in nk if gene not in {*b, *t, *mono}]
    noise = 0.02 * np.random.default_rng(0).normal(size=(len(GENES), len(GENES)))
    matrix = 3.0 * np.outer(loadings(t), loadings(mono)) + np.outer(loadings(b) - loadings(nk), loadings(ifn)) + noise
    return Operator("L0H0.mean.out", "mean", "out", matrix, GENES)


def best(table, factor, side):
    rows = table[(table["factor"] == factor) & (table["side"] == side)]
    return rows.iloc[0]


@pytest.mark.parametrize("surrogate", [lambda o: truncated(o, 4), lambda o: sparse_factors(o, 4)])
def test_planted_programs_are_named_on_their_side(planted, surrogate):
    table = program_table_of(factors_of(surrogate(planted)), n_top=40)
    assert best(table, 0, "read")["program"] == "T / lymphoid"
    assert best(table, 0, "write")["program"] == "monocyte / macrophage"
    assert best(table, 1, "write")["program"] == "interferon"
    assert set(table[(table["factor"] == 1) & (table["side"] == "read")]["program"][:2]) == {
        "B / plasma",
        "NK / cytotoxic",
    }
    assert (table.loc[:3, "q"] < 1e-6).all()


def test_poles_tell_opposite_programs_of_one_factor_apart(planted):
    table = program_table_of(factors_of(truncated(planted, 4)), n_top=60)
    rows = table[(table["factor"] == 1) & (table["side"] == "read")].set_index("program")
    assert {rows.loc["B / plasma", "pole"], rows.loc["NK / cytotoxic", "pole"]} == {"+", "-"}


def test_genes_that_load_on_everything_come_up_in_any_basis():
    """T genes load ten times as much as others in each of twelve factors: each is enriched, and none is special."""
    rng = np.random.default_rng(0)
    t = loadings(marker_programs()["T / lymphoid"])
    read = rng.normal(size=(len(GENES), 12)) * (1 + 9 * t)[:, None]
    matrix = read @ rng.normal(size=(12, len(GENES)))
    table = program_table_of(factors_of(truncated(Operator("loud", "mean", "out", matrix, GENES), 12)), n_top=40)
    rows = table[(table["program"] == "T / lymphoid") & (table["side"] == "read")]
    assert (rows["q"] < 1e-4).all()
    assert rows["rotated_share"].mean() > 0.3


def test_planted_programs_are_rarer_in_random_bases(planted):
    table = program_table_of(factors_of(truncated(planted, 16)), n_top=40)
    assert best(table, 0, "read")["rotated_share"] < 0.05


def test_random_factors_name_nothing():
    matrix = np.random.default_rng(1).normal(size=(len(GENES), len(GENES)))
    table = program_table_of(factors_of(truncated(Operator("noise", "mean", "out", matrix, GENES), 8)))
    assert (table["q"].dropna() > 0.05).all()


def test_own_programs_and_skipped_ones(planted):
    graph = StageGraph.hematopoiesis()
    own = {**gene_programs(graph), "elsewhere": ("X1", "X2", "X3")}
    table = program_table_of(factors_of(truncated(planted, 2)), own)
    assert best(table, 0, "read")["program"] == "T"
    skipped = table[table["status"] == "skipped"]
    assert "elsewhere" in set(skipped["program"])
    assert skipped["factor"].isna().all()
    assert table["q"].notna().sum() == 4 * (len(own) - len(skipped))
