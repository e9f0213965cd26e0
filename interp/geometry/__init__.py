"""Pure measurements of latent geometry: neighbourhoods and pseudotime."""

from interp.geometry.neighbourhoods import trustworthiness
from interp.geometry.pseudotime import geodesic_pseudotime

__all__ = ["geodesic_pseudotime", "trustworthiness"]
