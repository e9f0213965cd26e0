"""Which gene programs the factors of an operator read and write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interp.biology.enrichment import MIN_GENES, TESTED, enrich
from interp.biology.programs import marker_programs
from interp.extraction.factors import N_TOP, SIDES, factor_genes
from interp.runs.seeds import stream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from interp.extraction.factors import Factors

# Shared genes of one sign from which on their sign is the program's.
ONE_POLE = 0.8
# Random bases; of rank 64 they hold 1,280 factors, so a share is known to within 0.03 (95 %).
N_ROTATIONS = 20
COLUMNS = (
    "factor", "side", "program", "n_list", "n_program", "n_overlap", "expected", "fold", "p", "q", "rotated_share",
    "pole", "genes", "status", "reason",
)  # fmt: skip


def program_table_of(
    factors: Factors,
    programs: Mapping[str, Sequence[str]] | None = None,
    *,
    n_top: int = N_TOP,
    min_genes: int = MIN_GENES,
    n_rotations: int = N_ROTATIONS,
    seed: int = 0,
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
    n_rotations
        Random bases of what the factors span that are looked at beside; 0 for none.
    seed
        Seed of the bases.

    Returns
    -------
    pandas.DataFrame
        factor, side, program, n_list, n_program, n_overlap, expected, fold, p, q (over all tests of the table);
        rotated_share (of random mixtures of the factors' loadings, each scaled to length one, the share that holds as
        many genes of the program on that side: genes that load on many factors come up in any basis, and then the
        factor says nothing of its own); pole (``+`` or ``-`` where at least 80 % of the shared genes have that sign in
        the factor, else ``both``; signs compare within one factor), genes, status, reason; strongest tests first.
        Programs skipped have one row.

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
    table["rotated_share"] = _rotated_share(factors, table, programs, n_top, n_rotations, seed)
    poles = [_pole(weights[key], genes) for key, genes in zip(keys, found["genes"][tested], strict=True)]
    table["pole"] = poles + [""] * int((~tested).sum())
    table = table.sort_values(["p", "factor", "side"], kind="stable", na_position="last")
    return table.reset_index(drop=True)[list(COLUMNS)]


def _rotated_share(
    factors: Factors, table: pd.DataFrame, programs: Mapping[str, Sequence[str]], n_top: int, n: int, seed: int
) -> NDArray[np.float64]:
    """Share of random bases' factors with as many genes of each row's program among their largest, (row,)."""
    from scipy.stats import ortho_group

    rng, size = stream(seed, "factor programs"), len(factors)
    names = list(programs)
    member = np.array([np.isin(factors.genes, list(programs[name])) for name in names], dtype=np.int64)
    found: dict[str, list[NDArray]] = {side: [] for side in SIDES}
    for _ in range(n if size > 1 else 0):
        rotation = ortho_group.rvs(size, random_state=rng)
        for side, loadings in zip(SIDES, (factors.read, factors.write), strict=True):
            length = np.linalg.norm(loadings, axis=0)
            top = np.argsort(-np.abs((loadings / np.where(length > 0, length, 1.0)) @ rotation), axis=0)[:n_top] % len(
                factors.genes
            )
            listed = np.zeros((len(factors.genes), size), dtype=np.int64)
            np.put_along_axis(listed, top, 1, axis=0)
            found[side].append(member @ listed)  # (program, factor)
    shared = {side: np.hstack(each) for side, each in found.items() if each}
    return np.array([
        (shared[side][names.index(program)] >= n_overlap).mean() if side in shared else np.nan
        for side, program, n_overlap in zip(table["side"], table["program"], table["n_overlap"], strict=True)
    ])  # fmt: skip


def _pole(weights: Mapping[str, float], genes: str) -> str:
    signs = np.sign([weights[gene] for gene in genes.split(";") if gene])
    if not len(signs):
        return ""
    share = float((signs > 0).mean())
    return "+" if share >= ONE_POLE else "-" if share <= 1 - ONE_POLE else "both"
