"""Pure measurements of latent geometry: neighbourhoods, distances, rank correlations, dimension, pseudotime."""
