"""Gene sets from GMT files: one set a line, its name, a description and its genes, between tabs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from interp.errors import InputError

if TYPE_CHECKING:
    import os


def read_gmt(path: str | os.PathLike[str]) -> dict[str, tuple[str, ...]]:
    """Read gene sets, such as those of MSigDB.

    Parameters
    ----------
    path
        Text file; on each line a name, a description (may be empty) and genes, between tabs. Empty lines are left out,
        and so are empty fields at the end of a line.

    Returns
    -------
    dict of str to tuple of str
        Name to genes, each gene once, in the order of the file.

    Raises
    ------
    InputError
        There is no such file or it is not text; it holds no set; or, with its number, a line has no name, no genes, an
        empty gene, several words in a gene (it is not tab-separated), or the name of an earlier line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        msg = f"There is no gene set file {path}; check the path."
        raise InputError(msg) from None
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read as text ({error}); a GMT file is plain UTF-8, unpack it first."
        raise InputError(msg) from error
    sets: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            name, genes = _parsed(line, f"{path}, line {number}")
            if name in sets:
                msg = f"{path}, line {number}: a second set is called {name!r}; give each set a name of its own."
                raise InputError(msg)
            sets[name] = genes
    if not sets:
        msg = f"{path} holds no gene set; each line is a name, a description and genes, between tabs."
        raise InputError(msg)
    return sets


def _parsed(line: str, where: str) -> tuple[str, tuple[str, ...]]:
    fields = [field.strip() for field in line.rstrip().split("\t")]
    if len(fields) < 3:
        msg = f"{where}: {len(fields)} fields between tabs; a name, a description and at least one gene are needed."
        raise InputError(msg)
    name, genes = fields[0], fields[2:]
    if not name:
        msg = f"{where}: the set has no name; the first field names it."
        raise InputError(msg)
    odd = [gene for gene in genes if not gene or len(gene.split()) > 1]
    if odd:
        msg = f"{where}: {odd[0]!r} is no gene name; genes stand between tabs, one each, without empty fields."
        raise InputError(msg)
    return name, tuple(dict.fromkeys(genes))
