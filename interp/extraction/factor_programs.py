"""Which gene programs the factors of an operator read and write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interp.biology.enrichment import MIN_GENES, TESTED, enrich
from interp.biology.programs import marker_programs
from interp.extraction.factors import N_TOP, factor_genes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from interp.extraction.factors import Factors

# Shared genes of one sign from which on their sign is the program's.
ONE_POLE = 0.8
COLUMNS = (
    "factor", "side", "program", "n_list", "n_program", "n_overlap", "expected", "fold", "p", "q", "pole", "genes",
    "status", "reason",
)  # fmt: skip


def program_table_of(
    factors: Factors,
    programs: Mapping[str, Sequence[str]] | None = None,
    *,
    n_top: int = N_TOP,
    min_genes: int = MIN_GENES,
) -> pd.DataFrame:
    """Test every factor's read and write genes for programs, on the background of the panel's genes.

    Parameters
    ----------
    factors
        From `factors_of`.
    programs
        Name to genes; the project's signatures and modules by default, or those of a GMT file (`read_gmt`).
    n_top
        Genes of largest absolute loading a side.
    min_genes
        Genes that a program must have on the panel; smaller ones are skipped and say so.

    Returns
    -------
    pandas.DataFrame
        factor, side, program, n_list, n_program, n_overlap, expected, fold, p, q (over all tests of the table), pole
        (``+`` or ``-`` where at least 80 % of the shared genes have that sign in the factor, else ``both``; signs
        compare within one factor), genes, status, reason; strongest tests first. Programs skipped have one row.

    Examples
    --------
    >>> from interp.extraction.factors import Factors
    >>> genes = ("CD3D", "CD3E", "CD2", "LCK", *(f"G{i}" for i in range(40)))
    >>> read = np.r_[np.ones(4), np.zeros(40)][:, None]
    >>> found = program_table_of(Factors("one", genes, read, read), n_top=4)
    >>> found.loc[0, ["side", "program", "pole"]].tolist()
    ['read', 'T / lymphoid', '+']
    """
    programs = marker_programs() if programs is None else programs
    listed = factor_genes(factors, n_top)
    weights: dict[tuple[int, str], dict[str, float]] = {}
    for (factor, side), rows in listed.groupby(["factor", "side"], sort=True):
        # Of a gene in both blocks of a drift the larger loading counts, which stands first.
        weights[int(factor), str(side)] = dict(zip(rows["gene"][::-1], rows["weight"][::-1], strict=True))
    lists = {f"{factor}|{side}": list(genes) for (factor, side), genes in weights.items()}
    found = enrich(lists, programs, factors.genes, min_genes=min_genes)
    tested = (found["status"] == TESTED).to_numpy()
    keys = [(int(name.split("|")[0]), name.split("|")[1]) for name in found["list"][tested]]
    table = found.drop(columns="list")
    table["factor"] = pd.array([key[0] for key in keys] + [pd.NA] * int((~tested).sum()), dtype="Int64")
    table["side"] = [key[1] for key in keys] + [""] * int((~tested).sum())
    poles = [_pole(weights[key], genes) for key, genes in zip(keys, found["genes"][tested], strict=True)]
    table["pole"] = poles + [""] * int((~tested).sum())
    table = table.sort_values(["p", "factor", "side"], kind="stable", na_position="last")
    return table.reset_index(drop=True)[list(COLUMNS)]


def _pole(weights: Mapping[str, float], genes: str) -> str:
    signs = np.sign([weights[gene] for gene in genes.split(";") if gene])
    if not len(signs):
        return ""
    share = float((signs > 0).mean())
    return "+" if share >= ONE_POLE else "-" if share <= 1 - ONE_POLE else "both"
