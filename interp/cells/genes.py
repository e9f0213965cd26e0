"""Which genes of a panel a vocabulary knows."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from interp.cells.names import some
from interp.errors import InputError, VocabularyError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

# Below this share of matched genes (of the smaller of panel and vocabulary) the ids or the organism are wrong.
MIN_MATCHED = 0.2
# From this share of the missing genes on, what they look like is worth saying.
TELLING_SHARE = 0.3
SHOWN = 5
# ENSG00000167286, ENSMUSG..., with or without a version (Ensembl stable ids).
ENSEMBL = re.compile(r"ENS[A-Z]{0,4}G\d{11}(\.\d+)?")
# Mouse symbols have a capital first letter only (MGI nomenclature): Cd3d.
MOUSE = re.compile(r"[A-Z][a-z0-9\-]*[a-z][a-z0-9\-]*")


@dataclass(frozen=True)
class GeneMatch:
    """How the genes of a panel met a vocabulary.

    Attributes
    ----------
    matched
        Gene of the panel to symbol of the vocabulary.
    missing
        Genes that the vocabulary does not hold.
    ambiguous
        Symbols that several genes of the panel claim, with these genes; they are not matched.
    fraction
        Matched genes / min(genes of the panel, genes of the vocabulary).
    count_share
        Share of all counts that fall on matched genes; NaN when the counts were not given.
    hint
        What the missing genes look like, empty when nothing is conspicuous.
    """

    matched: dict[str, str]
    missing: tuple[str, ...]
    ambiguous: dict[str, tuple[str, ...]]
    fraction: float
    count_share: float
    hint: str = field(default="", repr=False)


def match_genes(
    genes: Iterable[str],
    vocabulary_genes: Collection[str],
    *,
    counts_per_gene: Sequence[float] | np.ndarray | None = None,
    table: Mapping[str, str] | None = None,
    minimum: float = MIN_MATCHED,
) -> GeneMatch:
    """Match the genes of a panel to a vocabulary by exact name; neither case nor aliases are guessed.

    Parameters
    ----------
    genes
        Genes of the panel: symbols, or keys of `table`.
    vocabulary_genes
        Symbols of the vocabulary.
    counts_per_gene
        Total counts, (gene,), for the share of counts.
    table
        Gene id to symbol, for ids that are no symbols; Ensembl versions (``.5``) are ignored.
    minimum
        Smallest fraction accepted; 0 accepts any.

    Returns
    -------
    GeneMatch

    Raises
    ------
    InputError
        `counts_per_gene` has another length than `genes`.
    VocabularyError
        Fewer genes match than `minimum`, with what the names look like.

    Examples
    --------
    >>> match = match_genes(["CD34", "GATA1", "XYZ"], ["CD34", "GATA1", "SPI1"])
    >>> match.missing, round(match.fraction, 2)
    (('XYZ',), 0.67)
    """
    names = [str(gene) for gene in genes]
    known = frozenset(vocabulary_genes)
    symbols = _symbols(names, table)
    claims: dict[str, list[str]] = defaultdict(list)
    for name, symbol in zip(names, symbols, strict=True):
        if symbol in known:
            claims[symbol].append(name)
    matched = {claimants[0]: symbol for symbol, claimants in claims.items() if len(claimants) == 1}
    missing = tuple(name for name, symbol in zip(names, symbols, strict=True) if symbol not in known)
    smaller = min(len(names), len(known))
    match = GeneMatch(
        matched=matched,
        missing=missing,
        ambiguous={symbol: tuple(claimants) for symbol, claimants in claims.items() if len(claimants) > 1},
        fraction=len(matched) / smaller if smaller else 0.0,
        count_share=_count_share(names, matched, counts_per_gene),
        hint=_hint(missing, known),
    )
    if match.fraction < minimum:
        raise VocabularyError(_too_few(match, names, known, minimum))
    return match


def _symbols(names: list[str], table: Mapping[str, str] | None) -> list[str]:
    if table is None:
        return names
    bare = {_unversioned(key): symbol for key, symbol in table.items()}
    return [bare.get(_unversioned(name), name) for name in names]


def _unversioned(name: str) -> str:
    return name.split(".", 1)[0] if ENSEMBL.fullmatch(name) else name


def _count_share(names: list[str], matched: Mapping[str, str], counts: Sequence[float] | np.ndarray | None) -> float:
    if counts is None:
        return float("nan")
    per_gene = np.asarray(counts, dtype=np.float64).ravel()
    if len(per_gene) != len(names):
        msg = f"counts_per_gene has {len(per_gene)} entries for {len(names)} genes; give one number per gene"
        raise InputError(msg)
    total = per_gene.sum()
    inside = np.fromiter((name in matched for name in names), bool, len(names))
    return float(per_gene[inside].sum() / total) if total > 0 else float("nan")


def _hint(missing: Sequence[str], known: frozenset[str]) -> str:
    if not missing:
        return ""
    n = len(missing)
    if sum(ENSEMBL.fullmatch(gene) is not None for gene in missing) > TELLING_SHARE * n:
        return (
            f"the missing genes look like Ensembl ids (such as {missing[0]!r}) and the vocabulary holds symbols: "
            "name the var column with the symbols, as in read_cells(..., gene_key='feature_name')"
        )
    upper = [gene for gene in missing if MOUSE.fullmatch(gene) and gene.upper() in known]
    if len(upper) > TELLING_SHARE * n:
        return (
            f"the missing genes look like mouse symbols (such as {upper[0]!r}, human {upper[0].upper()!r}): map them "
            "to human one-to-one orthologs first, and put these into a var column for gene_key="
        )
    if sum(gene.isdigit() for gene in missing) > TELLING_SHARE * n:
        return (
            "the missing genes are bare numbers (row numbers or Entrez ids): name the var column with the gene "
            "symbols, as in read_cells(..., gene_key='symbol')"
        )
    return ""


def _too_few(match: GeneMatch, names: Sequence[str], known: frozenset[str], minimum: float) -> str:
    advice = match.hint or (
        "check that these are human gene symbols such as 'CD3D'; a var column that holds them is named with gene_key="
    )
    ambiguous = f", {len(match.ambiguous)} symbols are claimed by several genes" if match.ambiguous else ""
    return (
        f"only {len(match.matched):,} of {len(names):,} genes are among the {len(known):,} genes of the vocabulary"
        f"{ambiguous}: {match.fraction:.1%} of the smaller of the two, at least {minimum:.0%} expected. "
        f"The first genes are {some(names, SHOWN)}; {advice}"
    )
