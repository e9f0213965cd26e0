"""The compact algorithm: what was extracted from the model as one matrix with its readouts, in one folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.errors import InputError, IntegrityError
from interp.extraction.assembly import assemble, plain
from interp.extraction.runner import algorithm as runner
from interp.runs.hashes import sha256_arrays

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import ArrayLike, NDArray
    from scipy import sparse

    from interp.extraction.let import LetFit
    from interp.extraction.operators import Operator

# Names that `transform` writes under (design, AnnData out).
X_KEY, PSEUDOTIME_KEY, STAGE_KEY = "X_interp", "interp_pseudotime", "interp_stage"


@dataclass(frozen=True, eq=False, repr=False)
class CompactAlgorithm(runner.Algorithm):
    """Raw counts to latents, stage, branch and pseudotime, without the model it was taken from.

    Made by `build`, or `load`; `save` writes a folder that also runs on NumPy and safetensors alone.

    Attributes
    ----------
    genes
        Gene symbols, (gene,).
    M, c
        z = log1p(counts / total * target_sum) M + c; M (gene, latent) float32, c (latent,) float64.
    beta
        Hops of the ruler per radian between latents.
    centroid
        Mean latent of the root stage's training anchors, (latent,).
    gene_mean, gene_sd
        Mean and sd of the training cells' expression, (gene,) float32.
    readouts
        Linear readouts by name: ``stage``, ``branch``, ``depth`` and pairs of cell types.
    target_sum
        Total that counts are scaled to.
    min_coverage
        Share of the map's weight that the genes of given cells must carry.
    manifest
        Name, operator, provenance, metrics and verdict; what `manifest.json` holds.

    Examples
    --------
    >>> algorithm = CompactAlgorithm.load("hematopoiesis-mini")  # doctest: +SKIP
    >>> cells = algorithm.transform(cells)  # doctest: +SKIP
    >>> cells.obsm["X_interp"], cells.obs["interp_pseudotime"]  # doctest: +SKIP
    """

    @classmethod
    def build(
        cls,
        name: str,
        operator: Operator,
        fit: LetFit,
        *,
        expression: NDArray | sparse.csr_matrix,
        readouts: Mapping[str, runner.Readout],
        root: tuple[str, NDArray],
        provenance: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
        verdict: Mapping[str, Any] | None = None,
    ) -> CompactAlgorithm:
        """Fold operator and adaptor and put all parts together.

        Parameters
        ----------
        name
            What the algorithm is called.
        operator, fit
            The operator and the adaptor fitted on its features.
        expression
            The training cells' expression, (cell, gene of the operator): gives means and sds of the genes.
        readouts
            From `fit_readouts`.
        root
            Stage and centroid (latent,) that pseudotime starts from, from `root_centroid`.
        provenance
            Model, panel, seed and versions; no times, so that equal inputs give equal bytes.
        metrics
            Name to a number, or to ``{"value", "lo", "hi", ...}``.
        verdict
            Endpoint to its verdict, or any mapping with a ``status``.

        Returns
        -------
        CompactAlgorithm
            The very numbers that `save` writes.

        Raises
        ------
        InputError
            Parts that do not fit each other, or that are not finite.
        """
        return cls(
            **assemble(
                name,
                operator,
                fit,
                expression=expression,
                readouts=readouts,
                root=root,
                described={"provenance": provenance or {}, "metrics": metrics or {}, "verdict": verdict or {}},
            )
        )

    @classmethod
    def load(cls, name_or_folder: str | os.PathLike[str]) -> CompactAlgorithm:
        """Read an algorithm that ships with the package, or one from a folder; nothing in the folder is executed.

        Parameters
        ----------
        name_or_folder
            Such as ``"hematopoiesis-mini"``, or a path.

        Returns
        -------
        CompactAlgorithm
            The algorithm, checked against its manifest.

        Raises
        ------
        InputError
            There is neither such a folder nor such a name.
        IntegrityError
            A file is missing, broken, changed since it was written, or of another schema.
        """
        from interp.runs.artifacts import artifact_folder

        folder = Path(name_or_folder)
        if not folder.is_dir():
            folder = artifact_folder(str(name_or_folder))
        try:
            loaded = runner.load(folder)
        except runner.FolderError as error:
            raise IntegrityError(str(error)) from error
        return cls(**vars(loaded))

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the folder: arrays, manifest, model card and the single-file runner; equal algorithms, equal bytes.

        Parameters
        ----------
        folder
            Where it shall stand; an algorithm that stands there is replaced as a whole.

        Returns
        -------
        pathlib.Path
            The folder.

        Raises
        ------
        InputError
            Something that is no algorithm stands there.
        """
        from interp.extraction.export import write_algorithm

        return write_algorithm(self, folder)

    def latents(
        self,
        X: NDArray | sparse.csr_matrix,
        genes: Sequence[str],
        total_counts: ArrayLike | None = None,
        *,
        min_coverage: float | None = None,
    ) -> NDArray:
        """Map raw counts to latents.

        Parameters
        ----------
        X
            Raw counts, (cell, gene), dense or sparse.
        genes
            Gene symbols, (gene,); genes of the algorithm that are missing stand at their training mean.
        total_counts
            Counts of each cell over all its genes, (cell,); default the row sums of X.
        min_coverage
            Share of the map's weight that the genes must carry; default the algorithm's own.

        Returns
        -------
        numpy.ndarray
            (cell, latent) float64, the same whatever the storage of X.

        Raises
        ------
        InputError
            Not raw counts, empty cells, duplicate genes, or too few of the algorithm's genes.
        """
        from interp.extraction.transform import latents_of

        return latents_of(self, X, genes, total_counts, min_coverage=min_coverage)

    def transform(
        self,
        cells: AnnData,
        *,
        key_added: str = X_KEY,
        pseudotime_key: str = PSEUDOTIME_KEY,
        stage_key: str = STAGE_KEY,
        geodesic_key: str | None = None,
        gene_key: str | None = None,
        layer: str | None = None,
        total_counts: str | ArrayLike | None = None,
        min_coverage: float | None = None,
        copy: bool = True,
    ) -> AnnData:
        """Add latents, pseudotime and stage to cells.

        Parameters
        ----------
        cells
            Raw counts; any AnnData, or what `read_cells` returns.
        key_added
            Latents (cell, latent) go to ``obsm[key_added]``.
        pseudotime_key
            Arc distance from the root stage's centroid goes to ``obs[pseudotime_key]``, in hops of the ruler. A cell
            gets the same value in any company.
        stage_key
            Likeliest stage goes to ``obs[stage_key]``; nothing is written when the algorithm has no stage readout.
        geodesic_key
            If given, geodesic pseudotime over the graph of these very cells goes to ``obs[geodesic_key]``; it depends
            on the cells it is computed with.
        gene_key
            Column of ``var`` with gene symbols; default the names of ``var``.
        layer
            Layer with the raw counts; default X.
        total_counts
            Column of ``obs``, or an array (cell,), with the counts of each cell over all its genes. Default: what
            `read_cells` recorded, else the sums of the given counts.
        min_coverage
            Share of the map's weight that the genes must carry; default the algorithm's own.
        copy
            Return a copy; otherwise the cells themselves are changed and returned.

        Returns
        -------
        anndata.AnnData
            The cells; ``uns["interp"]["algorithm"]`` says which algorithm it was and what it found of its genes.

        Raises
        ------
        InputError
            Not raw counts, empty cells, duplicate genes, missing columns, or too few of the algorithm's genes.
        """
        from interp.extraction.transform import annotate

        keys = {"latent": key_added, "pseudotime": pseudotime_key, "stage": stage_key, "geodesic": geodesic_key}
        return annotate(
            self,
            cells,
            keys=keys,
            gene_key=gene_key,
            layer=layer,
            total_counts=total_counts,
            min_coverage=min_coverage,
            copy=copy,
        )

    def __repr__(self) -> str:
        n_genes, n_latent = self.M.shape
        readouts = ", ".join(sorted(self.readouts)) or "none"
        return f"CompactAlgorithm({self.name!r}, {n_genes:,} genes, {n_latent} latents, readouts: {readouts})"

    @property
    def name(self) -> str:
        """What the algorithm is called."""
        return str(self.manifest.get("name", ""))

    @property
    def n_parameters(self) -> dict[str, int]:
        """Numbers that each part stores: the map (M and c), the centroid with beta, and every readout."""
        parts = {"map": self.M.size + self.c.size, "pseudotime": self.centroid.size + 1}
        return parts | {name: readout.n_parameters for name, readout in sorted(self.readouts.items())}

    @property
    def sha256(self) -> str:
        """Hash of everything that the outputs depend on."""
        return sha256_arrays(genes=self.genes, **self.arrays())

    def described(self, **parts: Mapping[str, Any]) -> CompactAlgorithm:
        """Return the same algorithm with other ``metrics``, ``verdict`` or ``provenance`` in its manifest.

        Raises
        ------
        InputError
            Another part of the manifest is named; those follow from the arrays.
        """
        fixed = sorted(parts.keys() - {"metrics", "verdict", "provenance"})
        if fixed:
            msg = f"Only metrics, verdict and provenance can be described anew; given: {', '.join(fixed)}."
            raise InputError(msg)
        return replace(self, manifest={**self.manifest, **plain(parts)})

    def arrays(self) -> dict[str, NDArray]:
        """All arrays by the name they are saved under; shapes as in the class, ``beta`` (1,)."""
        return runner.arrays(self)

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
        if readout not in self.readouts:
            msg = f"The algorithm has no readout {readout!r}; it has {', '.join(sorted(self.readouts)) or 'none'}."
            raise InputError(msg)
        return self.readouts[readout].predict(np.asarray(latents))

    def pseudotime(self, latents: NDArray) -> NDArray:
        """Arc distance from the root stage's centroid, in hops of the ruler, (cell,), of latents (cell, latent)."""
        return runner.pseudotime(self, np.asarray(latents))

    def geodesic_pseudotime(self, latents: NDArray) -> NDArray:
        """Geodesic distance from the root stage's centroid over the graph of the latents (cell, latent), (cell,)."""
        from interp.geometry import geodesic_pseudotime

        return geodesic_pseudotime(np.asarray(latents), self.centroid)
