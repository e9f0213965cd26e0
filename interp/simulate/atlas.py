"""Draw the cells of an atlas: donors with their own effects and stages, and counts with the noise of sequencing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from interp.biology import StageGraph
from interp.errors import InputError
from interp.runs.seeds import stream
from interp.simulate.world import N_POSITIONS, UNRELATED_TYPES, WORLD_SEED, World, make_world, positions

if TYPE_CHECKING:
    from anndata import AnnData

# Two or more stages of every branch, hop distances from 1 to 9.
DEFAULT_STAGES = (
    "HSC",
    "CMP",
    "GMP",
    "CLP",
    "erythroblast",
    "megakaryocyte",
    "neutrophil",
    "classical monocyte",
    "non-classical monocyte",
    "pro-B",
    "naive B",
    "naive CD4 T",
    "memory CD8 T",
    "NK",
)
MEDIAN_UMI, CELL_UMI_SD, DONOR_UMI_SD = 1.2, 0.4, 0.15  # counts per gene of the panel; sd of its log over cells and donors
DONOR_SD, DONOR_OUTLIERS, DONOR_OUTLIER_SD = 0.25, 0.04, 1.0  # per gene; outliers stand for HLA, sex and eQTL genes
DONOR_MODULE_SD = 0.4
CYCLING_SHARE = 0.25
LOST_SHAPE = (2.0, 14.0)  # beta: how readily a cell loses a lowly expressed gene altogether
POSITION_SHAPE = (4.0, 1.6)  # beta: most cells stand near the stage that names them
MISSING_STAGE = 0.25  # chance that a donor lacks a stage
TISSUE_SHARE = {"marrow": (1.0, 0.65), "blood": (0.4, 0.35), "thymus": (0.4, 0.25)}  # chance of a sample, share of cells
MIN_STAGES = 3  # a tissue with fewer of the stages asked for is not sampled if they live elsewhere too
COMPOSITION_SHAPE = 6.0  # gamma: how much the share of a stage varies between samples
CHUNK = 2000  # cells drawn at once; a fixed part of the stream


@dataclass(frozen=True)
class _Sample:
    """The cells of one donor before sequencing."""

    tissue: np.ndarray  # (cell,) names
    cell_type: np.ndarray  # (cell,) index into World.cell_types
    position: np.ndarray  # (cell,) index into positions()
    modules: np.ndarray  # (cell, module)
    library: np.ndarray  # (cell,)
    lost: np.ndarray  # (cell,)
    donor_effect: np.ndarray  # (gene,)


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

    Gene programs belong to the world and are equal for every ``seed``; donors, their effects and their cells belong to
    the seed, so atlases of different seeds share no donor.

    Parameters
    ----------
    n_donors
        Number of donors; donor k is the same person whatever the number of donors.
    n_cells
        Cells over all donors.
    n_genes
        Genes, real symbols, at most 1,500.
    world
        ``"ordered"``, ``"labels-only"`` (stages without order) or ``"unrelated"`` (not hematopoietic).
    seed
        Seed of donors and cells.
    strength
        Factor on the effect of stages on log expression.
    stages
        Stage names to draw; ``"all"`` for all 34; 14 stages of all branches by default. Not for ``"unrelated"``.
    with_rate
        Whether to add ``layers["rate"]``, the expected share of each gene among a cell's counts.
    world_seed
        Seed of the gene programs.

    Returns
    -------
    AnnData
        X float32 CSR counts (cell, gene). obs: donor, tissue, cell_type, batch, study, true_position,
        true_pseudotime (hops from the root; NaN where no order exists). obsm: true_latent (cell, program) progress
        along each program, true_modules (cell, module). var: program. varm: true_loadings (gene, program).
        uns["truth"]: world, strength, seeds and the names of programs and modules.

    Raises
    ------
    InputError
        For numbers under 1, more donors than cells, or an unknown world or stage.

    Examples
    --------
    >>> cells = simulate(n_donors=2, n_cells=50, n_genes=100)
    >>> cells.shape, cells.obs["donor"].nunique()
    ((50, 100), 2)
    """
    _check_sizes(n_donors, n_cells)
    biology = make_world(world, n_genes=n_genes, strength=strength, seed=world_seed)
    weights = _tissue_weights(biology, stages)
    shares = stream(seed, f"simulate/{world}/sizes").uniform(0.7, 1.3, n_donors)
    sizes = 1 + _split(n_cells - n_donors, shares)
    parts, frames, samples, rates = [], [], [], []
    for number, size in enumerate(sizes):
        donor = f"{world}{seed}-donor{number:02d}"
        rng = stream(seed, f"simulate/{world}/donor", donor)
        sample = _draw_sample(biology, weights, int(size), rng)
        counts, rate = _sequence(biology, sample, rng, with_rate=with_rate)
        parts.append(counts)
        rates.append(rate)
        samples.append(sample)
        frames.append(_obs(biology, sample, donor))
    return _assemble(biology, parts, frames, samples, rates if with_rate else None, {"seed": seed, "world_seed": world_seed})


