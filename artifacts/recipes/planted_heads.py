"""Screen planted models for the one head that knows, and models that know nothing; write how often which are named.

Usage: python artifacts/recipes/planted_heads.py RUNS.csv [--jobs N] [--seeds N] [--null-seeds N] [--page PAGE.md]

Runs are appended to RUNS.csv one by one, and those that stand there already are not repeated; the page is written from
whatever is complete.
"""

from __future__ import annotations

import argparse
import csv
import logging
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from planted_heads_page import KNOWN, LEVEL, NO_HEAD, WITHOUT, page

import interp
from interp.probing import ProbeSettings, probe
from interp.probing.metrics import AUROC, BALANCED
from interp.probing.table import SCORE
from interp.runs.files import write_text
from interp.runs.progress import be_quiet
from interp.runs.seeds import stream
from interp.scgpt.planted import MARKER_SCORE, VALUE_SCORE, WRITTEN, PlantedSizes, planted_model
from interp.simulate.interaction import HIGH, LOW, with_interaction

if TYPE_CHECKING:
    from anndata import AnnData

log = logging.getLogger(__name__)
TARGET = "agreement"
N_DONORS, N_CELLS, N_GENES = 15, 480, 120
SIZES = PlantedSizes()
N_HEADS = SIZES.n_layers * SIZES.n_heads
# Layer of the head that knows; None where no head does.
WORLDS = {"middle layer": SIZES.n_layers // 2, "last layer": SIZES.n_layers - 1, NO_HEAD: None}
N_PLANTED, N_NULL = 20, 200
SETTINGS = ProbeSettings(draws=40)
ABLATION = "ablation.mean"
# Seeds that no setting was looked at on.
FIRST_SEED = 1000
COLUMNS = (
    "world", "method", "seed", "layer", "head", "genes", "first", "rank", "value", "best other", "p", "q", "named",
    "others named", "named by any metric", "smallest p", "seconds", *KNOWN,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class World:
    """Cells with an interaction, and a model that may know it.

    Attributes
    ----------
    cells
        Simulated cells with the target.
    model
        The model.
    genes
        The two that interact.
    place
        (layer, head) of the head that knows, or None.
    seed
        Seed of everything.
    """

    cells: AnnData
    model: interp.HookedScGPT
    genes: tuple[str, str]
    place: tuple[int, int] | None
    seed: int


def make_world(name: str, seed: int) -> World:
    """Draw cells, genes, weights and the head's place."""
    cells = interp.simulate(n_donors=N_DONORS, n_cells=N_CELLS, n_genes=N_GENES, seed=seed)
    rng = stream(seed, "planted heads")
    first, second = rng.choice(cells.var_names.to_numpy(), 2, replace=False)
    genes, head, layer = (str(first), str(second)), int(rng.integers(SIZES.n_heads)), WORLDS[name]
    place = None if layer is None else (layer, head)
    model = planted_model(list(cells.var_names), genes, place, sizes=SIZES, seed=seed)
    cells = with_interaction(cells, genes, target=TARGET, seed=seed)
    panel = interp.read_cells(cells, donor="donor", tissue="tissue", cell_type="cell_type")
    return World(panel, model, genes, place, seed)


def probing(world: World) -> dict[str, Any]:
    """Probe z of every head at `<cls>`; beside it stand the same probe on the inputs and on the embedding."""
    z, embedding = _cls_rows(world)
    obs, options = world.cells.obs, {"settings": SETTINGS, "seed": world.seed}
    found = probe(z, TARGET, obs=obs, cells=world.cells, **options)
    whole = probe(embedding, TARGET, obs=obs, controls=False, **options)
    beside = found.baselines[found.baselines["metric"] == AUROC].drop_duplicates("name").set_index("name")["value"]
    about = {words: beside[name] for words, name in WITHOUT.items()}
    about["embedding"] = _heads(whole.table, AUROC, heads=False)["value"].iloc[0]
    return _ranked(found.table, BALANCED, world) | about | _areas(_heads(found.table, AUROC), world)


def ablation(world: World) -> dict[str, Any]:
    """Ablate every head by its mean, and see what a frozen readout of the embedding misses."""
    found = interp.ablate_heads(world.model, world.cells, TARGET, effects=(), seed=world.seed).table
    whole = found[found["metric"] == f"{ABLATION}.{AUROC}"]["base"].iloc[0]
    return _ranked(found, f"{ABLATION}.{BALANCED}", world) | {"embedding": whole}


METHODS = {"probing": probing, "ablation": ablation}


def _cls_rows(world: World) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return z of every layer, (cell, head, d_head), and the embedding, (cell, d_model), at `<cls>`."""
    last = f"blocks.{SIZES.n_layers - 1}.hook_resid_post"
    tokens = world.model.tokenize(world.cells)
    with torch.inference_mode():
        _, cache = world.model.run_with_cache(tokens, names_filter=["blocks.*.attn.hook_z", last])
    rows = {name: cache[name][:, 0].numpy() for name in cache}
    embedding = {last: rows.pop(last)}
    return rows, embedding


def _heads(table: pd.DataFrame, metric: str, *, heads: bool = True) -> pd.DataFrame:
    """Scores of the heads, or of the layers, under one metric, best first."""
    own = table[(table["metric"] == metric) & (table["role"] == SCORE) & table["layer"].notna()]
    own = own[own["head"].notna() == heads]
    return own.sort_values("value", ascending=False, kind="stable")


def _is_planted(table: pd.DataFrame, world: World) -> pd.Series:
    layer, head = world.place or (-1, -1)
    return (table["layer"] == layer) & (table["head"] == head)


def _ranked(table: pd.DataFrame, metric: str, world: World) -> dict[str, Any]:
    """Say which head is first and which are named; one that ties with the planted head stands before it."""
    own = _heads(table, metric)
    planted, named = _is_planted(own, world), own["q"] < LEVEL
    first = own.iloc[0]
    found = {
        "first": f"L{first['layer']}H{first['head']}", "named": int(named.sum()), "smallest p": own["p"].min(),
        "others named": int((named & ~planted).sum()),
        "named by any metric": int(max((_heads(table, one)["q"] < LEVEL).sum() for one in table["metric"].unique())),
        "best other": own.loc[~planted, "value"].max(),
    }  # fmt: skip
    if world.place is None:
        return found
    (row,) = own[planted].to_dict("records")
    rank = 1 + int((own.loc[~planted, "value"] >= row["value"]).sum())
    return found | {"rank": rank, "value": row["value"], "p": row["p"], "q": row["q"]}


def _areas(own: pd.DataFrame, world: World) -> dict[str, float]:
    """AUROC of the planted head, and the means of all other heads and of those in later layers."""
    planted = _is_planted(own, world)
    found = {"other heads": own.loc[~planted, "value"].mean()}
    if world.place is None:
        return found
    later = own.loc[own["layer"] > world.place[0], "value"]
    return found | {"planted head": own.loc[planted, "value"].item(), "later heads": later.mean()}


def main() -> None:
    """Run what is missing and write the page."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("runs", type=Path)
    given.add_argument("--jobs", type=int, default=1)
    given.add_argument("--seeds", type=int, default=N_PLANTED)
    given.add_argument("--null-seeds", type=int, default=N_NULL)
    given.add_argument("--first", type=int, default=FIRST_SEED)
    given.add_argument("--page", type=Path, default=Path("artifacts/runs/planted-heads/planted-heads.md"))
    options = given.parse_args()
    done = set(zip(*(_read(options.runs)[name] for name in ("world", "method", "seed")), strict=True))
    wanted = [
        (world, method, options.first + place)
        for place in range(max(options.seeds, options.null_seeds))
        for world in WORLDS
        for method in METHODS
        if place < (options.null_seeds if world == NO_HEAD else options.seeds)
    ]
    missing = [item for item in wanted if item not in done]
    with ProcessPoolExecutor(options.jobs) as pool:
        coming = {pool.submit(_run, *item): item for item in missing}
        for number, future in enumerate(as_completed(coming), len(wanted) - len(missing) + 1):
            _append(options.runs, future.result())
            log.info("%d of %d runs, the last %s, %s, seed %d", number, len(wanted), *coming[future])
    runs = _read(options.runs)
    last = np.where(runs["world"] == NO_HEAD, options.null_seeds, options.seeds) + options.first - 1
    runs = runs[runs["seed"].between(options.first, last)]
    write_text(options.page, page(runs, _about(runs, options.first)))


def _run(name: str, method: str, seed: int) -> dict[str, Any]:
    be_quiet()
    start = time.perf_counter()
    world = make_world(name, seed)
    layer, head = world.place or (None, None)
    found = METHODS[method](world)
    about = {"world": name, "method": method, "seed": seed, "layer": layer, "head": head}
    about |= {"genes": " ".join(world.genes), "seconds": time.perf_counter() - start}
    return about | {key: float(value) if isinstance(value, float) else value for key, value in found.items()}


def _append(path: Path, run: dict[str, Any]) -> None:
    new = not path.is_file()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if new:
            writer.writeheader()
        writer.writerow(run)


def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=list(COLUMNS))


def _about(runs: pd.DataFrame, first: int) -> dict[str, Any]:
    spent = runs.groupby("method", sort=False)["seconds"].median()
    cost = "; ".join(f"{name} {seconds:.1f} s" for name, seconds in spent.items())
    return {
        "donors": N_DONORS, "cells": N_CELLS, "genes": N_GENES, "layers": SIZES.n_layers, "each": SIZES.n_heads,
        "heads": N_HEADS, "width": SIZES.d_model, "marker": MARKER_SCORE, "value": VALUE_SCORE, "written": WRITTEN,
        "low": 1 + LOW, "high": 1 + HIGH, "draws": SETTINGS.draws, "level": LEVEL, "need": LEVEL / N_HEADS,
        "pooled": 1 / (1 + SETTINGS.draws * N_HEADS), "flip": 2.0**-N_DONORS, "first": first, "cost": cost,
        "number": len(runs), "minutes": runs["seconds"].sum() / 60,
    }  # fmt: skip


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    main()
