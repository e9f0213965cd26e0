"""`interp capture`: activations of the model for cells, in a store on disk."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
# Devices that workers can be told to use; which of several GPUs is theirs to say.
WORKER_DEVICES = ("auto", "cpu")


class Keep(StrEnum):
    """What is kept of each cell."""

    cls = "cls"
    mean = "mean"
    genes = "genes"
    full = "full"


class Dtype(StrEnum):
    """Types on disk."""

    float32 = "float32"
    float16 = "float16"


class Precision(StrEnum):
    """Types that matrix products are computed in."""

    float32 = "float32"
    bfloat16 = "bfloat16"


def parse_memory(text: str) -> int:
    """Return the bytes that a text such as 2GiB names.

    Examples
    --------
    >>> parse_memory("2GiB"), parse_memory("1.5 GB"), parse_memory("1000")
    (2147483648, 1500000000, 1000)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", str(text).strip(), flags=re.IGNORECASE)
    if found is None or found[2].upper() not in UNITS:
        msg = f"{text!r} is no amount of memory; give one such as 800MiB, 2GiB or 4GB"
        raise typer.BadParameter(msg)
    return int(float(found[1]) * UNITS[found[2].upper()])


def parse_layers(text: str) -> list[int]:
    """Return the layers that a text names: numbers, and ranges without their end, between commas.

    Examples
    --------
    >>> parse_layers("3"), parse_layers("2:5"), parse_layers("0,4,6:8")
    ([3], [2, 3, 4], [0, 4, 6, 7])
    """
    layers: list[int] = []
    for word in str(text).split(","):
        found = re.fullmatch(r"\s*(\d+)\s*(?::\s*(\d+)\s*)?", word)
        if found is None or (found[2] and int(found[2]) <= int(found[1])):
            msg = f"{text!r} names no layers; give a number (3), a range (2:5 is 2, 3 and 4) or several (0,4)"
            raise typer.BadParameter(msg)
        layers += range(int(found[1]), int(found[2] or int(found[1]) + 1))
    return layers


def capture(
    *,
    model: Annotated[str, typer.Option(help="Checkpoint folder, scgpt-mini or scgpt-sim.")],
    cells: Annotated[Path | None, typer.Option(help="h5ad file or zarr folder with raw counts; stays on disk.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the store; an interrupted capture continues there.")
    ] = None,
    sites: Annotated[
        list[str] | None,
        typer.Option(help="Activations, one or several: names that --list-sites shows, full ones, or with *."),
    ] = None,
    layers: Annotated[
        str | None, typer.Option(help="Layers: 3, a range 2:5 (2, 3 and 4), or several 0,4. Default all.")
    ] = None,
    reduce: Annotated[
        Keep, typer.Option(help="Kept of a cell: the <cls> row, the mean over its genes, chosen genes, or all tokens.")
    ] = Keep.cls,
    genes: Annotated[
        list[str] | None, typer.Option(help="For --reduce genes: symbols, or a file with one per line.")
    ] = None,
    dtype: Annotated[Dtype, typer.Option(help="Type on disk.")] = Dtype.float32,
    precision: Annotated[Precision, typer.Option(help="Of matrix products; bfloat16 is for GPUs.")] = Precision.float32,
    max_tokens: Annotated[
        int | None, typer.Option(min=2, help="Longest cell, <cls> included; the model's limit by default.")
    ] = None,
    memory: Annotated[
        str, typer.Option(help="What the work may take above the model, in each worker: 800MiB, 2GiB.")
    ] = "1GiB",
    seed: Annotated[int, typer.Option(help="Of the genes kept of cells that are too long, and of ties.")] = 0,
    device: Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu, cuda, cuda:1.")] = "auto",
    layer: Annotated[
        str | None, typer.Option(help="Layer of the cells with the raw counts, or raw; X by default.")
    ] = None,
    gene_key: Annotated[
        str | None, typer.Option(help="var column with gene symbols, where var_names hold ids.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a dask scheduler whose workers share the cells (docs/cluster.md).")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes to start here, one thread each, which share the cells.")
    ] = None,
    list_sites: Annotated[
        bool, typer.Option("--list-sites", help="Show which activations the model has, with shapes, and end.")
    ] = False,
) -> None:
    """Capture activations of many cells, streamed to a store; a stopped capture continues with the same command.

    What there is to capture:

    \b
    interp capture --model scgpt-mini --list-sites

    One vector per cell and layer:

    \b
    interp capture --model scgpt-mini --cells blood.h5ad --sites resid_post \\
        --out blood.acts

    The mean over each cell's genes of two sites in layers 2, 3 and 4, by four processes:

    \b
    interp capture --model models/scgpt-human --cells blood.h5ad \\
        --sites z mlp.post --layers 2:5 --reduce mean --workers 4 --out blood.acts

    The rows of three genes, on the workers of a cluster:

    \b
    interp capture --model models/scgpt-human --cells /shared/blood.h5ad \\
        --sites resid_post --reduce genes --genes CD34 GATA1 SPI1 \\
        --scheduler tcp://10.0.0.5:8786 --out /shared/blood.acts
    """  # noqa: D301 (a word of the command-line library: lines that are kept)
    if list_sites:
        from interp.cli.tables import site_table
        from interp.scgpt.load import load_model

        typer.echo(site_table(load_model(model, device="cpu")))
        return
    if cells is None or out is None:
        msg = "give both: the cells, and the folder of the store (or --list-sites alone)"
        raise typer.BadParameter(msg, param_hint="'--cells' / '--out'")
    chosen = None if layers is None else parse_layers(layers)
    budget = parse_memory(memory)
    from interp.capture.workers import connect

    if (workers is not None and device not in WORKER_DEVICES) or (scheduler is not None and device != "auto"):
        msg = f"{device!r}: workers choose for themselves (docs/cluster.md); leave it out, or give cpu with --workers"
        raise typer.BadParameter(msg, param_hint="'--device'")
    with connect(scheduler=scheduler, workers=workers, device=device) as client:
        import interp
        from interp.cells.reader import open_cells

        store = interp.capture(
            interp.load_model(model, device=device if client is None else "cpu"),
            open_cells(cells, layer=layer, gene_key=gene_key),
            sites=sites or ("resid_post",), layers=chosen, reduce=reduce.value, genes=_gene_names(genes), out=out,
            dtype=dtype.value, precision=precision.value, max_tokens=max_tokens, memory=budget, seed=seed,
            client=client,
        )  # fmt: skip
    typer.echo(f'{store!r}\nOpen it with: interp.ActivationStore.open("{out}")')


def _gene_names(given: Sequence[str] | None) -> list[str] | None:
    """Return the genes that were given, or those in the file that was."""
    if given and len(given) == 1 and Path(given[0]).is_file():
        return Path(given[0]).read_text().split()
    return list(given) if given else None
