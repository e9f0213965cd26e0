"""Pure measurements of latent geometry: neighbourhoods, rank correlations, dimension and pseudotime."""

from interp.geometry.agreement import PAIR_KINDS, Agreement, ruler_agreement
from interp.geometry.correlation import residual_correlation, ruler_correlation
from interp.geometry.dimension import participation_ratio
from interp.geometry.distances import METRICS, angles, point_distances
from interp.geometry.measured import Measured
from interp.geometry.neighbourhoods import Neighbourhoods, continuity, neighbourhoods, trustworthiness
from interp.geometry.permutation import BlockedP, blocked_permutation
from interp.geometry.pseudotime import geodesic_pseudotime

__all__ = [
    "METRICS",
    "PAIR_KINDS",
    "Agreement",
    "BlockedP",
    "Measured",
    "Neighbourhoods",
    "angles",
    "blocked_permutation",
    "continuity",
    "geodesic_pseudotime",
    "neighbourhoods",
    "participation_ratio",
    "point_distances",
    "residual_correlation",
    "ruler_agreement",
    "ruler_correlation",
    "trustworthiness",
]
