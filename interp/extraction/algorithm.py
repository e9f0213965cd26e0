"""The compact algorithm: what was extracted from the model as one matrix with its readouts, in one folder."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp.errors import InputError, IntegrityError
from interp.extraction.assembly import arrays, assemble, n_parameters, plain
from interp.extraction.naming import ensembl_ids
from interp.extraction.predictions import Predictions
from interp.extraction.runner import algorithm as runner
from interp.runs.hashes import sha256_arrays

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import ArrayLike, NDArray
    from scipy import sparse

    from interp.extraction.let import LetFit
    from interp.extraction.operators import Operator
    from interp.extraction.typical import TypicalFit

# Names that `transform` writes under (design, AnnData out).
X_KEY, PSEUDOTIME_KEY, STAGE_KEY, OOD_KEY = "X_interp", "interp_pseudotime", "interp_stage", "interp_ood"


@dataclass(frozen=True, eq=False, repr=False)
class CompactAlgorithm(Predictions):
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
        Readouts by name: ``stage``, ``branch``, ``depth`` and pairs of cell types.
    target_sum
        Total that counts are scaled to.
    min_coverage
        Share of the map's weight that the genes of given cells must carry.
    manifest
        Name, operator, provenance, metrics and verdict; what `manifest.json` holds.
    ensembl
        Ensembl ids of the genes, (gene,), "" where unknown; nothing when none is known.
    typical
        What the out-of-distribution score is made of; None when there is no score.

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
        typical: TypicalFit | None = None,
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
        typical
            The out-of-distribution score, from `interp.extraction.typical.fit_typical`; None leaves it out.
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
                typical=typical,
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
        X: NDArray | sparse.spmatrix,
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
            Gene symbols, or Ensembl ids where the algorithm knows them, (gene,); genes of the algorithm that are
            missing stand at their training mean.
        total_counts
            Counts of each cell over all its genes, (cell,); default the row sums of X.
        min_coverage
            Share of the map's weight that the genes must carry; default the algorithm's own.

        Returns
        -------
        numpy.ndarray
            (cell, latent) float64, equal to 1e-12 whatever the storage of X.

        Raises
        ------
        InputError
            Not raw counts, empty cells, duplicate genes, or too few of the algorithm's genes.
        """
        from interp.extraction.measure import measure

        return measure(self, X, genes, total_counts, min_coverage=min_coverage).z

    def outlying(
        self,
        X: NDArray | sparse.spmatrix,
        genes: Sequence[str],
        total_counts: ArrayLike | None = None,
        *,
        min_coverage: float | None = None,
    ) -> NDArray:
        """Say how far raw counts are from those of the training cells; parameters and errors as in `latents`.

        Returns
        -------
        numpy.ndarray
            Out-of-distribution score (cell,), 0 to 1: the share of training cells of held-out donors that are less
            surprising (`interp.extraction.typical`). InputError when the algorithm was exported without one.
        """
        from interp.extraction.measure import measure

        found = measure(self, X, genes, total_counts, min_coverage=min_coverage).ood
        if found is None:
            msg = f"The algorithm {self.name!r} has no out-of-distribution score; export it again to add one."
            raise InputError(msg)
        return found

    def transform(
        self,
        cells: AnnData | str | os.PathLike[str],
        *,
        out: str | os.PathLike[str] | None = None,
        key_added: str = X_KEY,
        pseudotime_key: str = PSEUDOTIME_KEY,
        stage_key: str | None = STAGE_KEY,
        ood_key: str | None = OOD_KEY,
        geodesic_key: str | None = None,
        gene_key: str | None = None,
        layer: str | None = None,
        total_counts: str | ArrayLike | None = None,
        min_coverage: float | None = None,
        skip_empty: bool = False,
        copy: bool = True,
    ) -> AnnData:
        """Add latents, pseudotime, stage and an out-of-distribution score to cells.

        Parameters
        ----------
        cells
            Raw counts; any AnnData, what `read_cells` returns, or the path of an h5ad file. The counts of a file, and
            of a backed AnnData, pass in chunks and are never held together.
        out
            h5ad file to write for a path: all that the file holds, and the results.
        key_added
            Latents (cell, latent) go to ``obsm[key_added]``.
        pseudotime_key
            Arc distance from the root stage's centroid goes to ``obs[pseudotime_key]``, in hops of the ruler. A cell
            gets the same value in any company.
        stage_key
            Likeliest stage goes to ``obs[stage_key]``; nothing is written when the algorithm has no stage readout.
        ood_key
            Out-of-distribution score goes to ``obs[ood_key]``: 0.99 is more surprising than 99 % of the training
            cells of held-out donors. Nothing is written when the algorithm has no score.
        geodesic_key
            If given, geodesic pseudotime over the graph of these very cells goes to ``obs[geodesic_key]``; it depends
            on the cells it is computed with.
        gene_key
            Column of ``var`` with gene symbols or Ensembl ids; default the names of ``var``.
        layer
            Layer with the raw counts; default X.
        total_counts
            Column of ``obs``, or an array (cell,), with the counts of each cell over all its genes. Default: what
            `read_cells` recorded, else the sums of the given counts.
        min_coverage
            Share of the map's weight that the genes must carry; default the algorithm's own.
        skip_empty
            Give cells without any count NaN and no stage, instead of refusing them.
        copy
            Return a copy; otherwise the cells themselves are changed and returned.

        Returns
        -------
        anndata.AnnData
            The cells, for a path without their counts; ``uns["interp"]["algorithm"]`` says which algorithm it was and
            what it found of its genes.

        Raises
        ------
        InputError
            Not raw counts, empty cells, duplicate genes, missing columns, or too few of the algorithm's genes.
        """
        from interp.extraction.transform import Reading, annotate, annotate_file

        keys = {"latent": key_added, "pseudotime": pseudotime_key, "stage": stage_key, "ood": ood_key}
        keys |= {"geodesic": geodesic_key}
        reading = Reading(gene_key, layer, total_counts, min_coverage, skip_empty)
        if isinstance(cells, str | os.PathLike):
            return annotate_file(self, cells, keys=keys, reading=reading, out=out)
        if out is not None:
            msg = "out= is for cells given as the path of an h5ad file; write an AnnData with write_h5ad."
            raise InputError(msg)
        return annotate(self, cells, keys=keys, reading=reading, copy=copy)

    def with_ensembl(self, table: Mapping[str, str] | pd.Series) -> CompactAlgorithm:
        """Return the same algorithm with Ensembl ids beside its genes, so that cells may be named by either.

        Parameters
        ----------
        table
            Symbol to Ensembl id, such as ``adata.var["gene_ids"]`` of a panel whose names are symbols; versions are
            taken off.

        Returns
        -------
        CompactAlgorithm
            Save it to keep the ids.

        Raises
        ------
        InputError
            The table knows none of the genes.
        """
        ids = ensembl_ids(self.genes, dict(table))
        if not ids:
            msg = f"The table holds no Ensembl id (ENSG...) of the genes, such as {self.genes[0]}; give symbol -> id."
            raise InputError(msg)
        manifest = {**self.manifest, "ensembl": [name or None for name in ids]}
        return replace(self, ensembl=ids, manifest=manifest)

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
        """Numbers that each part stores, and ``all``; see `interp.extraction.assembly.n_parameters`."""
        return n_parameters(self)

    @property
    def sha256(self) -> str:
        """Hash of everything that the outputs depend on."""
        ids = {"ensembl": self.ensembl} if self.ensembl else {}
        return sha256_arrays(genes=self.genes, **ids, **self.arrays())

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
        return arrays(self)