def _check_sizes(n_donors: int, n_cells: int) -> None:
    if n_donors < 1 or n_cells < n_donors:
        msg = f"Give at least one donor and one cell per donor; got n_donors={n_donors}, n_cells={n_cells}."
        raise InputError(msg)


def _split(total: int, weights: np.ndarray) -> np.ndarray:
    """Share out a number of cells by largest remainder, int64 (weight,)."""
    exact = total * weights / weights.sum()
    sizes = np.floor(exact).astype(np.int64)
    sizes[np.argsort(sizes - exact, kind="stable")[: total - sizes.sum()]] += 1
    return sizes


def _tissue_weights(world: World, stages: Sequence[str] | str | None) -> pd.DataFrame:
    """Return the share of each cell type in each tissue, (cell type, tissue), zero for cell types not asked for."""
    if world.name == "unrelated":
        if stages is not None:
            msg = "The world 'unrelated' has no stages to choose from; leave `stages` out."
            raise InputError(msg)
        return pd.get_dummies(pd.Series(UNRELATED_TYPES))[list(world.tissue_effects)].astype(float)
    with (files("interp.biology") / "tissues.csv").open(encoding="utf-8") as handle:
        weights = pd.read_csv(handle, index_col="stage").loc[list(world.cell_types)].astype(float)
    if stages is None:
        stages = DEFAULT_STAGES
    elif isinstance(stages, str):
        stages = world.cell_types if stages == "all" else [stages]
    unknown = [stage for stage in stages if stage not in weights.index]
    if unknown or len(stages) == 0:
        msg = f"Not stages of the graph: {unknown}. Choose from {', '.join(weights.index)}, or 'all'."
        raise InputError(msg)
    weights.loc[~weights.index.isin(list(stages))] = 0.0
    for tissue in reversed(list(weights.columns)):
        others = weights.drop(columns=tissue).sum(axis=1) > 0
        if (weights[tissue] > 0).sum() < MIN_STAGES and others[weights[tissue] > 0].all():
            weights[tissue] = 0.0
    return weights


def _draw_sample(world: World, weights: pd.DataFrame, size: int, rng: np.random.Generator) -> _Sample:
    n_genes, n_modules = len(world.genes), len(world.module_names)
    outlier = rng.random(n_genes) < DONOR_OUTLIERS
    effect = rng.standard_normal(n_genes) * np.where(outlier, DONOR_OUTLIER_SD, DONOR_SD)
    module_shift = DONOR_MODULE_SD * rng.standard_normal(n_modules)
    depth_shift = DONOR_UMI_SD * rng.standard_normal()
    share = _composition(weights, rng)
    drawn = np.repeat(np.arange(share.size), rng.multinomial(size, share.to_numpy().ravel()))
    cell_type, tissue = np.divmod(rng.permutation(drawn), share.shape[1])
    modules = module_shift + rng.standard_normal((size, n_modules))
    cycle = [i for i, name in enumerate(world.module_names) if name.endswith("phase")]
    phase = rng.choice([*cycle, -1], size, p=[CYCLING_SHARE / 2, CYCLING_SHARE / 2, 1 - CYCLING_SHARE])
    for column in cycle:
        modules[:, column] = (phase == column) * rng.uniform(0.5, 1.0, size)
    return _Sample(
        tissue=share.columns.to_numpy()[tissue],
        cell_type=cell_type,
        position=np.minimum((rng.beta(*POSITION_SHAPE, size) * N_POSITIONS).astype(np.int64), N_POSITIONS - 1),
        modules=modules,
        library=n_genes * MEDIAN_UMI * np.exp(depth_shift + CELL_UMI_SD * rng.standard_normal(size)),
        lost=rng.beta(*LOST_SHAPE, size),
        donor_effect=effect,
    )


