"""Probing finds the one head that knows an interaction of two genes, and names none where none knows it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp.probing import ProbeSettings, probe

MIDDLE, LAST = (1, 2), (2, 0)
# With 25 draws and 12 heads one head alone can have q < 0.05: 12 / (1 + 25 * 12) = 0.04.
SETTINGS = ProbeSettings(draws=25)


def z_at_cls(cells, model):
    with torch.inference_mode():
        _, cache = model.run_with_cache(model.tokenize(cells), names_filter="*.hook_z")
    return {name: cache[name][:, 0].numpy() for name in cache}


def scores(table, metric="balanced_accuracy"):
    own = table[(table["metric"] == metric) & (table["role"] == "score") & table["head"].notna()]
    return own.set_index("name").sort_values("value", ascending=False)


@pytest.mark.parametrize("place", [MIDDLE, LAST])
@pytest.mark.parametrize("seed", range(3))
def test_the_head_that_knows_is_first(planted_world, place, seed):
    cells, model = planted_world(place, seed)
    found = scores(probe(z_at_cls(cells, model), "agreement", obs=cells.obs, controls=False, seed=seed).table)
    assert found.index[0] == f"L{place[0]}H{place[1]}.z"
    assert found["value"].iloc[0] > 0.66 > 0.59 > found["value"].iloc[1]
    assert found["value"].iloc[1:].mean() == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("seed", range(3))
def test_the_same_heads_know_nothing_without_the_edit(planted_world, seed):
    cells, model = planted_world(None, seed)
    found = scores(probe(z_at_cls(cells, model), "agreement", obs=cells.obs, controls=False, seed=seed).table)
    assert found.loc[["L1H2.z", "L2H0.z"], "value"].max() < 0.59
    assert found["value"].mean() == pytest.approx(0.5, abs=0.04)


def test_it_alone_is_named_and_nothing_is_where_nothing_is_known(planted_world):
    named = {}
    for place in (LAST, None):
        cells, model = planted_world(place, 0, 300)
        found = scores(probe(z_at_cls(cells, model), "agreement", obs=cells.obs, settings=SETTINGS).table)
        named[place] = found.index[found["q"] < 0.05].tolist()
    assert named == {LAST: ["L2H0.z"], None: []}


def test_the_inputs_know_each_gene_but_not_the_interaction(planted_world):
    areas = []
    for seed in range(2):
        cells, model = planted_world(MIDDLE, seed, 300)
        options = {"obs": cells.obs, "cells": cells, "controls": False, "sites": "z", "seed": seed}
        z = z_at_cls(cells, model)
        found = probe(z, "agreement", **options).baselines
        areas.append(found[found["metric"] == "auroc"].drop_duplicates("name").set_index("name")["value"])
    assert {"raw log1p", "bag of tokens", "PCA-10"} <= set(areas[0].index)
    np.testing.assert_allclose(sum(areas) / 2, 0.5, atol=0.08)  # three sd of 15 donors of 20 cells, twice
    gene = probe(z, "high GATA1", **options).baselines
    raw = gene[(gene["name"] == "raw log1p") & (gene["metric"] == "auroc")]
    assert raw["value"].iloc[0] > 0.95
