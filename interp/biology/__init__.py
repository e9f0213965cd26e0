"""What the toolkit knows of hematopoiesis: the stage graph, its rulers, label synonyms and gene programs."""

from interp.biology.programs import gene_pool, gene_programs
from interp.biology.rulers import Ruler, read_ruler, sensitivity_rulers
from interp.biology.stages import Stage, StageGraph
from interp.biology.synonyms import map_labels

__all__ = [
    "Ruler",
    "Stage",
    "StageGraph",
    "gene_pool",
    "gene_programs",
    "map_labels",
    "read_ruler",
    "sensitivity_rulers",
]
