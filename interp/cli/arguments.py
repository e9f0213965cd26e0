"""Arguments that several verbs share: which files hold the cells, and which columns say what."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interp.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from anndata import AnnData

LIST_OPTIONS = ("--cells", "--external", "--negative", "--sites", "--genes", "--donors", "--sd", "--target", "--heads")

Donor = Annotated[str, typer.Option(help="obs column that names the donor.")]
Tissue = Annotated[str, typer.Option(help="obs column that names the tissue.")]
CellType = Annotated[str, typer.Option(help="obs column that names the cell type.")]
Study = Annotated[
    str,
    typer.Option(help="obs column that names the study; the file's name where it is missing."),
]
Replicate = Annotated[
    list[str] | None,
    typer.Option(help="obs column of replicates such as plates, where a file has it; never a unit of statistics."),
]  # fmt: skip
TotalCounts = Annotated[
    list[str] | None,
    typer.Option(help="obs column with the counts over all genes, where a file was cut to fewer."),
]  # fmt: skip
GeneKey = Annotated[
    list[str] | None,
    typer.Option(help="var column with gene symbols, where var_names hold ids."),
]


def spread_lists(words: Sequence[str], options: Collection[str]) -> list[str]:
    """Allow `--cells A B C`: repeat the option before each value that follows it.

    Examples
    --------
    >>> spread_lists(["x", "--cells", "A", "B", "--out", "C"], ["--cells"])
    ['x', '--cells', 'A', '--cells', 'B', '--out', 'C']
    """
    spread: list[str] = []
    current, fresh = None, False
    for word in words:
        if word.startswith("-"):
            current, fresh = (word if word in options else None), True
            spread.append(word)
        else:
            if current and not fresh:
                spread.append(current)
            spread.append(word)
            fresh = False
    return spread


def read_panel(paths: Sequence[Path], columns: dict[str, Any], *, require_stages: bool = True) -> AnnData:
    """Read h5ad files as one panel; optional columns count where a file has them.

    Parameters
    ----------
    paths
        The files.
    columns
        `donor`, `tissue`, `cell_type`, `study` (names) and `replicate`, `total_counts`, `gene_key` (lists of names);
        `layer` (a name) where the counts do not stand in X.

    Raises
    ------
    InputError
        A file is missing, or lacks a required column.
    """
    from interp.cells import read_cells

    optional: dict[str, Any] = {name: [] for name in ("study", "replicate", "total_counts", "gene_key")}
    for path in paths:
        present = {"obs": _columns(path, "obs"), "var": _columns(path, "var")}
        for name, chosen in optional.items():
            wanted = columns.get(name) or []
            wanted = [wanted] if isinstance(wanted, str) else wanted
            there = present["var" if name == "gene_key" else "obs"]
            chosen.append(next((column for column in wanted if column in there), None))
    required = {name: columns[name] for name in ("donor", "tissue", "cell_type")}
    return read_cells(list(paths), **required, **optional, layer=columns.get("layer"), require_stages=require_stages)


def _columns(path: Path, frame: str) -> set[str]:
    import h5py

    if not path.is_file():
        msg = f"there is no file {path}; give h5ad files"
        raise InputError(msg)
    try:
        with h5py.File(path) as file:
            return set(file[frame])
    except (OSError, KeyError) as error:
        msg = f"{path} is not an h5ad file ({error})"
        raise InputError(msg) from error