def _composition(weights: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return one donor's share of cells per cell type and tissue; sums to 1."""
    missing = rng.random(len(weights)) < MISSING_STAGE
    taken = rng.random(len(weights.columns))
    variation = rng.gamma(COMPOSITION_SHAPE, 1 / COMPOSITION_SHAPE, weights.shape)
    chance, share = np.array([TISSUE_SHARE.get(t, (1.0, 1.0)) for t in weights.columns]).T
    full = weights * variation
    # A donor without any sample or stage left falls back to all of them.
    for candidate in (full.mul(~missing, axis=0) * (taken < chance), full.mul(~missing, axis=0), full):
        totals = candidate.sum()
        if totals.sum() > 0:
            scaled = candidate / totals.where(totals > 0, 1.0) * np.where(totals > 0, share, 0.0)
            return scaled / scaled.to_numpy().sum()
    msg = "No tissue holds any of the stages asked for."
    raise InputError(msg)


def _sequence(
    world: World, sample: _Sample, rng: np.random.Generator, *, with_rate: bool
) -> tuple[sparse.csr_matrix, np.ndarray | None]:
    """Return counts (cell, gene) and, if asked for, expected shares (cell, gene) float32 of one donor."""
    counts, rates = [], []
    size, n_genes = len(sample.cell_type), len(world.genes)
    for start in range(0, size, CHUNK):
        part = slice(start, min(start + CHUNK, size))
        log_rate = world.profiles[sample.cell_type[part], sample.position[part]]
        log_rate = log_rate + sample.modules[part].astype(np.float32) @ world.modules
        log_rate += sample.donor_effect.astype(np.float32)
        for tissue, effect in world.tissue_effects.items():
            log_rate[sample.tissue[part] == tissue] += effect.astype(np.float32)
        share = np.exp(log_rate)
        share /= share.sum(axis=1, keepdims=True)
        mean = share * sample.library[part, None]
        noisy = mean * rng.standard_gamma(world.dispersion, size=mean.shape) / world.dispersion
        drawn = rng.poisson(noisy).astype(np.float32)
        drawn[rng.random((len(mean), n_genes), dtype=np.float32) < sample.lost[part, None] / (1 + mean)] = 0
        counts.append(sparse.csr_matrix(drawn))
        rates.append(share.astype(np.float32) if with_rate else None)
    return sparse.vstack(counts, format="csr"), np.concatenate(rates) if with_rate else None


def _obs(world: World, sample: _Sample, donor: str) -> pd.DataFrame:
    at = positions()[sample.position]
    names = np.array(world.cell_types)[sample.cell_type]
    pseudotime = np.full(len(at), np.nan)
    if world.name == "ordered":
        graph = StageGraph.hematopoiesis()
        depth = np.array([graph.depth(stage) for stage in world.cell_types])[sample.cell_type]
        pseudotime = np.where(depth == 0, 0.0, depth - 1 + at)
    return pd.DataFrame(
        {
            "donor": donor,
            "tissue": sample.tissue,
            "cell_type": names,
            "batch": [f"{donor}-{tissue}" for tissue in sample.tissue],
            "study": "simulated",
            "true_position": at,
            "true_pseudotime": pseudotime,
        },
        index=[f"{donor}-cell{i:05d}" for i in range(len(at))],
    )


def _assemble(
    world: World,
    parts: list[sparse.csr_matrix],
    frames: list[pd.DataFrame],
    samples: list[_Sample],
    rates: list[np.ndarray] | None,
    seeds: dict[str, int],
) -> AnnData:
    from anndata import AnnData  # anndata takes a second to import

    obs = pd.concat(frames)
    for column in ("donor", "tissue", "cell_type", "batch", "study"):
        obs[column] = obs[column].astype("category")
    var = pd.DataFrame({"program": pd.Categorical(world.gene_program)}, index=list(world.genes))
    cells = AnnData(X=sparse.vstack(parts, format="csr"), obs=obs, var=var)
    cell_type = np.concatenate([s.cell_type for s in samples])
    position = np.concatenate([s.position for s in samples])
    cells.obsm["true_latent"] = world.latent[cell_type, position]
    cells.obsm["true_modules"] = np.concatenate([s.modules for s in samples]).astype(np.float32)
    cells.varm["true_loadings"] = world.loadings
    cells.uns["truth"] = {
        "world": world.name,
        "strength": world.strength,
        **seeds,
        "programs": np.array(world.programs),
        "modules": np.array(world.module_names),
    }
    if rates is not None:
        cells.layers["rate"] = np.concatenate(rates)
    return cells
