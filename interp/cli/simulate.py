"""`interp simulate`: write a simulated atlas whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def simulate(
    *,
    out: Annotated[Path, typer.Option(help="h5ad file to write.")],
    donors: Annotated[int, typer.Option(help="Number of donors.", min=1)] = 15,
    cells: Annotated[int, typer.Option(help="Number of cells.", min=1)] = 6000,
    genes: Annotated[int, typer.Option(help="Number of genes, real symbols.", min=50)] = 1000,
    world: Annotated[
        str,
        typer.Option(
            help="ordered: hematopoiesis; labels-only: cell types without order; study-is-stage: the same, each study "
            "with stages of its own; unrelated: other tissues."
        ),
    ] = "ordered",
    stages: Annotated[str, typer.Option(help="default (spread over all branches) or all.")] = "default",
    strength: Annotated[float, typer.Option(help="Strength of the programs, 0 to 1.", min=0)] = 1.0,
    seed: Annotated[int, typer.Option(help="Donors and cells follow from it; the biology does not.")] = 0,
) -> None:
    """Simulate hematopoiesis: raw counts of several donors, with the truth kept beside them.

    Example: interp simulate --donors 15 --cells 6000 --out sim.h5ad
    """
    import interp
    from interp.cells.files import write_cells

    atlas = interp.simulate(
        n_donors=donors, n_cells=cells, n_genes=genes, world=world, seed=seed, strength=strength,
        stages=None if stages == "default" else stages,
    )  # fmt: skip
    write_cells(atlas, out)
    typer.echo(f"{out}: {atlas.n_obs:,} cells x {atlas.n_vars:,} genes, {donors} donors, world {world!r}")
