"""Donors of a simulated atlas: their samples, the stages they lack, and what sets their expression apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import pandas as pd

from interp.errors import InputError
from interp.simulate.effects import N_POSITIONS
from interp.simulate.world import UNRELATED_TYPES, World, is_cycle

# Two stages or more of nearly every branch, at 1 to 9 hops.
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

# All chosen by hand, to resemble droplet data cut to 1,000 genes.
MEDIAN_UMI = 1.2  # counts per cell and gene of the panel
CELL_UMI_SD, DONOR_UMI_SD = 0.4, 0.15  # of log library size, over cells and over donors
DONOR_SD, DONOR_OUTLIERS, DONOR_OUTLIER_SD = 0.25, 0.04, 1.0  # per gene; outliers stand for HLA, sex and eQTL genes
DONOR_MODULE_SD = 0.4
CYCLING_SHARE = 0.25
LOST_SHAPE = (2.0, 14.0)  # beta: how readily a cell loses a lowly expressed gene altogether
POSITION_SHAPE = (4.0, 1.6)  # beta: most cells stand near the stage that names them
MISSING_STAGE = 0.25  # chance that a donor lacks a stage
TISSUE_SHARE = {"marrow": (1.0, 0.65), "blood": (0.4, 0.35), "thymus": (0.4, 0.25)}  # chance of a sample, its cells
MIN_STAGES = 3  # a tissue with fewer of the stages asked for is not sampled if they live elsewhere too
COMPOSITION_SHAPE = 6.0  # gamma: how much the share of a stage varies between samples


@dataclass(frozen=True)
class Sample:
    """The cells of one donor before sequencing."""

    tissue: np.ndarray  # (cell,) names
    cell_type: np.ndarray  # (cell,) index into World.cell_types
    position: np.ndarray  # (cell,) index into positions()
    modules: np.ndarray  # (cell, module) activity
    library: np.ndarray  # (cell,) expected counts
    lost: np.ndarray  # (cell,) readiness to lose a gene
    donor_effect: np.ndarray  # (gene,) on log expression


def tissue_weights(world: World, stages: Sequence[str] | str | None) -> pd.DataFrame:
    """Return how common each cell type is in each tissue, float64 (cell type, tissue); 0 where not asked for.

    Parameters
    ----------
    world
        The world.
    stages
        Stage names, ``"all"``, or None for the default choice.

    Raises
    ------
    InputError
        When a name is no stage, none is given, or the world has no stages.
    """
    if world.name == "unrelated":
        if stages is not None:
            msg = "The world 'unrelated' has no stages to choose from; leave `stages` out."
            raise InputError(msg)
        return pd.get_dummies(pd.Series(UNRELATED_TYPES))[list(world.tissue_effects)].astype(float)
    with (files("interp.biology") / "tissues.csv").open(encoding="utf-8") as handle:
        weights = pd.read_csv(handle, index_col="stage").loc[list(world.cell_types)].astype(float)
    if isinstance(stages, str):
        stages = world.cell_types if stages == "all" else [stages]
    chosen = list(DEFAULT_STAGES if stages is None else stages)
    unknown = [stage for stage in chosen if stage not in weights.index]
    if unknown or not chosen:
        problem = f"Not stages of the graph: {unknown}" if unknown else "`stages` is empty"
        msg = f"{problem}. Choose from {', '.join(weights.index)}, or give 'all'."
        raise InputError(msg)
    weights.loc[~weights.index.isin(chosen)] = 0.0
    for tissue in reversed(list(weights.columns)):
        here = weights[tissue] > 0
        elsewhere = weights.drop(columns=tissue).sum(axis=1) > 0
        if here.sum() < MIN_STAGES and elsewhere[here].all():
            weights[tissue] = 0.0
    return weights


def study_weights(weights: pd.DataFrame, n_studies: int) -> list[pd.DataFrame]:
    """Deal the stages out to studies, neighbours in the graph's order together, so that a study knows its stages alone.

    Parameters
    ----------
    weights
        From `tissue_weights`.
    n_studies
        Number of studies.

    Returns
    -------
    list of pandas.DataFrame
        One table like `weights` per study.

    Raises
    ------
    InputError
        There are fewer stages than studies.
    """
    chosen = weights.index[weights.to_numpy().any(axis=1)]
    if len(chosen) < n_studies:
        msg = f"{n_studies} studies need at least as many stages; there are {len(chosen)}: {', '.join(chosen)}"
        raise InputError(msg)
    return [weights.mul(weights.index.isin(part), axis=0) for part in np.array_split(chosen, n_studies)]


def draw_sample(world: World, weights: pd.DataFrame, size: int, rng: np.random.Generator) -> Sample:
    """Draw one donor and its cells.

    Parameters
    ----------
    world
        The world.
    weights
        From `tissue_weights`.
    size
        Number of cells.
    rng
        The donor's stream.
    """
    n_genes, n_modules = len(world.genes), len(world.module_names)
    outlier = rng.random(n_genes) < DONOR_OUTLIERS
    effect = rng.standard_normal(n_genes) * np.where(outlier, DONOR_OUTLIER_SD, DONOR_SD)
    module_shift = DONOR_MODULE_SD * rng.standard_normal(n_modules)
    depth_shift = DONOR_UMI_SD * rng.standard_normal()
    share = _composition(weights, rng)
    drawn = np.repeat(np.arange(share.size), rng.multinomial(size, share.to_numpy().ravel()))
    cell_type, tissue = np.divmod(rng.permutation(drawn), share.shape[1])
    modules = module_shift + rng.standard_normal((size, n_modules))
    cycle = [i for i, name in enumerate(world.module_names) if is_cycle(name)]
    phase = rng.choice([*cycle, -1], size, p=[CYCLING_SHARE / 2, CYCLING_SHARE / 2, 1 - CYCLING_SHARE])
    for column in cycle:
        modules[:, column] = (phase == column) * rng.uniform(0.5, 1.0, size)
    return Sample(
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
    chance, share = np.array([TISSUE_SHARE.get(str(t), (1.0, 1.0)) for t in weights.columns]).T
    full = weights * variation
    # A donor left without any sample or stage falls back to more of them.
    for candidate in (full.mul(~missing, axis=0) * (taken < chance), full.mul(~missing, axis=0)):
        if candidate.to_numpy().sum() > 0:
            break
    else:
        candidate = full
    totals = candidate.sum()
    scaled = candidate / totals.where(totals > 0, 1.0) * np.where(totals > 0, share, 0.0)
    return scaled / scaled.to_numpy().sum()
