"""The verbs of the command line and its exit codes; each verb imports what it needs when it runs."""

from __future__ import annotations

import logging
import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from interp.cli.ablate import ablate
from interp.cli.arguments import LIST_OPTIONS, spread_lists
from interp.cli.capture import capture
from interp.cli.discover import discover
from interp.cli.extract import extract
from interp.cli.geometry import geometry
from interp.cli.model import model_app
from interp.cli.power import power
from interp.cli.pretrain import pretrain
from interp.cli.probe import probe
from interp.cli.simulate import simulate
from interp.cli.transform import transform
from interp.errors import CheckpointError, DownloadError, IntegrityError, InterpError, StoreError, UnfinishedError

if TYPE_CHECKING:
    from types import FrameType

# 0 done and 2 usage come from the command-line library.
EXIT_INPUT, EXIT_REFUSED, EXIT_STOPPED = 3, 4, 5

app = typer.Typer(
    name="interp",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Find where a biological process lives in scGPT, extract it as a compact algorithm that runs without the "
    "model, and measure, beside matched controls, whether the model deserves the credit. Start with: interp discover",
    epilog="Exit codes: 0 done, 2 usage, 3 input, 4 refused artifact or checkpoint, 5 stopped and resumable.",
)
for verb in (discover, extract, probe, ablate, geometry, capture, transform, power, simulate, pretrain):
    app.command()(verb)
app.add_typer(model_app, name="model")


@app.callback()
def options(*, quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Warnings and errors only.")] = False) -> None:
    """Set up the messages of every verb."""
    logging.basicConfig(level=logging.WARNING if quiet else logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("httpx", "matplotlib", "fontTools", "numba"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if quiet:
        from interp.runs.progress import be_quiet

        be_quiet()


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with a code of the contract.

    Parameters
    ----------
    arguments
        The words after `interp`; those of the process by default.
    """
    arguments = spread_lists(sys.argv[1:] if arguments is None else arguments, LIST_OPTIONS)
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    try:
        app(args=arguments, prog_name="interp")  # ends the process, usage errors included
    except _Stopped:
        typer.echo("\nStopped. The same command continues where this one was.", err=True)
        sys.exit(EXIT_STOPPED)
    except InterpError as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(_exit_code(error))


def _exit_code(error: InterpError) -> int:
    if isinstance(error, DownloadError | UnfinishedError):
        return EXIT_STOPPED
    return EXIT_REFUSED if isinstance(error, CheckpointError | IntegrityError | StoreError) else EXIT_INPUT


class _Stopped(BaseException):
    """The user stopped the process."""


def _stop(number: int, frame: FrameType | None) -> None:
    raise _Stopped
