"""One function per figure: Axes in, Axes out; `save` writes png and pdf, `style` is the common look."""

from interp.figures.ablation import ablation_bars, gradient_scatter, redundancy_matrix
from interp.figures.adaptors import adaptor_curves, adaptor_sweep
from interp.figures.attribution import attribution_forest
from interp.figures.chain import compaction_chain
from interp.figures.controls import controls_forest
from interp.figures.distances import distance_ruler
from interp.figures.effects import effects_board, effects_forest
from interp.figures.factors import factor_impact, factor_loadings, impact_concentration
from interp.figures.files import save
from interp.figures.gates import gate_board
from interp.figures.heads import head_heatmap
from interp.figures.layers import layer_curve
from interp.figures.look import BRANCH_COLOURS, branch_colours, donor_looks, study_markers, style
from interp.figures.manifold import latent_manifold
from interp.figures.manifold3d import latent_manifold_3d
from interp.figures.nulls import null_distribution
from interp.figures.power import power_curve
from interp.figures.tokens import attention_pattern, cell_tokens
from interp.figures.training import learning_curve

__all__ = [
    "BRANCH_COLOURS",
    "ablation_bars",
    "adaptor_curves",
    "adaptor_sweep",
    "attention_pattern",
    "attribution_forest",
    "branch_colours",
    "cell_tokens",
    "compaction_chain",
    "controls_forest",
    "distance_ruler",
    "donor_looks",
    "effects_board",
    "effects_forest",
    "factor_impact",
    "factor_loadings",
    "gate_board",
    "gradient_scatter",
    "head_heatmap",
    "impact_concentration",
    "latent_manifold",
    "latent_manifold_3d",
    "layer_curve",
    "learning_curve",
    "null_distribution",
    "power_curve",
    "redundancy_matrix",
    "save",
    "study_markers",
    "style",
]
