"""The command line: `interp <verb>`."""

from interp.cli.app import main

__all__ = ["main"]
