"""Over-representation of gene programs in lists of genes, against the genes that could have been listed; offline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from interp.errors import InputError
from interp.stats import benjamini_hochberg

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# Genes of a program that the background must hold; with two, one lucky gene decides.
MIN_GENES = 3
TESTED, SKIPPED = "tested", "skipped"
COLUMNS = (
    "list", "program", "n_list", "n_program", "n_overlap", "expected", "fold", "p", "q", "genes", "status", "reason",
)  # fmt: skip


def enrich(
    lists: Mapping[str, Sequence[str]],
    programs: Mapping[str, Sequence[str]],
    background: Iterable[str],
    *,
    min_genes: int = MIN_GENES,
) -> pd.DataFrame:
    """Test whether programs are over-represented in gene lists, by the hypergeometric distribution (gseapy).

    Programs are cut to the background first. Every pair of a list and a program that is large enough is a test, also
    where they share nothing, and all tests together are corrected for their number.

    Parameters
    ----------
    lists
        Name to genes; genes outside the background are an error.
    programs
        Name to genes (`interp.biology.programs.marker_programs`, `read_gmt`).
    background
        The genes that could have been listed: the panel's.
    min_genes
        Genes that a program must have in the background; smaller ones are skipped.

    Returns
    -------
    pandas.DataFrame
        list, program, n_list, n_program (in the background), n_overlap, expected (by chance), fold (overlap over
        expected), p (as much overlap or more), q (Benjamini-Hochberg over all tests), genes (those shared, joined by
        ``;``), status (``tested``, ``skipped``) and reason; skipped programs have one row, without a list.

    Raises
    ------
    InputError
        A list is empty or holds genes outside the background.

    Examples
    --------
    >>> genes = [f"G{i}" for i in range(100)]
    >>> found = enrich({"factor 0": genes[:8]}, {"program": genes[:6]}, genes)
    >>> int(found.n_overlap[0]), bool(found.p[0] < 1e-6)
    (6, True)
    """
    panel = list(dict.fromkeys(map(str, background)))
    known = set(panel)
    asked = {name: _checked(name, genes, known) for name, genes in lists.items()}
    cut = {name: [gene for gene in dict.fromkeys(genes) if gene in known] for name, genes in programs.items()}
    usable = {name: genes for name, genes in cut.items() if len(genes) >= min_genes}
    rows = []
    for name, genes in asked.items():
        p = _hypergeometric(genes, usable, panel)
        mine = set(genes)
        for program, members in usable.items():
            shared = [gene for gene in members if gene in mine]
            expected = len(genes) * len(members) / len(panel)
            sizes = (len(genes), len(members), len(shared), expected, len(shared) / expected)
            rows.append((name, program, *sizes, p[program], float("nan"), ";".join(shared), TESTED, ""))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table["q"] = benjamini_hochberg(table["p"].to_numpy(dtype=float))
    left_out = [
        (None, name, *([float("nan")] * 7), "", SKIPPED, _too_small(len(genes), len(programs[name]), min_genes))
        for name, genes in cut.items()
        if name not in usable
    ]
    return pd.concat([table, pd.DataFrame(left_out, columns=list(COLUMNS))], ignore_index=True) if left_out else table


def _hypergeometric(
    genes: list[str], programs: Mapping[str, Sequence[str]], background: Sequence[str]
) -> dict[str, float]:
    """P of as many shared genes or more, by program; 1 where none is shared."""
    mine = set(genes)
    p = dict.fromkeys(programs, 1.0)
    # gseapy logs an error where nothing is shared, and names a library that is not a mapping on the network.
    sharing = {name: list(members) for name, members in programs.items() if mine.intersection(members)}
    if sharing:
        import gseapy

        found = gseapy.enrich(gene_list=genes, gene_sets=sharing, background=list(background), outdir=None, cutoff=1.0)
        p.update(zip(found.results["Term"], found.results["P-value"].astype(float), strict=True))
    return p


def _checked(name: str, genes: Sequence[str], known: set[str]) -> list[str]:
    unique = list(dict.fromkeys(map(str, genes)))
    strange = [gene for gene in unique if gene not in known]
    if not unique or strange:
        what = f"{len(strange)} genes outside the background ({', '.join(strange[:5])})" if strange else "no genes"
        msg = f"The list {name!r} holds {what}; give genes of the panel, and the whole panel as the background."
        raise InputError(msg)
    return unique


def _too_small(n: int, n_all: int, min_genes: int) -> str:
    return f"{n} of its {n_all} genes are on the panel; at least {min_genes} are needed"
