"""What a compact algorithm reads out of latents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interp.errors import InputError
from interp.extraction.runner import algorithm as runner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, repr=False)
class Predictions(runner.Algorithm):
    """The part of `CompactAlgorithm` that works on latents and gene names alone."""

    def coverage(self, genes: Sequence[str]) -> float:
        """Share of the map's weight, the norm of a gene's row of M times its training sd, that the genes carry."""
        return runner.find(self, genes)[1]

    def predict_stage(self, latents: NDArray) -> NDArray:
        """Likeliest stage, (cell,), of latents (cell, latent); InputError when there is no such readout."""
        return self.predict("stage", latents)

    def predict_branch(self, latents: NDArray) -> NDArray:
        """Likeliest branch, (cell,), of latents (cell, latent); InputError when there is no such readout."""
        return self.predict("branch", latents)

    def predict(self, readout: str, latents: NDArray) -> NDArray:
        """Apply one readout.

        Parameters
        ----------
        readout
            Its name, such as ``"CD4/CD8"``.
        latents
            (cell, latent).

        Returns
        -------
        numpy.ndarray
            Likeliest class (cell,) of str, or value (cell,) of float.

        Raises
        ------
        InputError
            The algorithm has no such readout.
        """
        return self._readout(readout).predict(np.asarray(latents))

    def predict_proba(self, readout: str, latents: NDArray) -> NDArray:
        """Probabilities of a readout's classes, calibrated on held-out donors where the algorithm could be.

        Parameters
        ----------
        readout
            Its name, such as ``"stage"``.
        latents
            (cell, latent).

        Returns
        -------
        numpy.ndarray
            (cell, class), in the order of ``readouts[readout].classes``; as if all classes were as frequent.

        Raises
        ------
        InputError
            The algorithm has no such readout, or it reads a value and no classes.
        """
        if not self._readout(readout).classes:
            msg = f"The readout {readout!r} reads a value and has no classes; take predict({readout!r}, latents)."
            raise InputError(msg)
        return self.readouts[readout].predict_proba(np.asarray(latents))

    def pseudotime(self, latents: NDArray) -> NDArray:
        """Arc distance from the root stage's centroid, in hops of the ruler, (cell,), of latents (cell, latent)."""
        return runner.pseudotime(self, np.asarray(latents))

    def geodesic_pseudotime(self, latents: NDArray) -> NDArray:
        """Geodesic distance from the root stage's centroid over the graph of the latents (cell, latent), (cell,)."""
        from interp.geometry import geodesic_pseudotime

        return geodesic_pseudotime(np.asarray(latents), self.centroid)

    def _readout(self, name: str) -> runner.Readout:
        if name not in self.readouts:
            msg = f"The algorithm has no readout {name!r}; it has {', '.join(sorted(self.readouts)) or 'none'}."
            raise InputError(msg)
        return self.readouts[name]
