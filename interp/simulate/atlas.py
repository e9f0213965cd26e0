"""Simulate an atlas: counts of several donors with the noise of sequencing, and the truth beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from interp.biology import StageGraph
from interp.errors import InputError
from interp.runs.seeds import stream
from interp.simulate.donors import Sample, draw_sample, study_weights, tissue_weights
from interp.simulate.effects import positions
from interp.simulate.world import WORLD_SEED, World, make_world

if TYPE_CHECKING:
    from anndata import AnnData

DONOR_SIZE = (0.7, 1.3)  # range of the relative number of cells per donor
# The world in which studies are confounded with stages, and what sets its studies apart: more than donors (0.25).
CONFOUNDED, N_STUDIES, STUDY_SD = "study-is-stage", 3, 0.6
CHUNK = 2000  # cells drawn at once; a fixed part of the stream, so changing it changes every atlas


def simulate(
    *,
    n_donors: int = 15,
    n_cells: int = 6000,
    n_genes: int = 1000,
    world: str = "ordered",
    seed: int = 0,
    strength: float = 1.0,
    stages: Sequence[str] | str | None = None,
    with_rate: bool = False,
    world_seed: int = WORLD_SEED,
) -> AnnData:
    """Simulate raw counts of several donors over the stage graph, with the truth beside them.

    Gene programs belong to the world and are equal for every `seed`; donors, their effects and their cells belong to
    the seed, so atlases of different seeds share no donor.

    Parameters
    ----------
    n_donors
        Number of donors.
    n_cells
        Cells over all donors.
    n_genes
        Genes, real symbols, at most 1,500.
    world
        ``"ordered"``, ``"labels-only"`` (stages without order), ``"study-is-stage"`` (the same, in three studies that
        each hold other stages and have an effect of their own) or ``"unrelated"`` (not hematopoietic).
    seed
        Seed of donors and cells.
    strength
        Factor on the effect of cell types on log expression.
    stages
        Stage names to draw; ``"all"`` for all 34; 14 stages of all branches by default. Not for ``"unrelated"``.
    with_rate
        Whether to add ``layers["rate"]``, float32 (cell, gene): each gene's expected share of a cell's counts, before
        overdispersion and dropout.
    world_seed
        Seed of the gene programs.

    Returns
    -------
    AnnData
        X: float32 CSR counts (cell, gene). obs: donor, tissue, cell_type, batch, study, true_position (0 at the parent,
        1 at the stage), true_pseudotime (hops from the root; NaN where there is no order). obsm: true_latent (cell,
        program), progress along each program; true_modules (cell, module), activity of what has nothing to do with
        stage. var: program. varm: true_loadings (gene, program), effects on log expression. uns["truth"]: world,
        strength, seeds and the names of programs and modules.

    Raises
    ------
    InputError
        For no donor, fewer cells than donors, or an unknown world or stage.

    Examples
    --------
    >>> cells = simulate(n_donors=2, n_cells=50, n_genes=100)
    >>> cells.shape, cells.obs["donor"].nunique()
    ((50, 100), 2)
    """
    if n_donors < 1 or n_cells < n_donors:
        msg = f"Give at least one donor and one cell per donor; got n_donors={n_donors}, n_cells={n_cells}."
        raise InputError(msg)
    biology = make_world(world, n_genes=n_genes, strength=strength, seed=world_seed)
    weights = tissue_weights(biology, stages)
    studies = _studies(biology, weights, seed)
    relative = stream(seed, f"simulate/{world}/sizes").uniform(*DONOR_SIZE, n_donors)
    counts, rates, samples, frames = [], [], [], []
    for number, size in enumerate(1 + _split(n_cells - n_donors, relative)):
        donor = f"{world}{seed}-donor{number:02d}"
        rng = stream(seed, f"simulate/{world}/donor", donor)
        study = studies[(number - 1) % len(studies)]
        sample = study.draw(biology, int(size), rng)
        frames.append(_obs(biology, sample, donor, study.name))
        samples.append(sample)
        for start in range(0, int(size), CHUNK):
            drawn, rate = _sequence(biology, sample, slice(start, min(start + CHUNK, int(size))), rng)
            counts.append(drawn)
            if with_rate:
                rates.append(rate)
    cells = _assemble(biology, counts, frames, samples, {"seed": seed, "world_seed": world_seed})
    if with_rate:
        cells.layers["rate"] = np.concatenate(rates)
    return cells


@dataclass(frozen=True)
class _Study:
    """What a study measures: its name, how common each cell type is, and its effect on log expression, (gene,)."""

    name: str
    weights: pd.DataFrame
    effect: np.ndarray

    def draw(self, world: World, size: int, rng: np.random.Generator) -> Sample:
        sample = draw_sample(world, self.weights, size, rng)
        return replace(sample, donor_effect=sample.donor_effect + self.effect)


def _studies(world: World, weights: pd.DataFrame, seed: int) -> list[_Study]:
    if world.name != CONFOUNDED:
        return [_Study("simulated", weights, np.zeros(len(world.genes)))]
    rng = stream(seed, f"simulate/{world.name}/studies")
    return [
        _Study(f"study{number}", part, STUDY_SD * rng.standard_normal(len(world.genes)))
        for number, part in enumerate(study_weights(weights, N_STUDIES))
    ]


def _split(total: int, weights: np.ndarray) -> np.ndarray:
    """Share out a number of cells by largest remainder, int64 (weight,)."""
    exact = total * weights / weights.sum()
    sizes = np.floor(exact).astype(np.int64)
    sizes[np.argsort(sizes - exact, kind="stable")[: total - sizes.sum()]] += 1
    return sizes


def _sequence(
    world: World, sample: Sample, part: slice, rng: np.random.Generator
) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Return counts and expected shares, both float32 (cell, gene), of some cells of one donor."""
    log_rate = world.profiles[sample.cell_type[part], sample.position[part]]
    log_rate = log_rate + sample.modules[part].astype(np.float32) @ world.modules
    log_rate += sample.donor_effect.astype(np.float32)
    for tissue, effect in world.tissue_effects.items():
        log_rate[sample.tissue[part] == tissue] += effect.astype(np.float32)
    share = np.exp(log_rate)
    share /= share.sum(axis=1, keepdims=True)
    mean = share * sample.library[part, None]
    counts = rng.poisson(mean * rng.standard_gamma(world.dispersion, size=mean.shape) / world.dispersion)
    counts = counts.astype(np.float32)
    counts[rng.random(mean.shape, dtype=np.float32) < sample.lost[part, None] / (1 + mean)] = 0
    return sparse.csr_matrix(counts), share.astype(np.float32)


