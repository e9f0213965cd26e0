import logging
import socket

import numpy as np
import pytest
from scipy.stats import hypergeom

from interp.biology import enrich, marker_programs
from interp.errors import InputError

PANEL = [f"G{i}" for i in range(200)]


@pytest.fixture
def _no_network(monkeypatch):
    def refuse(*_, **__):
        msg = "the network was asked for"
        raise AssertionError(msg)

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


@pytest.mark.usefixtures("_no_network")
def test_p_is_the_tail_of_the_hypergeometric_distribution():
    rng = np.random.default_rng(0)
    lists = {f"list {i}": rng.choice(PANEL, 30, replace=False).tolist() for i in range(5)}
    programs = {f"program {i}": rng.choice(PANEL, 12, replace=False).tolist() for i in range(6)}
    found = enrich(lists, programs, PANEL)
    assert len(found) == 30
    for row in found.itertuples():
        shared = set(lists[row.list]) & set(programs[row.program])
        assert row.n_overlap == len(shared) == len([g for g in row.genes.split(";") if g])
        assert row.p == pytest.approx(hypergeom.sf(len(shared) - 1, 200, 12, 30))


def test_programs_are_cut_to_the_panel_and_small_ones_skipped():
    programs = {"cut": [*PANEL[:4], "X", "Y"], "small": [*PANEL[:2], "X"], "twice": [PANEL[0]] * 5}
    found = enrich({"mine": PANEL[:10]}, programs, PANEL).set_index("program")
    assert found.loc["cut", "n_program"] == 4
    assert found.loc["cut", "p"] == pytest.approx(hypergeom.sf(3, 200, 4, 10))
    assert found.loc[["small", "twice"], "status"].tolist() == ["skipped"] * 2
    assert found.loc["small", "reason"] == "2 of its 3 genes are on the panel; at least 3 are needed"


def test_the_background_matters():
    wide = enrich({"mine": PANEL[:10]}, {"program": PANEL[:10]}, PANEL)
    narrow = enrich({"mine": PANEL[:10]}, {"program": PANEL[:10]}, PANEL[:12])
    assert wide["p"][0] < 1e-10 < narrow["p"][0]


def test_pairs_that_share_nothing_count_as_tests(caplog):
    programs = {"hit": PANEL[:10], "miss": PANEL[100:110]}
    with caplog.at_level(logging.ERROR):
        found = enrich({"mine": PANEL[:10], "other": PANEL[150:160]}, programs, PANEL)
    assert found["p"].tolist()[1:] == [1.0, 1.0, 1.0]
    assert found["q"][0] == pytest.approx(4 * found["p"][0])
    assert not caplog.records


def test_planted_t_genes_are_named_t():
    programs = marker_programs()
    panel = list(dict.fromkeys([g for genes in programs.values() for g in genes] + PANEL))
    found = enrich({"factor 0": [*programs["T / lymphoid"][:25], *PANEL[:10]]}, programs, panel)
    assert found.sort_values("p")["program"].iloc[0] == "T / lymphoid"
    assert found.loc[found["q"] < 0.05, "program"].tolist() == ["T / lymphoid"]


@pytest.mark.parametrize("genes", [["X", "G1"], []])
def test_lists_outside_the_background_are_refused(genes):
    with pytest.raises(InputError, match="'mine' holds"):
        enrich({"mine": genes}, {"program": PANEL[:5]}, PANEL)


def test_without_programs_there_is_no_test():
    assert enrich({"mine": PANEL[:5]}, {}, PANEL).empty
