"""What the toolkit knows of hematopoiesis: the stage graph, its rulers, label synonyms and gene programs."""

from interp.biology.enrichment import enrich
from interp.biology.gmt import read_gmt
from interp.biology.programs import gene_pool, gene_programs, marker_programs
from interp.biology.rulers import Ruler, read_ruler, sensitivity_rulers
from interp.biology.stages import Stage, StageGraph
from interp.biology.synonyms import map_labels

__all__ = [
    "Ruler",
    "Stage",
    "StageGraph",
    "enrich",
    "gene_pool",
    "gene_programs",
    "map_labels",
    "marker_programs",
    "read_gmt",
    "read_ruler",
    "sensitivity_rulers",
]
