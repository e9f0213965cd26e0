"""Pure measurements of latent geometry: neighbourhoods, rank correlations, dimension and pseudotime."""

from interp.geometry.correlation import Measured, residual_correlation, ruler_correlation
from interp.geometry.dimension import participation_ratio
from interp.geometry.neighbourhoods import trustworthiness
from interp.geometry.pseudotime import geodesic_pseudotime

__all__ = [
    "Measured",
    "geodesic_pseudotime",
    "participation_ratio",
    "residual_correlation",
    "ruler_correlation",
    "trustworthiness",
]
