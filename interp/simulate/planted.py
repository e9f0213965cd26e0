"""Small planted cells for calibrating the evidence: weak lineage programs under strong nuisance programs.

Nuisance varies from anchor to anchor (dissociation, cell cycle, interferon, depth), so it survives the mean over cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interp.biology import StageGraph
from interp.errors import InputError
from interp.runs.seeds import stream

if TYPE_CHECKING:
    from collections.abc import Sequence

# Eight stages of four branches, at 0 to 4 hops.
STAGES = ("HSC", "CMP", "GMP", "neutrophil", "MEP", "erythroblast", "CLP", "NK")
# Sd over genes of log base expression, and over cells of log library size (droplet data; `interp.simulate.donors`).
BASE_SD, LIBRARY_SD = 0.7, 0.3


@dataclass(frozen=True)
class PlantedSizes:
    """How large planted cells are, and how strong what is in them.

    Attributes
    ----------
    n_donors, n_genes
        Donors and genes.
    stages
        Stages of the graph.
    stages_each
        Stages that each donor has, drawn anew per donor.
    cells_each
        Cells of each donor and stage.
    lineage_genes
        Genes that carry the tree; all others carry nuisance.
    lineage
        Sd over those genes of the effect of one edge of the tree on log expression.
    n_nuisance, nuisance
        Nuisance programs, and the sd over genes and anchors of what they add up to, on log expression.
    within
        The same between the cells of one anchor.
    counts
        Mean counts per cell and gene.
    """

    n_donors: int = 15
    n_genes: int = 400
    stages: tuple[str, ...] = STAGES
    stages_each: int = 3
    cells_each: int = 6
    lineage_genes: int = 12
    lineage: float = 0.5
    n_nuisance: int = 80
    nuisance: float = 1.2
    within: float = 0.4
    counts: float = 12.0


@dataclass(frozen=True)
class PlantedCells:
    """Planted cells and their truth.

    Attributes
    ----------
    counts
        int64 (cell, gene).
    donor, stage
        Names, (cell,).
    genes
        Names, (gene,).
    lineage
        Effect of every edge of the tree on log expression, float64 (gene, edge).
    nuisance
        The same of every nuisance program at an activity of 1, float64 (gene, program).
    """

    counts: np.ndarray
    donor: np.ndarray
    stage: np.ndarray
    genes: tuple[str, ...]
    lineage: np.ndarray
    nuisance: np.ndarray

    @property
    def detected(self) -> np.ndarray:
        """Which genes are tokens, bool (cell, gene)."""
        return self.counts > 0


def planted_cells(sizes: PlantedSizes | None = None, *, seed: int = 0) -> PlantedCells:
    """Draw a world and its cells.

    Parameters
    ----------
    sizes
        How large and how strong.
    seed
        Seed of the programs, the donors and the counts.

    Returns
    -------
    PlantedCells
        Sorted by donor, then by stage.

    Raises
    ------
    InputError
        A stage is unknown, or a donor cannot have so many.

    Examples
    --------
    >>> cells = planted_cells(PlantedSizes(n_donors=2, n_genes=20, stages_each=4, cells_each=3))
    >>> cells.counts.shape, cells.lineage.shape
    ((24, 20), (20, 8))
    """
    sizes = sizes or PlantedSizes()
    paths = _paths(sizes.stages)
    n_genes, n_edges, n_marks = sizes.n_genes, paths.shape[1], sizes.lineage_genes
    if not (1 <= sizes.stages_each <= len(sizes.stages) and n_edges <= n_marks <= n_genes):
        msg = (
            f"stages_each is {sizes.stages_each} of {len(sizes.stages)} stages, and {n_marks} of {n_genes} genes carry "
            f"{n_edges} edges; give each donor one stage or more, and at least as many lineage genes as edges."
        )
        raise InputError(msg)
    rng = stream(seed, "simulate.planted")
    base = BASE_SD * rng.standard_normal(n_genes)
    lineage, nuisance = np.zeros((n_genes, n_edges)), np.zeros((n_genes, sizes.n_nuisance))
    # No two edges alike, so that stages which are further apart in the tree differ more.
    axes = np.linalg.qr(rng.standard_normal((n_marks, n_edges)))[0]
    lineage[:n_marks] = sizes.lineage * np.sqrt(n_marks) * axes
    drawn = rng.standard_normal((n_genes - n_marks, sizes.n_nuisance))
    nuisance[n_marks:] = sizes.nuisance / np.sqrt(sizes.n_nuisance) * drawn
    own = sizes.within / sizes.nuisance if sizes.nuisance else 0.0
    counts, donors, stages = [], [], []
    for donor in range(sizes.n_donors):
        for stage in np.sort(rng.choice(len(sizes.stages), sizes.stages_each, replace=False)):
            shared = rng.standard_normal(sizes.n_nuisance)
            activity = shared + own * rng.standard_normal((sizes.cells_each, sizes.n_nuisance))
            share = np.exp(base + lineage @ paths[stage] + activity @ nuisance.T)
            share /= share.sum(axis=1, keepdims=True)
            library = n_genes * sizes.counts * np.exp(LIBRARY_SD * rng.standard_normal((sizes.cells_each, 1)))
            counts.append(rng.poisson(library * share))
            donors += [f"donor{donor:02d}"] * sizes.cells_each
            stages += [sizes.stages[stage]] * sizes.cells_each
    genes = tuple(f"gene{i:03d}" for i in range(n_genes))
    return PlantedCells(np.concatenate(counts), np.array(donors), np.array(stages), genes, lineage, nuisance)


def _paths(stages: Sequence[str]) -> np.ndarray:
    """Return which edges lead to each stage, float64 (stage, edge); edges that no stage lies beyond are left out."""
    graph = StageGraph.hematopoiesis()
    if unknown := [stage for stage in stages if stage not in graph.stages]:
        msg = f"Not stages of the graph: {unknown}; choose from {', '.join(graph.stages)}."
        raise InputError(msg)
    above = [set(graph.path(stage)) - {graph.root} for stage in stages]
    edges = [stage for stage in graph.stages if any(stage in path for path in above)]
    return np.array([[float(edge in path) for edge in edges] for path in above])
