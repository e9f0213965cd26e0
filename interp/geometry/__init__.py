"""Pure measurements of latent geometry: neighbourhoods, rank correlations, dimension and pseudotime."""

from interp.geometry.correlation import residual_correlation, ruler_correlation
from interp.geometry.dimension import participation_ratio
from interp.geometry.measured import Measured
from interp.geometry.neighbourhoods import Neighbourhoods, continuity, neighbourhoods, trustworthiness
from interp.geometry.pseudotime import geodesic_pseudotime

__all__ = [
    "Measured",
    "Neighbourhoods",
    "continuity",
    "geodesic_pseudotime",
    "neighbourhoods",
    "participation_ratio",
    "residual_correlation",
    "ruler_correlation",
    "trustworthiness",
]
