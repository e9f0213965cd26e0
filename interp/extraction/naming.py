"""What genes look like that are not the algorithm's: hints for people who gave other names than it knows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from interp.extraction.runner.algorithm import Algorithm

# Ensembl gene ids with or without a version; the letters before the G name the organism, and human ids have none.
ENSEMBL = re.compile(r"ENS([A-Z]{0,4})G\d{11}(\.\d+)?")
# From this share of the names on, what they look like is worth saying.
TELLING_SHARE = 0.3
# From this share of its entries on, a column holds Ensembl ids, some genes of which may be without one.
MOST = 0.5


def bare(name: str) -> str:
    """Return an Ensembl id without its version, and any other name as it is.

    Examples
    --------
    >>> bare("ENSG00000102145.15"), bare("RP11-206L10.2")
    ('ENSG00000102145', 'RP11-206L10.2')
    """
    return name.partition(".")[0] if ENSEMBL.fullmatch(name) else name


def gene_hint(algorithm: Algorithm, names: Sequence[str], var: pd.DataFrame | None = None) -> str:
    """Say what genes look like that an algorithm does not know.

    Parameters
    ----------
    algorithm
        The algorithm.
    names
        The genes given.
    var
        Their other columns, one of which may hold what is wanted.

    Returns
    -------
    str
        One sentence, or nothing when nothing is conspicuous.
    """
    known = {*algorithm.genes, *filter(None, algorithm.ensembl)}
    held = len(known & {bare(name) for name in names})
    if var is not None:
        better = {key: len(known & {bare(str(name)) for name in var[key]}) for key in var.columns}
        best = max(better, key=better.__getitem__, default=None)
        if best is not None and better[best] > held:
            return f"The var column {best!r} holds {better[best]:,} of them; give gene_key={best!r}."
    ids = [match for match in map(ENSEMBL.fullmatch, names) if match]
    if len(ids) > TELLING_SHARE * len(names):
        return _about_ids(algorithm, next((match for match in ids if match[1]), ids[0]))
    upper = {name.upper(): name for name in names if name not in known and name.upper() in known}
    if upper and len(upper) > TELLING_SHARE * (len(algorithm.genes) - held):
        human, given = next(iter(upper.items()))
        return (
            f"The genes look like mouse symbols (such as {given}, human {human}): map them to human one-to-one "
            "orthologs and give these."
        )
    if sum(name.isdigit() for name in names) > TELLING_SHARE * len(names):
        return (
            "The genes are bare numbers (row numbers or Entrez ids); gene_key= names the var column with the symbols."
        )
    return ""


def ensembl_ids(genes: Sequence[str], table: Mapping[str, str]) -> tuple[str, ...]:
    """Look up the Ensembl ids of genes.

    Parameters
    ----------
    genes
        Symbols, (gene,).
    table
        Symbol to id; versions are taken off, and what is no human gene id is left out.

    Returns
    -------
    tuple of str
        Ids, (gene,), "" where unknown; nothing when none is known.
    """
    found = [bare(str(table.get(gene, ""))) for gene in genes]
    ids = tuple(name if name.startswith("ENSG") and ENSEMBL.fullmatch(name) else "" for name in found)
    return ids if any(ids) else ()


def ensembl_table(var: pd.DataFrame) -> dict[str, str]:
    """Find a column of Ensembl ids beside gene names.

    Parameters
    ----------
    var
        One row per gene, named by symbol.

    Returns
    -------
    dict
        Symbol to id, of the first column most of whose entries are human Ensembl gene ids; empty when there is none.
    """
    for column in var.columns:
        ids = var[column].astype(str)
        if ids.str.match(r"ENSG\d{11}").mean() > MOST:
            return dict(zip(var.index.astype(str), ids, strict=True))
    return {}


def _about_ids(algorithm: Algorithm, example: re.Match[str]) -> str:
    if example[1]:
        return f"The genes are Ensembl ids of another organism (such as {example[0]}); map them to human orthologs."
    advice = "gene_key= names the var column that holds symbols"
    if algorithm.ensembl:
        return f"The genes are Ensembl ids (such as {example[0]}), few of them this algorithm's; {advice}."
    return (
        f"The genes are Ensembl ids (such as {example[0]}), and this algorithm knows symbols alone: {advice}, or "
        "CompactAlgorithm.with_ensembl adds ids to the algorithm from a table of yours."
    )
