"""Pure measurements of latent geometry: neighbourhoods, rulers, permutations, dimension, shape and embeddings."""

from interp.geometry.agreement import PAIR_KINDS, Agreement, ruler_agreement
from interp.geometry.correlation import nuisance_correlation, residual_correlation, ruler_correlation
from interp.geometry.dimension import levina_bickel, participation_ratio, two_nn
from interp.geometry.distances import METRICS, angles, point_distances
from interp.geometry.embeddings import diffusion_map, geodesic_mds, isomap, pca
from interp.geometry.measured import Measured
from interp.geometry.neighbourhoods import Neighbourhoods, continuity, neighbourhoods, trustworthiness
from interp.geometry.permutation import BlockedP, blocked_permutation
from interp.geometry.pseudotime import geodesic_pseudotime
from interp.geometry.separation import Separation, branch_separation
from interp.geometry.shape import curvature, flatness

__all__ = [
    "METRICS",
    "PAIR_KINDS",
    "Agreement",
    "BlockedP",
    "Measured",
    "Neighbourhoods",
    "Separation",
    "angles",
    "blocked_permutation",
    "branch_separation",
    "continuity",
    "curvature",
    "diffusion_map",
    "flatness",
    "geodesic_mds",
    "geodesic_pseudotime",
    "isomap",
    "levina_bickel",
    "neighbourhoods",
    "nuisance_correlation",
    "participation_ratio",
    "pca",
    "point_distances",
    "residual_correlation",
    "ruler_agreement",
    "ruler_correlation",
    "trustworthiness",
    "two_nn",
]
