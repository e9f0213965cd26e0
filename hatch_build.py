"""Puts the models and algorithms that load by name inside the wheel."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LOADABLE = ("scgpt-mini", "scgpt-sim", "algorithms")


class ArtifactsHook(BuildHookInterface):
    """Maps `artifacts/<name>` to `interp/_artifacts/<name>`; an editable install reads the source tree instead."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the folders that are there to the files of the wheel."""
        if version == "editable":
            return
        artifacts = Path(self.root) / "artifacts"
        build_data["force_include"].update(
            {str(artifacts / name): f"interp/_artifacts/{name}" for name in LOADABLE if (artifacts / name).is_dir()}
        )
