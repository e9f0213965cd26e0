"""Effects of gene programs on log expression, and how far each is switched on along the paths of a world."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from interp.biology import StageGraph
from interp.biology.programs import gene_programs
from interp.runs.seeds import stream

# Effects on log expression, chosen by hand: a marker rises some ten-fold, a gene of a path program six-fold.
MARKER_EFFECT, PATH_EFFECT, EFFECT_SD = 2.4, 1.8, 0.35
PATH_GENES_ON, PATH_GENES_OFF = 28, 14  # per edge of the tree, drawn from the genes that mark nothing
STAGE_DECAY, STEM_DECAY = 0.35, 0.6  # share left one hop down: of a stage's own markers, of the stem program
UNORDERED_GENES = 60  # genes per program and 1,000 genes where cell types share no ancestry
ONSET_RANGE, ONSET_SLOPE = (0.2, 0.8), 12.0  # where along an edge genes switch, and how sharply
N_POSITIONS = 64  # grid of positions along an edge


@dataclass(frozen=True)
class Effects:
    """Effects of programs on log expression, one program per cell type; all arrays float64 (program, gene).

    ``kept`` stays with all descendants, ``fading`` is multiplied by ``decay`` at every hop further down, ``onset`` is
    the position along the edge at which the gene switches.
    """

    kept: np.ndarray
    fading: np.ndarray
    decay: np.ndarray
    onset: np.ndarray

    def first(self, n_genes: int) -> Effects:
        """Return the effects on the first genes only."""
        cut = (array[:, :n_genes] for array in (self.kept, self.fading, self.decay, self.onset))
        return Effects(*cut)


def positions() -> np.ndarray:
    """Return the grid of positions along an edge, float64 (position,), from the parent (0) to the stage (1)."""
    return (np.arange(N_POSITIONS) + 0.5) / N_POSITIONS


def ordered_effects(pool: tuple[str, ...], free: np.ndarray, graph: StageGraph, seed: int) -> Effects:
    """Draw programs that follow the tree.

    Known markers of a stage fade below it, those of a branch are kept below its entry, and every edge gets a path
    program of genes drawn from `free`, kept below it.

    Parameters
    ----------
    pool
        Symbols of all genes.
    free
        int64 (free gene,): indices of the genes that mark nothing.
    graph
        The stage graph.
    seed
        Seed of the world.

    Returns
    -------
    Effects
        One program per stage of the graph.
    """
    rng = stream(seed, "world/ordered")
    index = {gene: i for i, gene in enumerate(pool)}
    row = {stage: i for i, stage in enumerate(graph.stages)}
    shape = (len(graph), len(pool))
    kept, fading, decay = np.zeros(shape), np.zeros(shape), np.full(shape, STAGE_DECAY)
    for program, genes in gene_programs(graph).items():
        columns = np.array([index[gene] for gene in genes if gene in index], dtype=np.int64)
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
    for stage in graph.stages:
        chosen = rng.choice(free, PATH_GENES_ON + PATH_GENES_OFF, replace=False)
        sign = np.repeat([1.0, -1.0], [PATH_GENES_ON, PATH_GENES_OFF])
        if stage != graph.root:
            kept[row[stage], chosen] = sign * (PATH_EFFECT + EFFECT_SD * rng.standard_normal(len(chosen)))
    return Effects(kept, fading, decay, rng.uniform(*ONSET_RANGE, shape))


def _entries(graph: StageGraph, branch: str) -> list[str]:
    """Stages at which a branch begins."""
    above = {s: graph.parent(s) for s in graph.stages if graph.branch(s) == branch}
    return [s for s, parent in above.items() if parent is None or graph.branch(parent) != branch]


def unordered_effects(n_genes: int, types: tuple[str, ...], purpose: str, seed: int) -> Effects:
    """Draw one unrelated program per cell type."""
    rng = stream(seed, purpose)
    shape = (len(types), n_genes)
    kept = np.zeros(shape)
    for row in range(len(types)):
        chosen = rng.choice(n_genes, UNORDERED_GENES * n_genes // 1000, replace=False)
        sign = rng.choice([1.0, 1.0, -1.0], len(chosen))
        kept[row, chosen] = sign * (MARKER_EFFECT + EFFECT_SD * rng.standard_normal(len(chosen)))
    return Effects(kept, np.zeros(shape), np.ones(shape), rng.uniform(*ONSET_RANGE, shape))


def switched_on(onset: np.ndarray) -> np.ndarray:
    """Return the share of the effect reached, (position, gene), scaled to 0 at the parent and 1 at the stage."""
    at = 1 / (1 + np.exp(-ONSET_SLOPE * (positions()[:, None] - onset)))
    low, high = 1 / (1 + np.exp(ONSET_SLOPE * onset)), 1 / (1 + np.exp(-ONSET_SLOPE * (1 - onset)))
    return (at - low) / (high - low)


def ordered_activity(effects: Effects, graph: StageGraph) -> tuple[np.ndarray, np.ndarray]:
    """Return what every stage shows along the edge that leads to it, in the order of the graph's stages.

    Returns
    -------
    np.ndarray
        float64 (stage, position, gene): change of log expression.
    np.ndarray
        float64 (stage, position, program): progress along the edge above each stage, 1 for all edges passed.
    """
    row = {stage: i for i, stage in enumerate(graph.stages)}
    at = positions()
    profiles = np.zeros((len(graph), N_POSITIONS, effects.kept.shape[1]))
    latent = np.zeros((len(graph), N_POSITIONS, len(graph)))
    for stage, i in row.items():
        for up, ancestor in enumerate(graph.path(stage)[-2::-1]):
            a = row[ancestor]
            profiles[i] += effects.kept[a] + effects.fading[a] * effects.decay[a] ** (up + at[:, None])
            latent[i, :, a] = 1.0
        own = np.ones_like(at)[:, None] if stage == graph.root else switched_on(effects.onset[i])
        profiles[i] += own * (effects.kept[i] + effects.fading[i])
        latent[i, :, i] = 1.0 if stage == graph.root else at
    return profiles, latent


def unordered_activity(effects: Effects) -> tuple[np.ndarray, np.ndarray]:
    """Return the same as `ordered_activity` when every cell type hangs straight under one common state."""
    profiles = np.stack([switched_on(onset) * kept for onset, kept in zip(effects.onset, effects.kept, strict=True)])
    latent = np.einsum("tu,p->tpu", np.eye(len(effects.kept)), positions())
    return profiles, latent