def _obs(world: World, sample: Sample, donor: str, study: str) -> pd.DataFrame:
    at = positions()[sample.position]
    pseudotime = np.full(len(at), np.nan)
    if world.name == "ordered":
        graph = StageGraph.hematopoiesis()
        depth = np.array([graph.depth(stage) for stage in world.cell_types])[sample.cell_type]
        pseudotime = np.where(depth == 0, 0.0, depth - 1 + at)
    return pd.DataFrame(
        {
            "donor": donor,
            "tissue": sample.tissue,
            "cell_type": np.array(world.cell_types)[sample.cell_type],
            "batch": [f"{donor}-{tissue}" for tissue in sample.tissue],
            "study": study,
            "true_position": at,
            "true_pseudotime": pseudotime,
        },
        index=[f"{donor}-cell{i:05d}" for i in range(len(at))],
    )


def _assemble(
    world: World,
    counts: list[sparse.csr_matrix],
    frames: list[pd.DataFrame],
    samples: list[Sample],
    seeds: dict[str, int],
) -> AnnData:
    from anndata import AnnData  # takes a second to import

    obs = pd.concat(frames)
    for column in ("donor", "tissue", "cell_type", "batch", "study"):
        obs[column] = obs[column].astype("category")
    var = pd.DataFrame({"program": pd.Categorical(world.gene_program)}, index=list(world.genes))
    cells = AnnData(X=sparse.vstack(counts, format="csr"), obs=obs, var=var)
    cell_type = np.concatenate([sample.cell_type for sample in samples])
    position = np.concatenate([sample.position for sample in samples])
    cells.obsm["true_latent"] = world.latent[cell_type, position]
    cells.obsm["true_modules"] = np.concatenate([sample.modules for sample in samples]).astype(np.float32)
    cells.varm["true_loadings"] = world.loadings
    cells.uns["truth"] = {
        "world": world.name,
        "strength": world.strength,
        **seeds,
        "programs": np.array(world.cell_types),
        "modules": np.array(world.module_names),
    }
    return cells
