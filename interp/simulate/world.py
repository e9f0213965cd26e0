"""The biology of a simulated world: which genes every stage switches on or off, the same for every seed of its atlases."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from interp.biology import StageGraph, gene_pool
from interp.biology.programs import gene_modules, gene_programs
from interp.errors import InputError
from interp.runs.seeds import stream

WORLDS = ("ordered", "labels-only", "unrelated")
WORLD_SEED = 2603  # fixes gene programs; atlases of any seed share them, so a model trained on one seed knows the others

# Effects on log expression. Chosen so that stages are as far apart as in sorted blood cells: a marker rises some
# ten-fold, a gene of a path program five-fold.
MARKER_EFFECT, PATH_EFFECT, EFFECT_SD = 2.4, 1.8, 0.35
PATH_GENES_ON, PATH_GENES_OFF = 28, 14  # per edge of the tree, drawn from the genes that mark nothing
STAGE_DECAY, STEM_DECAY = 0.35, 0.6  # share of a stage's own markers, and of the stem program, left one hop further down
UNORDERED_GENES = 60  # genes per program where cell types share no ancestry
ONSET_RANGE, ONSET_SLOPE = (0.2, 0.8), 12.0  # where along an edge genes switch, and how sharply
N_POSITIONS = 64  # grid of positions along an edge

# Mean and sd of log base expression per class of gene.
BASE = {"marker": (-2.0, 0.7), "module": (-1.4, 0.7), "ribosomal": (2.0, 0.4), "other": (-0.4, 1.2)}
MODULE_LOADING, RIBOSOMAL_LOADING, CYCLE_LOADING = 0.7, 0.25, 2.0
TISSUE_SD = 0.2
DISPERSION_MEDIAN, DISPERSION_SD = 6.0, 0.4  # shape of the gamma noise per gene

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
_RIBOSOMAL = re.compile(r"RP[LS]\d+[AXY]?|RPLP[012]|RPSA")


@dataclass(frozen=True)
class World:
    """Everything that does not depend on the seed of an atlas.

    Attributes
    ----------
    profiles
        float32 (cell type, position, gene): log expression, constant per cell left out.
    loadings
        float32 (gene, program): effect of each program on log expression, strength included.
    latent
        float32 (cell type, position, program): how far each program is switched on.
    modules
        float32 (module, gene): loadings of the processes that have nothing to do with cell type.
    tissue_effects
        One float64 (gene,) array per tissue.
    dispersion
        float64 (gene,): shape of the gamma noise.
    """

    name: str
    strength: float
    genes: tuple[str, ...]
    gene_program: tuple[str, ...]
    cell_types: tuple[str, ...]
    programs: tuple[str, ...]
    module_names: tuple[str, ...]
    profiles: np.ndarray
    loadings: np.ndarray
    latent: np.ndarray
    modules: np.ndarray
    tissue_effects: dict[str, np.ndarray]
    dispersion: np.ndarray


@dataclass(frozen=True)
class _Effects:
    """Effects per program (program, gene): kept by all descendants, and fading by ``decay`` per hop."""

    kept: np.ndarray
    fading: np.ndarray
    decay: np.ndarray  # (program, gene)
    onset: np.ndarray  # (program, gene)


def positions() -> np.ndarray:
    """Return the grid of positions along an edge, float64 (position,), from the parent (0) to the stage (1)."""
    return (np.arange(N_POSITIONS) + 0.5) / N_POSITIONS


def make_world(name: str = "ordered", *, n_genes: int = 1000, strength: float = 1.0, seed: int = WORLD_SEED) -> World:
    """Build the gene programs of a world.

    Parameters
    ----------
    name
        ``"ordered"``: programs follow the stage graph. ``"labels-only"``: every stage has a program of its own, related
        to no other. ``"unrelated"``: cell types that are not hematopoietic, programs likewise unrelated.
    n_genes
        How many genes of the pool take part; a gene's role does not depend on it.
    strength
        Factor on all effects of stages on log expression; 0 leaves labels without any meaning.
    seed
        Seed of the world, not of an atlas.

    Returns
    -------
    World

    Raises
    ------
    InputError
        For an unknown world, a negative strength or more genes than the pool has.
    """
    pool = gene_pool()
    _check(name, n_genes, strength, len(pool))
    graph = StageGraph.hematopoiesis()
    kinds = _gene_kinds(pool, graph)
    rng = stream(seed, "world/genes")
    base = np.array([BASE[kind][0] + BASE[kind][1] * z for kind, z in zip(kinds, rng.standard_normal(len(pool)), strict=True)])
    dispersion = DISPERSION_MEDIAN * np.exp(DISPERSION_SD * rng.standard_normal(len(pool)))
    module_names, modules = _modules(pool, kinds)
    if name == "ordered":
        types = graph.stages
        effects = _ordered_effects(pool, kinds, graph, seed)
        activity = _ordered_activity
    else:
        types = graph.stages if name == "labels-only" else tuple(UNRELATED_TYPES)
        effects = _unordered_effects(len(pool), types, name, seed)
        activity = _unordered_activity
    keep = slice(0, n_genes)
    effects = _Effects(effects.kept[:, keep], effects.fading[:, keep], effects.decay[:, keep], effects.onset[:, keep])
    profiles, latent = activity(effects, types, graph)
    tissues = ("marrow", "blood", "thymus") if name != "unrelated" else tuple(dict.fromkeys(UNRELATED_TYPES.values()))
    shifts = {t: TISSUE_SD * stream(seed, f"world/tissue/{t}").standard_normal(len(pool))[keep] for t in tissues}
    loadings = strength * (effects.kept + effects.fading)
    return World(
        name=name,
        strength=float(strength),
        genes=pool[:n_genes],
        gene_program=_name_programs(pool[:n_genes], kinds, graph, types, loadings, name),
        cell_types=types,
        programs=types,
        module_names=module_names,
        profiles=(base[keep] + strength * profiles).astype(np.float32),
        loadings=loadings.T.astype(np.float32),
        latent=latent.astype(np.float32),
        modules=modules[:, keep].astype(np.float32),
        tissue_effects=shifts,
        dispersion=dispersion[keep],
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
    kinds = []
    for gene in pool:
        if gene in markers:
            kinds.append("marker")
        elif gene in nuisance:
            kinds.append("module")
        else:
            kinds.append("ribosomal" if _RIBOSOMAL.fullmatch(gene) else "other")
    return kinds


def _modules(pool: tuple[str, ...], kinds: list[str]) -> tuple[tuple[str, ...], np.ndarray]:
    index = {gene: i for i, gene in enumerate(pool)}
    modules = gene_modules()
    loadings = np.zeros((len(modules) + 1, len(pool)))
    for row, (name, genes) in enumerate(modules.items()):
        columns = [index[gene] for gene in genes if gene in index]
        loadings[row, columns] = CYCLE_LOADING if name.endswith("phase") else MODULE_LOADING
    loadings[-1, [i for i, kind in enumerate(kinds) if kind == "ribosomal"]] = RIBOSOMAL_LOADING
    return (*modules, "translation"), loadings


def _entries(graph: StageGraph, branch: str) -> list[str]:
    """Stages at which a branch begins."""
    above = {s: graph.parent(s) for s in graph.stages if graph.branch(s) == branch}
    return [s for s, parent in above.items() if parent is None or graph.branch(parent) != branch]


def _ordered_effects(pool: tuple[str, ...], kinds: list[str], graph: StageGraph, seed: int) -> _Effects:
    rng = stream(seed, "world/ordered")
    index = {gene: i for i, gene in enumerate(pool)}
    row = {stage: i for i, stage in enumerate(graph.stages)}
    shape = (len(graph), len(pool))
    kept, fading, decay = np.zeros(shape), np.zeros(shape), np.full(shape, STAGE_DECAY)
    for program, genes in gene_programs(graph).items():
        columns = np.array([index[gene] for gene in genes if gene in index])
        effect = MARKER_EFFECT + EFFECT_SD * rng.standard_normal(len(columns))
        if program in row:
            fading[row[program], columns] = effect
            continue
        for stage in _entries(graph, program):
            if stage == graph.root:
                fading[row[stage], columns] = effect
                decay[row[stage], columns] = STEM_DECAY
            else:
                kept[row[stage], columns] = effect
    free = np.array([i for i, kind in enumerate(kinds) if kind == "other"])
    for stage in graph.stages:
        chosen = rng.choice(free, PATH_GENES_ON + PATH_GENES_OFF, replace=False)
        sign = np.repeat([1.0, -1.0], [PATH_GENES_ON, PATH_GENES_OFF])
        if stage != graph.root:
            kept[row[stage], chosen] = sign * (PATH_EFFECT + EFFECT_SD * rng.standard_normal(len(chosen)))
    return _Effects(kept, fading, decay, rng.uniform(*ONSET_RANGE, shape))


def _unordered_effects(n_genes: int, types: tuple[str, ...], name: str, seed: int) -> _Effects:
    rng = stream(seed, f"world/{name}")
    shape = (len(types), n_genes)
    kept = np.zeros(shape)
    for row in range(len(types)):
        chosen = rng.choice(n_genes, UNORDERED_GENES * n_genes // 1000, replace=False)
        sign = rng.choice([1.0, 1.0, -1.0], len(chosen))
        kept[row, chosen] = sign * (MARKER_EFFECT + EFFECT_SD * rng.standard_normal(len(chosen)))
    return _Effects(kept, np.zeros(shape), np.ones(shape), rng.uniform(*ONSET_RANGE, shape))


def _switched_on(onset: np.ndarray) -> np.ndarray:
    """Share of the effect reached, (position, gene), scaled to 0 at the parent and 1 at the stage."""
    at = 1 / (1 + np.exp(-ONSET_SLOPE * (positions()[:, None] - onset)))
    low, high = 1 / (1 + np.exp(ONSET_SLOPE * onset)), 1 / (1 + np.exp(-ONSET_SLOPE * (1 - onset)))
    return (at - low) / (high - low)


def _ordered_activity(effects: _Effects, types: tuple[str, ...], graph: StageGraph) -> tuple[np.ndarray, np.ndarray]:
    """Log effects (cell type, position, gene) and progress (cell type, position, program) along the paths from the root."""
    row = {stage: i for i, stage in enumerate(graph.stages)}
    at = positions()
    profiles = np.zeros((len(types), N_POSITIONS, effects.kept.shape[1]))
    latent = np.zeros((len(types), N_POSITIONS, len(types)))
    for stage in types:
        i = row[stage]
        path = graph.path(stage)
        for up, ancestor in enumerate(path[-2::-1]):
            a = row[ancestor]
            profiles[i] += effects.kept[a] + effects.fading[a] * effects.decay[a] ** (up + at[:, None])
            latent[i, :, a] = 1.0
        own = np.ones_like(at)[:, None] if stage == graph.root else _switched_on(effects.onset[i])
        profiles[i] += own * (effects.kept[i] + effects.fading[i])
        latent[i, :, i] = 1.0 if stage == graph.root else at
    return profiles, latent


def _unordered_activity(effects: _Effects, types: tuple[str, ...], graph: StageGraph) -> tuple[np.ndarray, np.ndarray]:
    """Like ``_ordered_activity`` when every type hangs straight under one common state."""
    del graph
    profiles = np.stack([_switched_on(onset) * kept for onset, kept in zip(effects.onset, effects.kept, strict=True)])
    latent = np.einsum("tu,p->tpu", np.eye(len(types)), positions())
    return profiles, latent


def _name_programs(
    genes: tuple[str, ...], kinds: list[str], graph: StageGraph, types: tuple[str, ...], loadings: np.ndarray, world: str
) -> tuple[str, ...]:
    """Name each gene's main program: a marker's stage or branch, a module, ribosomal, a path, or none."""
    known: dict[str, str] = {}
    markers = gene_programs(graph) if world == "ordered" else {}
    for programs in (markers, gene_modules()):
        for name, members in programs.items():
            for gene in members:
                known.setdefault(gene, name)
    names = []
    for i, gene in enumerate(genes):
        strongest = int(np.abs(loadings[:, i]).argmax())
        if gene in known and (world == "ordered" or kinds[i] == "module"):
            names.append(known[gene])
        elif loadings[strongest, i] != 0:
            names.append(f"path to {types[strongest]}" if world == "ordered" else types[strongest])
        else:
            names.append("ribosomal" if kinds[i] == "ribosomal" else "none")
    return tuple(names)
