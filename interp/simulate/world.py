"""The biology of a simulated world: what every cell type expresses, the same for every seed of its atlases."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from interp.biology import StageGraph, gene_pool
from interp.biology.programs import gene_modules, gene_programs
from interp.errors import InputError
from interp.runs.seeds import stream
from interp.simulate.effects import (
    Effects,
    ordered_activity,
    ordered_effects,
    unordered_activity,
    unordered_effects,
)

WORLDS = ("ordered", "labels-only", "study-is-stage", "unrelated")
WORLD_SEED = 2603  # fixes the gene programs: a model trained on one seed's atlas has seen the world of all others

# Mean and sd of log base expression per class of gene, chosen by hand so that a cell expresses some 300 of 1,000 genes.
BASE = {"marker": (-2.0, 0.7), "module": (-1.4, 0.7), "ribosomal": (2.0, 0.4), "other": (-0.4, 1.2)}
MODULE_LOADING, RIBOSOMAL_LOADING, CYCLE_LOADING = 0.7, 0.25, 2.0  # on log expression, per unit of activity
TISSUE_SD = 0.2  # per gene, on log expression
DISPERSION_MEDIAN, DISPERSION_SD = 6.0, 0.4  # shape of the gamma noise over genes: median, sd of its log

UNRELATED_TYPES = {
    "hepatocyte": "liver",
    "cholangiocyte": "liver",
    "pancreatic alpha cell": "pancreas",
    "pancreatic beta cell": "pancreas",
    "pancreatic acinar cell": "pancreas",
    "keratinocyte": "skin",
    "melanocyte": "skin",
    "fibroblast": "skin",
    "cardiomyocyte": "heart",
    "smooth muscle cell": "heart",
    "podocyte": "kidney",
    "astrocyte": "brain",
}
HEMATOPOIETIC_TISSUES = ("marrow", "blood", "thymus")
_RIBOSOMAL = re.compile(r"RP[LS]\d+[AXY]?|RPLP[012]|RPSA")


@dataclass(frozen=True)
class World:
    """Everything that does not depend on the seed of an atlas.

    Attributes
    ----------
    genes
        Symbols; ``gene_program`` names the main program of each.
    cell_types
        Names; there is one program per cell type, in the same order.
    profiles
        float32 (cell type, position, gene): log expression.
    loadings
        float32 (gene, program): effect of each program on log expression, strength included.
    latent
        float32 (cell type, position, program): how far each program is switched on.
    modules
        float32 (module, gene): loadings of the processes that have nothing to do with cell type.
    tissue_effects
        float64 (gene,) per tissue, on log expression.
    dispersion
        float64 (gene,): shape of the gamma noise.
    """

    name: str
    strength: float
    genes: tuple[str, ...]
    gene_program: tuple[str, ...]
    cell_types: tuple[str, ...]
    module_names: tuple[str, ...]
    profiles: np.ndarray
    loadings: np.ndarray
    latent: np.ndarray
    modules: np.ndarray
    tissue_effects: dict[str, np.ndarray]
    dispersion: np.ndarray


def make_world(name: str = "ordered", *, n_genes: int = 1000, strength: float = 1.0, seed: int = WORLD_SEED) -> World:
    """Build the gene programs of a world.

    Parameters
    ----------
    name
        ``"ordered"``: programs follow the stage graph. ``"labels-only"``: every stage has a program of its own, related
        to no other. ``"study-is-stage"``: the same, for an atlas whose studies each hold other stages.
        ``"unrelated"``: cell types that are not hematopoietic, programs likewise unrelated.
    n_genes
        How many genes of the pool take part; a gene's role does not depend on it.
    strength
        Factor on all effects of cell types on log expression; 0 leaves labels without any meaning.
    seed
        Seed of the world, not of an atlas.

    Returns
    -------
    World

    Raises
    ------
    InputError
        For an unknown world, a negative strength or more genes than the pool has.

    Examples
    --------
    >>> make_world("ordered", n_genes=100).loadings.shape
    (100, 34)
    """
    pool = gene_pool()
    _check(name, n_genes, strength, len(pool))
    graph = StageGraph.hematopoiesis()
    kinds = _gene_kinds(pool, graph)
    rng = stream(seed, "world/genes")
    level, spread = np.array([BASE[kind] for kind in kinds]).T
    base = level + spread * rng.standard_normal(len(pool))
    dispersion = DISPERSION_MEDIAN * np.exp(DISPERSION_SD * rng.standard_normal(len(pool)))
    cell_types = tuple(UNRELATED_TYPES) if name == "unrelated" else graph.stages
    effects, profiles, latent = _programs(name, pool, kinds, graph, cell_types, n_genes, seed)
    loadings = strength * (effects.kept + effects.fading)
    module_names, modules = _modules(pool, kinds)
    return World(
        name=name,
        strength=float(strength),
        genes=pool[:n_genes],
        gene_program=_main_programs(pool[:n_genes], kinds, graph, cell_types, loadings, name),
        cell_types=cell_types,
        module_names=module_names,
        profiles=(base[:n_genes] + strength * profiles).astype(np.float32),
        loadings=loadings.T.astype(np.float32),
        latent=latent.astype(np.float32),
        modules=modules[:, :n_genes].astype(np.float32),
        tissue_effects=_tissue_effects(name, len(pool), n_genes, seed),
        dispersion=dispersion[:n_genes],
    )


def _check(name: str, n_genes: int, strength: float, n_pool: int) -> None:
    if name not in WORLDS:
        msg = f"There is no world {name!r}; choose one of {', '.join(WORLDS)}."
        raise InputError(msg)
    if not 1 <= n_genes <= n_pool:
        msg = f"{n_genes} genes were asked for; the pool has {n_pool}, so give a number from 1 to {n_pool}."
        raise InputError(msg)
    if not (np.isfinite(strength) and strength >= 0):
        msg = f"strength must be a finite number of at least 0, got {strength}."
        raise InputError(msg)


def _gene_kinds(pool: tuple[str, ...], graph: StageGraph) -> list[str]:
    markers = {gene for genes in gene_programs(graph).values() for gene in genes}
    nuisance = {gene for genes in gene_modules().values() for gene in genes}

    def kind(gene: str) -> str:
        if gene in markers:
            return "marker"
        if gene in nuisance:
            return "module"
        return "ribosomal" if _RIBOSOMAL.fullmatch(gene) else "other"

    return [kind(gene) for gene in pool]


def _programs(
    name: str,
    pool: tuple[str, ...],
    kinds: list[str],
    graph: StageGraph,
    cell_types: tuple[str, ...],
    n_genes: int,
    seed: int,
) -> tuple[Effects, np.ndarray, np.ndarray]:
    if name == "ordered":
        free = np.array([i for i, kind in enumerate(kinds) if kind == "other"])
        effects = ordered_effects(pool, free, graph, seed).first(n_genes)
        return effects, *ordered_activity(effects, graph)
    effects = unordered_effects(len(pool), cell_types, f"world/{name}", seed).first(n_genes)
    return effects, *unordered_activity(effects)


def _modules(pool: tuple[str, ...], kinds: list[str]) -> tuple[tuple[str, ...], np.ndarray]:
    index = {gene: i for i, gene in enumerate(pool)}
    modules = gene_modules()
    loadings = np.zeros((len(modules) + 1, len(pool)))
    for row, (name, genes) in enumerate(modules.items()):
        columns = [index[gene] for gene in genes if gene in index]
        loadings[row, columns] = CYCLE_LOADING if is_cycle(name) else MODULE_LOADING
    loadings[-1, [i for i, kind in enumerate(kinds) if kind == "ribosomal"]] = RIBOSOMAL_LOADING
    return (*modules, "translation"), loadings


def is_cycle(module: str) -> bool:
    """Whether a module belongs to the cell cycle, which a cell either runs or does not."""
    return module.endswith("phase")


def _tissue_effects(name: str, n_pool: int, n_genes: int, seed: int) -> dict[str, np.ndarray]:
    tissues = tuple(dict.fromkeys(UNRELATED_TYPES.values())) if name == "unrelated" else HEMATOPOIETIC_TISSUES
    return {t: TISSUE_SD * stream(seed, f"world/tissue/{t}").standard_normal(n_pool)[:n_genes] for t in tissues}


def _main_programs(
    genes: tuple[str, ...],
    kinds: list[str],
    graph: StageGraph,
    cell_types: tuple[str, ...],
    loadings: np.ndarray,
    world: str,
) -> tuple[str, ...]:
    """Name each gene's main program: a marker's stage or branch, a path, a cell type, a module, ribosomal or none."""
    ordered = world == "ordered"
    known: dict[str, str] = {}
    for programs in (gene_programs(graph) if ordered else {}, gene_modules()):
        for name, members in programs.items():
            for gene in members:
                known.setdefault(gene, name)

    def program(i: int, gene: str) -> str:
        strongest = int(np.abs(loadings[:, i]).argmax())
        if gene in known and (ordered or kinds[i] == "module"):
            return known[gene]
        if loadings[strongest, i] != 0:
            return f"path to {cell_types[strongest]}" if ordered else cell_types[strongest]
        return "ribosomal" if kinds[i] == "ribosomal" else "none"

    return tuple(program(i, gene) for i, gene in enumerate(genes))
