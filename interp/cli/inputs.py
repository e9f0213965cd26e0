"""What a run was given on the command line, kept in its folder so that a later verb can go on with the same cells."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp.cli.arguments import read_panel
from interp.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from interp.biology import Ruler
    from interp.discover import Panels


@dataclass(frozen=True)
class Inputs:
    """Files, columns and model of a run.

    Attributes
    ----------
    model
        Name of a shipped model, or path of a checkpoint folder.
    cells, external, negative
        Paths of h5ad files; without `cells`, the embedded panels.
    columns
        As `interp.cli.arguments.read_panel` takes them.
    ruler, ruler_source
        CSV of distances between stages and where they come from; hops of the graph without.
    """

    model: str
    cells: tuple[str, ...] = ()
    external: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    columns: Mapping[str, Any] = field(default_factory=dict)
    ruler: str | None = None
    ruler_source: str | None = None

    @classmethod
    def of_run(cls, run: Path) -> Inputs:
        """Read what a run was given.

        Raises
        ------
        InputError
            The folder is no run of `interp discover`, or was made from Python, where nothing was noted.
        """
        try:
            noted = json.loads((run / "config.json").read_text(encoding="utf-8"))["inputs"]
            lists: dict[str, Any] = {name: tuple(noted.pop(name)) for name in ("cells", "external", "negative")}
            return cls(**noted, **lists)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            msg = (
                f"{run} does not say which cells and model it was made from; give the folder of an `interp discover`, "
                "or call interp.extract(run, model, cells) from Python"
            )
            raise InputError(msg) from error

    def noted(self) -> dict[str, Any]:
        """Return everything as JSON holds it, paths in full."""
        noted = asdict(self) | {"columns": dict(self.columns)}
        for name in ("cells", "external", "negative"):
            noted[name] = [str(Path(path).resolve()) for path in noted[name]]
        if Path(self.model).exists():
            noted["model"] = str(Path(self.model).resolve())
        return noted | {"ruler": None if self.ruler is None else str(Path(self.ruler).resolve())}

    def panels(self) -> Panels | None:
        """Read the panels; None for the embedded ones."""
        from interp.discover import Panels

        if not self.cells:
            return None

        def read(paths: tuple[str, ...], **options: Any) -> Any:
            return read_panel([Path(path) for path in paths], dict(self.columns), **options) if paths else None

        return Panels(read(self.cells), read(self.external), read(self.negative, require_stages=False))

    def distances(self) -> Ruler | None:
        """Read the ruler; None for hops."""
        from interp.biology import read_ruler

        # Naming the source is the user's word that the model had no part in it.
        return (
            None
            if self.ruler is None
            else read_ruler(self.ruler, source=self.ruler_source or "", independent_of_model=True)
        )
