"""`interp power`: what a panel can show before it is collected."""

from __future__ import annotations

from math import isinf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import pandas as pd


def power(
    *,
    effect: Annotated[
        float, typer.Option(help="Difference from the hardest control that you would not like to miss.")
    ] = 0.1,
    donors: Annotated[
        list[int] | None, typer.Option(help="Sizes of the panel, several if you like. Default 5 10 15.")
    ] = None,
    sd: Annotated[
        list[float] | None, typer.Option(help="Standard deviation of the difference between donors, one or several.")
    ] = None,
    from_run: Annotated[
        Path | None, typer.Option("--from", help="Finished run: take the sd from its controls.csv.")
    ] = None,
    endpoint: Annotated[str, typer.Option(help="Endpoint to take from the run.")] = "order",
    draws: Annotated[int, typer.Option(min=1, help="Draws of each random control; 99 for a publication.")] = 20,
    endpoints: Annotated[
        int, typer.Option(min=1, help="Endpoints judged together: one alone among k must reach p < 0.05 / k.")
    ] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    figure: Annotated[Path | None, typer.Option(help="Draw power against donors: png and pdf of this name.")] = None,
) -> None:
    """Say what a panel of so many donors can show, before it is collected.

    A claim that a result is specific to the model needs p < 0.05 against every control, by sign flips over donors.
    Flipping the signs of n donors gives no p under 1/2^n: four donors can show nothing, five only when all five agree.
    How small an effect shows beyond that depends on how much donors differ, the sd. Without --sd or --from two are
    tried, that of a simulated atlas (even donors) and that of real cells (uneven ones). The power is that against one
    control; with several of equal strength it is less.

    interp power --effect 0.1 --donors 5 10 15

    interp power --effect 0.1 --donors 8 16 32 --from runs/blood --draws 99 --endpoints 4 --figure power.png
    """
    from interp.errors import InputError
    from interp.evidence.prospects import KNOWN_SDS, prospects, sds_of_run

    if sd and from_run:
        msg = "give --sd or --from, one of them: both say how much donors differ"
        raise InputError(msg)
    sds = sds_of_run(from_run, endpoint) if from_run else {f"given {value:g}": value for value in sd or []} or KNOWN_SDS
    table = prospects(effect, donors or [5, 10, 15], sds, n_draws=draws, n_endpoints=endpoints)
    if json:
        typer.echo(table.replace(float("inf"), None).to_json(orient="records", indent=2))
    else:
        typer.echo(_words(table, effect, endpoints, draws))
    if figure is not None:
        from interp.figures import power_curve, save

        picture = power_curve(effect, sds, marked=donors or [5, 10, 15], n_draws=draws, n_endpoints=endpoints)
        for path in save(picture.figure, figure):
            typer.echo(f"wrote {path}", err=True)


def _words(table: pd.DataFrame, effect: float, endpoints: int, draws: int) -> str:
    """Write one small table per sd."""
    level = "p < 0.05" if endpoints == 1 else f"p < 0.05 / {endpoints}"
    from interp.evidence import ALPHA

    parts = [f"An effect of {effect:g} against a control, one-sided sign flips over donors, {level}, {draws} draws."]
    for source, rows in table.groupby("sd of", sort=False):
        needed = rows["donors needed"].iloc[0]
        will = f"{needed:.0f} donors show it with 80 % power"
        if isinf(needed):
            few = 1 / (1 + draws) >= ALPHA / endpoints
            will = f"{draws} draws can reach no such p, whatever the donors" if few else "No number of donors will do"
        lines = [f"sd {rows['sd'].iloc[0]:.3g} ({source}). {will}."]
        lines += [f"{'donors':>8}{'smallest p':>14}{'power':>9}{'effect shown with 80 % power':>31}"]
        for _, row in rows.iterrows():
            shown = "none" if isinf(row["detectable effect"]) else f"{row['detectable effect']:.3f}"
            lines += [f"{row['donors']:>8}{row['smallest p']:>14.2g}{row['power']:>9.0%}{shown:>31}"]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)
